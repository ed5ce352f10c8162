#include "process/proc_status.h"

#include "process/proc_file.h"
#include "rrpcp/error.h"

namespace rrpcp::process {

namespace {

// /proc escapes blanks and backslashes of a thread's name: "\n" and "\\" (string_escape_str).
std::string unescape_name(std::string_view text) {
  std::string name;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '\\' && i + 1 < text.size() && (text[i + 1] == 'n' || text[i + 1] == '\\')) {
      ++i;
      name.push_back(text[i] == 'n' ? '\n' : '\\');
    } else {
      name.push_back(text[i]);
    }
  }
  return name;
}

std::array<std::uint32_t, 4> four_ids(std::string_view text, std::string_view what) {
  std::array<std::uint32_t, 4> ids{};
  for (std::uint32_t& id : ids) {
    id = static_cast<std::uint32_t>(parse_number(cut_word(text), 10, what));
  }
  return ids;
}

// Ids of nested namespaces: the last one is the innermost.
pid_t last_id(std::string_view text, std::string_view what) {
  pid_t id = 0;
  for (std::string_view word = cut_word(text); !word.empty(); word = cut_word(text)) {
    id = static_cast<pid_t>(parse_number(word, 10, what));
  }
  return id;
}

} // namespace

ProcStatus ProcStatus::parse(std::string_view text) {
  ProcStatus status;
  while (!text.empty()) {
    std::string_view line = cut_field(text, '\n');
    std::string_view key = cut_field(line, ':');
    std::string_view rest = line;
    if (key == "Name") {
      status.name = unescape_name(rest.empty() ? rest : rest.substr(1)); // after the tab
      continue;
    }
    std::string_view word = cut_word(rest);
    auto number = [&](int base) { return parse_number(word, base, key); };
    if (key == "State") {
      status.state = word.empty() ? '?' : word[0];
    } else if (key == "Tgid") {
      status.process = static_cast<pid_t>(number(10));
    } else if (key == "Pid") {
      status.thread = static_cast<pid_t>(number(10));
    } else if (key == "PPid") {
      status.parent = static_cast<pid_t>(number(10));
    } else if (key == "NStgid") {
      status.process_in_namespace = last_id(line, key);
    } else if (key == "NSpid") {
      status.thread_in_namespace = last_id(line, key);
      for (std::string_view ids = line, id = cut_word(ids); !id.empty(); id = cut_word(ids)) {
        status.thread_ids.push_back(static_cast<pid_t>(parse_number(id, 10, key)));
      }
      status.same_namespace = cut_word(rest).empty();
    } else if (key == "NSpgid") {
      status.process_group_in_namespace = last_id(line, key);
    } else if (key == "NSsid") {
      status.session_in_namespace = last_id(line, key);
    } else if (key == "TracerPid") {
      status.tracer = static_cast<pid_t>(number(10));
    } else if (key == "Kthread") {
      status.kernel_thread = number(10) != 0;
    } else if (key == "Umask") {
      status.umask = static_cast<std::uint32_t>(number(8));
    } else if (key == "Uid") {
      status.uids = four_ids(line, key);
    } else if (key == "Gid") {
      status.gids = four_ids(line, key);
    } else if (key == "Groups") {
      for (; !word.empty(); word = cut_word(rest)) {
        status.groups.push_back(static_cast<std::uint32_t>(number(10)));
      }
    } else if (key == "Threads") {
      status.threads = number(10);
    } else if (key == "VmLck") {
      status.locked = number(10) * 1024;
    } else if (key == "SigPnd") {
      status.pending = number(16);
    } else if (key == "ShdPnd") {
      status.shared_pending = number(16);
    } else if (key == "SigBlk") {
      status.blocked = number(16);
    } else if (key == "SigIgn") {
      status.ignored = number(16);
    } else if (key == "SigCgt") {
      status.caught = number(16);
    } else if (key == "CapInh") {
      status.inheritable = number(16);
    } else if (key == "CapPrm") {
      status.permitted = number(16);
    } else if (key == "CapEff") {
      status.effective = number(16);
    } else if (key == "CapBnd") {
      status.bounding = number(16);
    } else if (key == "CapAmb") {
      status.ambient = number(16);
    } else if (key == "untag_mask") {
      status.address_mask = parse_number(word.substr(word.starts_with("0x") ? 2 : 0), 16, key);
    } else if (key == "Speculation_Store_Bypass" || key == "SpeculationIndirectBranch") {
      const std::size_t start = line.find_first_not_of("\t ");
      (key == "SpeculationIndirectBranch" ? status.indirect_branch : status.store_bypass) =
          start == std::string_view::npos ? std::string_view() : line.substr(start);
    } else if (key == "NoNewPrivs") {
      status.no_new_privileges = number(10) != 0;
    } else if (key == "Seccomp") {
      status.seccomp = static_cast<int>(number(10));
    }
  }
  return status;
}

std::optional<ProcStatus> ProcStatus::try_read(pid_t pid, pid_t tid) {
  std::optional<std::string> text = try_read_file(proc_task_path(pid, tid, "status"));
  return text ? std::optional(parse(*text)) : std::nullopt;
}

ProcStatus ProcStatus::read(pid_t pid, pid_t tid) {
  return parse(read_proc_file(proc_task_path(pid, tid, "status")));
}

} // namespace rrpcp::process
