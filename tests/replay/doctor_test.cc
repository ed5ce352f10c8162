// pcp-rr doctor.

#include "rrpcp/replay/host_abilities.h"
#include "support/temp_dir.h"
#include "tools/run_command.h"

#include <algorithm>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>
#include <string>

namespace rrpcp {
namespace {

using testing::HasSubstr;

TEST(Doctor, ShowsWhatIsTried) {
  const test::CommandResult text = test::run_command({RRPCP_PCP_RR, "doctor"});
  ASSERT_EQ(text.code, 0) << text.out << text.err; // this suite records and replays
  EXPECT_THAT(text.out, HasSubstr("WORKS  ABILITY"));
  EXPECT_THAT(text.out, HasSubstr("This machine can record and can replay."));
  const test::CommandResult result = test::run_command({RRPCP_PCP_RR, "doctor", "--json"});
  const auto json = nlohmann::json::parse(result.out);
  EXPECT_TRUE(json.at("records").get<bool>());
  EXPECT_TRUE(json.at("replays").get<bool>());
  const std::vector<HostAbility> abilities = examine_host();
  ASSERT_EQ(json.at("abilities").size(), abilities.size());
  for (std::size_t i = 0; i < abilities.size(); ++i) {
    const auto& shown = json.at("abilities").at(i);
    EXPECT_EQ(shown.at("name").get<std::string>(), abilities[i].name);
    EXPECT_EQ(shown.at("works").get<bool>(), abilities[i].works) << abilities[i].name;
    EXPECT_NE(shown.at("instead").is_null(), !abilities[i].works) << abilities[i].name;
    EXPECT_THAT(text.out, HasSubstr(abilities[i].what));
  }
}

// Where ptrace(2) is not allowed, nothing works that is done with it, and recording is refused
// before it begins.
TEST(Doctor, SaysWhatIsMissing) {
  const std::string filtered = RRPCP_REPLAY_FIXTURES "/no_ptrace";
  const test::CommandResult result =
      test::run_command({filtered, RRPCP_PCP_RR, "doctor", "--json"});
  EXPECT_EQ(result.code, 6) << result.err;
  const auto json = nlohmann::json::parse(result.out);
  EXPECT_FALSE(json.at("records").get<bool>());
  for (const auto& ability : json.at("abilities")) {
    if (ability.at("name") == "ptrace") {
      EXPECT_FALSE(ability.at("works").get<bool>());
      EXPECT_THAT(ability.at("instead").get<std::string>(), HasSubstr("SYS_PTRACE"));
    }
  }
  const test::TempDir temp;
  const test::CommandResult recorded = test::run_command(
      {filtered, RRPCP_PCP_RR, "record", "-o", temp.file("trace"), "--", "/bin/echo", "no"});
  EXPECT_EQ(recorded.code, 4);
  EXPECT_EQ(recorded.out, "");
  EXPECT_THAT(recorded.err, HasSubstr("does not let a process trace its own child"));
}

TEST(Doctor, RefusesArguments) {
  EXPECT_EQ(test::run_command({RRPCP_PCP_RR, "doctor", "trace"}).code, 2);
}

} // namespace
} // namespace rrpcp
