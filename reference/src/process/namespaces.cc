#include "process/namespaces.h"

#include "process/proc_file.h"
#include "rrpcp/error.h"

#include <string>
#include <string_view>
#include <sys/stat.h>

namespace rrpcp::process {

const std::array<const char*, kNamespaceKinds> kNamespaceNames = {
    "user", "mnt", "pid", "pid_for_children", "time", "time_for_children",
    "ipc",  "net", "uts", "cgroup",
};

namespace {

constexpr std::int64_t kSecond = 1'000'000'000;

std::string directory_of(pid_t pid, pid_t tid) {
  return pid == 0 ? "/proc/thread-self/" : proc_task_path(pid, tid, "");
}

} // namespace

NamespaceIds read_namespaces(pid_t pid, pid_t tid) {
  NamespaceIds ids;
  const std::string directory = directory_of(pid, tid) + "ns/";
  for (std::size_t i = 0; i < ids.size(); ++i) {
    struct stat status {};
    if (::stat((directory + kNamespaceNames[i]).c_str(), &status) == 0) {
      ids[i] = {status.st_dev, status.st_ino};
    }
  }
  return ids;
}

ClockOffsets read_clock_offsets(pid_t pid) {
  ClockOffsets offsets;
  const std::string path =
      pid == 0 ? "/proc/self/timens_offsets" : proc_path(pid, "timens_offsets");
  const std::string content = try_read_file(path).value_or("");
  std::string_view text = content;
  while (!text.empty()) { // "monotonic           0         0"
    std::string_view line = cut_field(text, '\n');
    const std::string_view clock = cut_word(line);
    const std::int64_t seconds = parse_signed(cut_word(line), "the offset of a clock");
    const std::int64_t nanoseconds = parse_signed(cut_word(line), "the offset of a clock");
    (clock == "monotonic" ? offsets.monotonic : offsets.boottime) = seconds * kSecond + nanoseconds;
  }
  return offsets;
}

std::vector<std::byte> read_boot_id() {
  std::vector<std::byte> id;
  std::string text;
  try {
    text = try_read_file("/proc/sys/kernel/random/boot_id").value_or("");
  } catch (const Error&) {
    return id;
  }
  std::erase_if(text, [](char c) { return c == '-' || c == '\n'; });
  for (std::size_t i = 0; i + 2 <= text.size(); i += 2) {
    id.push_back(static_cast<std::byte>(
        parse_number(std::string_view(text).substr(i, 2), 16, "the id of the start")));
  }
  return id.size() == 16 ? id : std::vector<std::byte>();
}

} // namespace rrpcp::process
