// `pcp-rr doctor`: what this machine can do, tried.

#include "common/table.h"
#include "pcp-rr/pcp_rr.h"
#include "rrpcp/replay/host_abilities.h"

#include <algorithm>
#include <vector>

namespace rrpcp::tools {
namespace {

void show(Console& console, const std::vector<HostAbility>& abilities) {
  Table table({{"WORKS"}, {"ABILITY"}, {"INSTEAD"}});
  for (const HostAbility& ability : abilities) {
    const bool needed = ability.recording_needs_it || ability.replaying_needs_it;
    table.add({ability.works ? "yes"
               : needed      ? "NO"
                             : "no",
               ability.what, ability.works ? "" : ability.instead});
  }
  table.print(console);
}

} // namespace

int rr_doctor(int argc, char** argv, Console& console) {
  Command command(
      {"pcp-rr doctor", "[OPTION]...",
       "Tries what recording and replaying rely on, and says what is used instead of what does not "
       "work.",
       "A NO in capitals is of something without which nothing can be recorded, or replayed.\n\n"
       "Exit codes: 0 this machine can record and replay, 2 wrong usage, 6 it cannot."});
  command.add_json();
  const Arguments arguments = command.parse(argc, argv, console);
  arguments.expect(0, 0, "");
  const std::vector<HostAbility> abilities = examine_host();
  const auto lacks = [&](bool HostAbility::*need) {
    return std::any_of(abilities.begin(), abilities.end(),
                       [&](const HostAbility& ability) { return ability.*need && !ability.works; });
  };
  const bool records = !lacks(&HostAbility::recording_needs_it);
  const bool replays = !lacks(&HostAbility::replaying_needs_it);
  if (console.json) {
    Json list = Json::array();
    for (const HostAbility& ability : abilities) {
      list.push_back(Json{{"name", ability.name},
                          {"what", ability.what},
                          {"works", ability.works},
                          {"recordingNeedsIt", ability.recording_needs_it},
                          {"replayingNeedsIt", ability.replaying_needs_it},
                          {"instead", ability.works ? Json() : Json(ability.instead)}});
    }
    console.write_json(
        Json{{"records", records}, {"replays", replays}, {"abilities", std::move(list)}});
  } else {
    show(console, abilities);
    console.print("\nThis machine can %srecord and can %sreplay.\n", records ? "" : "NOT ",
                  replays ? "" : "NOT ");
  }
  return records && replays ? kExitOk : kExitUnsupportedState;
}

} // namespace rrpcp::tools
