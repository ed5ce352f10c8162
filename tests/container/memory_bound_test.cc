// Writer and reader need a bounded amount of memory, whatever the size of the checkpoint.

#include "rrpcp/writer.h"
#include "support/figure.h"
#include "support/temp_dir.h"

#include <cstdio>
#include <gtest/gtest.h>
#include <memory>
#include <string>

namespace rrpcp {
namespace {

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr bool kSanitized = true; // shadow memory counts as the process's own
#else
constexpr bool kSanitized = false;
#endif

constexpr long kBoundKiB = 64 << 10;
// Six times the bound, so that a writer or reader that keeps the data cannot pass.
constexpr std::uint64_t kProbePages = kSanitized ? 4096 : 98304;

// Peak of the resident memory of the probe in KiB; -1 where it failed.
long probe(const std::string& what, const std::string& path, Profile profile) {
  std::string command = std::string(RRPCP_MEMORY_PROBE) + " " + what + " '" + path + "' " +
                        std::string(profile_name(profile)) + " " + std::to_string(kProbePages);
  std::unique_ptr<FILE, int (*)(FILE*)> output(::popen(command.c_str(), "r"), &::pclose);
  long peak = -1;
  if (std::fscanf(output.get(), "%ld", &peak) != 1) {
    peak = -1;
  }
  return peak;
}

class MemoryBound : public testing::TestWithParam<Profile> {};

TEST_P(MemoryBound, HoldsForWriterAndReader) {
  test::TempDir dir;
  std::string path = dir.file("large.pcp");
  for (const char* what : {"write", "read"}) {
    long peak = probe(what, path, GetParam());
    test::print_figure("KiB of memory at most to " + std::string(what) + " " +
                           std::to_string(kProbePages >> 8) + " MiB, " +
                           std::string(profile_name(GetParam())),
                       static_cast<std::uint64_t>(peak));
    EXPECT_GT(peak, 0) << what;
    if (!kSanitized) {
      EXPECT_LT(peak, kBoundKiB) << what;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Profiles, MemoryBound,
                         testing::Values(Profile::kRaw, Profile::kFast, Profile::kDefault),
                         [](const auto& param) { return std::string(profile_name(param.param)); });

} // namespace
} // namespace rrpcp
