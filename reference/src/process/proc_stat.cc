#include "process/proc_stat.h"

#include "process/proc_file.h"
#include "rrpcp/error.h"

#include <string>
#include <vector>

namespace rrpcp::process {

ProcStat ProcStat::parse(std::string_view text) {
  // The name in field 2 may hold anything, blanks and ")" too: fields are counted after the last
  // ")".
  std::size_t name_end = text.rfind(')');
  if (name_end == std::string_view::npos) {
    throw Error(ErrorCode::kInternal, "/proc/PID/stat has no name");
  }
  std::string_view rest = text.substr(name_end + 1);
  while (!rest.empty() && (rest.back() == '\n' || rest.back() == ' ')) {
    rest.remove_suffix(1);
  }
  std::vector<std::string_view> fields(3); // numbered from 1 as in the man page; 3 follows
  while (!rest.empty()) {
    fields.push_back(cut_word(rest));
  }
  auto number = [&](std::size_t index) -> std::uint64_t {
    return index < fields.size() ? parse_number(fields[index], 10, "a field of /proc/PID/stat") : 0;
  };
  auto id = [&](std::size_t index) -> pid_t {
    return index < fields.size()
               ? static_cast<pid_t>(parse_signed(fields[index], "an id of /proc/PID/stat"))
               : 0;
  };
  ProcStat stat;
  stat.state = fields.size() > 3 && !fields[3].empty() ? fields[3][0] : '?';
  stat.parent = id(4);
  stat.process_group = id(5);
  stat.session = id(6);
  stat.exiting = (number(9) & 4) != 0;
  stat.start_time = number(22);
  stat.start_code = number(26);
  stat.end_code = number(27);
  stat.start_stack = number(28);
  stat.exit_signal = id(38);
  stat.start_data = number(45);
  stat.end_data = number(46);
  stat.start_brk = number(47);
  stat.arg_start = number(48);
  stat.arg_end = number(49);
  stat.env_start = number(50);
  stat.env_end = number(51);
  return stat;
}

ProcStat ProcStat::read(pid_t pid) {
  return parse(read_proc_file(proc_path(pid, "stat")));
}

} // namespace rrpcp::process
