#include "trace/task_moments.h"

#include "rrpcp/error.h"
#include "trace/task_table.h"

#include <cstdio>
#include <cstring>
#include <set>
#include <utility>

namespace rrpcp::trace {

namespace {

std::optional<user_regs_struct> registers_of(capnp::Data::Reader data) {
  if (data.size() == 0) {
    return std::nullopt;
  }
  user_regs_struct registers;
  if (data.size() != sizeof registers) {
    throw Error(ErrorCode::kDamaged,
                "an event has general registers of " + std::to_string(data.size()) + " bytes");
  }
  std::memcpy(&registers, data.begin(), sizeof registers);
  return registers;
}

} // namespace

void TaskMoments::apply(std::int64_t number, schema::Event::Reader event) {
  const auto [place, made] = tasks_.try_emplace(event.getTask());
  TaskMoment& task = place->second;
  if (event.isExec() && event.getExec().getFormerTask() != 0) {
    task.ticks = tasks_[event.getExec().getFormerTask()].ticks;
  }
  if (!made || !event.isExec()) { // the first exec makes its task
    ++task.ticks;
  }
  if (auto before = registers_of(event.getRegisters())) {
    task.registers = before;
  }
  if (auto after = registers_of(event.getRegistersAfter())) {
    task.registers = after;
  } else if (event.isExec()) {
    task.registers.reset(); // those of the image
  } else if (task.registers && (event.isSystemCall() || event.isSystemCallFinished())) {
    task.registers->rax = static_cast<std::uint64_t>(event.getResult());
  }
  if (!tells_of_tasks(event)) {
    return;
  }
  apply_event(table_, number, event);
  if (event.isNewTask()) {
    tasks_[event.getNewTask().getChild()] = {0,
                                             registers_of(event.getNewTask().getChildRegisters())};
  }
  std::set<std::int32_t> living;
  for (const TaskRecord& record : table_) {
    if (record.last_event == 0) {
      living.insert(record.tid);
    }
  }
  std::erase_if(tasks_, [&](const auto& entry) { return !living.contains(entry.first); });
}

std::string register_difference(const user_regs_struct& found, const user_regs_struct& expected) {
  static constexpr std::pair<const char*, unsigned long long user_regs_struct::*> kNames[] = {
      {"rip", &user_regs_struct::rip},         {"rsp", &user_regs_struct::rsp},
      {"rax", &user_regs_struct::rax},         {"rbx", &user_regs_struct::rbx},
      {"rcx", &user_regs_struct::rcx},         {"rdx", &user_regs_struct::rdx},
      {"rsi", &user_regs_struct::rsi},         {"rdi", &user_regs_struct::rdi},
      {"rbp", &user_regs_struct::rbp},         {"r8", &user_regs_struct::r8},
      {"r9", &user_regs_struct::r9},           {"r10", &user_regs_struct::r10},
      {"r11", &user_regs_struct::r11},         {"r12", &user_regs_struct::r12},
      {"r13", &user_regs_struct::r13},         {"r14", &user_regs_struct::r14},
      {"r15", &user_regs_struct::r15},         {"eflags", &user_regs_struct::eflags},
      {"fs_base", &user_regs_struct::fs_base}, {"gs_base", &user_regs_struct::gs_base},
  };
  for (const auto& [name, member] : kNames) {
    if (found.*member != expected.*member) {
      char text[80];
      std::snprintf(text, sizeof text, "%s 0x%llx instead of 0x%llx", name, found.*member,
                    expected.*member);
      return text;
    }
  }
  return {};
}

} // namespace rrpcp::trace
