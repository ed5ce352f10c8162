// Files without a name that others append to while a capture stores them.
#include "process/child_process.h"
#include "rrpcp/process/capture.h"
#include "rrpcp/validate.h"
#include "support/temp_dir.h"

#include <algorithm>
#include <atomic>
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <string>
#include <sys/mman.h>
#include <thread>
#include <unistd.h>

namespace rrpcp {
namespace {

using test::ChildProcess;
using test::TempDir;

std::string codes(const ValidationReport& report) {
  std::string text;
  for (const Finding& finding : report.findings) {
    text += std::string(finding.code) + " ";
  }
  return text;
}

class GrowingFile : public testing::TestWithParam<bool> {};

// What is stored ends where the file ended when its length was seen. `mapped`: the process has a
// private mapping of the file, of which only what is used is stored.
TEST_P(GrowingFile, IsStoredAsLongAsItWas) {
  const bool mapped = GetParam();
  const TempDir directory;
  const int file =
      ::open(directory.file("log").c_str(), O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
  ASSERT_GE(file, 0);
  ASSERT_EQ(::write(file, "begun", 5), 5);
  ASSERT_EQ(::unlink(directory.file("log").c_str()), 0);
  ChildProcess child([&] {
    if (mapped) {
      ::mmap(nullptr, 1 << 20, PROT_READ, MAP_PRIVATE, file, 0);
      ::close(file);
    }
    ChildProcess::announce_ready();
    ::pause();
    return 0;
  });
  std::atomic<bool> done = false;
  std::thread others([&] {
    const std::string line(37, 'x');
    while (!done) {
      if (::write(file, line.data(), line.size()) < 0 || ::lseek(file, 0, SEEK_END) > 512 << 10) {
        ::ftruncate(file, 0);
      }
    }
  });
  CaptureOptions options;
  options.threads = 1;
  options.allow = {allowable_names().begin(), allowable_names().end()};
  for (int i = 0; i < 6; ++i) {
    const std::string path = directory.file(std::to_string(i) + ".pcp");
    capture_process(child.pid(), path, options);
    EXPECT_EQ(codes(validate_file(path, {.threads = 1})), "") << path;
  }
  done = true;
  others.join();
  ::close(file);
}

INSTANTIATE_TEST_SUITE_P(OpenOrMapped, GrowingFile, testing::Bool());

} // namespace
} // namespace rrpcp
