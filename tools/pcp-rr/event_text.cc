#include "pcp-rr/event_text.h"

#include "common/console.h"
#include "common/names.h"
#include "common/text.h"
#include "pcp-rr/trace_argument.h"
#include "trace/call_table.h"

#include <array>
#include <cstring>
#include <optional>
#include <sys/user.h>
#include <sys/wait.h>

namespace rrpcp::tools {
namespace {

std::string hex_number(std::uint64_t value) {
  return value < 10 ? std::to_string(value)
                    : format_text("0x%llx", static_cast<unsigned long long>(value));
}

std::optional<user_regs_struct> registers_of(capnp::Data::Reader data) {
  user_regs_struct registers;
  if (data.size() != sizeof registers) {
    return std::nullopt;
  }
  std::memcpy(&registers, data.begin(), sizeof registers);
  return registers;
}

// "read(0, 0x7ff…, 0x1000, …)"; the call's name and arguments, where the registers are there.
std::string call_text(schema::Event::Reader event) {
  const auto registers = registers_of(event.getRegisters());
  if (!registers) {
    return "system call";
  }
  const std::array<std::uint64_t, 6> arguments = {registers->rdi, registers->rsi, registers->rdx,
                                                  registers->r10, registers->r8,  registers->r9};
  std::string text = trace::system_call_name(static_cast<long>(registers->orig_rax)) + "(";
  for (std::size_t i = 0; i < arguments.size(); ++i) {
    text += (i == 0 ? "" : ", ") + hex_number(arguments[i]);
  }
  return text + ")";
}

std::string result_text(std::int64_t result) {
  if (result < 0 && result >= -4095) {
    const char* name = ::strerrorname_np(static_cast<int>(-result));
    return std::to_string(result) + (name == nullptr ? "" : std::string(" (") + name + ")");
  }
  return result > 0xffff ? hex_number(static_cast<std::uint64_t>(result)) : std::to_string(result);
}

std::string text_of(capnp::Data::Reader data) {
  return printable({data.asChars().begin(), data.size()});
}

std::string exec_text(schema::Event::Exec::Reader exec) {
  std::vector<std::string> words;
  for (const capnp::Data::Reader word : exec.getArguments()) {
    words.emplace_back(word.asChars().begin(), word.size());
  }
  std::string text = "exec " + text_of(exec.getExecutable()) + ": " + command_text(words);
  if (exec.getFormerTask() != 0) {
    text += ", by task " + std::to_string(exec.getFormerTask());
  }
  return text;
}

std::string exit_text_of(std::int32_t status) {
  if (WIFSIGNALED(status)) {
    return "ended by " + signal_name(WTERMSIG(status));
  }
  return "exit " + std::to_string(WEXITSTATUS(status));
}

std::string signal_text(schema::Event::Signal::Reader signal) {
  std::int32_t number = 0;
  if (signal.getInfo().size() >= sizeof number) {
    std::memcpy(&number, signal.getInfo().begin(), sizeof number);
  }
  std::string text = "signal " + signal_name(number);
  switch (signal.getCause()) {
  case schema::SignalCause::FAULT:
    return text + ", raised by the instruction";
  case schema::SignalCause::REPORTED:
    return text + ", raised by the instruction and told to a tracer";
  case schema::SignalCause::STEPPED:
    return text + ", after a tracer's step";
  default:
    return text;
  }
}

std::string written_text(schema::Event::Reader event) {
  std::uint64_t bytes = 0;
  for (const schema::MemoryWrite::Reader write : event.getMemory()) {
    bytes += write.getLength();
  }
  std::string text = bytes == 0 ? "" : ", wrote " + human_size(bytes);
  std::uint64_t shared = 0;
  for (const schema::SharedWrite::Reader write : event.getShared()) {
    shared += write.getLength();
  }
  if (shared != 0) {
    text += ", wrote " + human_size(shared) + " of shared objects";
  }
  if (event.getOutput() != 0) {
    text += event.getOutput() == 1 ? ", to standard output" : ", to standard error";
  }
  return text;
}

} // namespace

std::string event_kind_name(schema::Event::Reader event) {
  const capnp::DynamicStruct::Reader dynamic = event;
  KJ_IF_MAYBE (field, dynamic.which()) {
    return field->getProto().getName().cStr();
  }
  return unknown_name(static_cast<std::uint64_t>(event.which()));
}

std::string event_text(schema::Event::Reader event) {
  switch (event.which()) {
  case schema::Event::SYSTEM_CALL:
    return call_text(event) + " = " + result_text(event.getResult()) + written_text(event);
  case schema::Event::SYSTEM_CALL_BEGUN:
    return call_text(event) + " begun" + written_text(event);
  case schema::Event::SYSTEM_CALL_FINISHED:
    return "finished the call = " + result_text(event.getResult()) + written_text(event);
  case schema::Event::EXEC:
    return exec_text(event.getExec());
  case schema::Event::NEW_TASK: {
    const auto made = event.getNewTask();
    const bool thread = made.getChild() != made.getChildProcess();
    return call_text(event) + " made " +
           (thread ? "thread " + std::to_string(made.getChild()) + " of process "
                   : std::string("process ")) +
           std::to_string(made.getChildProcess());
  }
  case schema::Event::EXIT:
    return exit_text_of(event.getExit().getStatus());
  case schema::Event::SIGNAL:
    return signal_text(event.getSignal());
  case schema::Event::TRAP:
    return "trapped " + enum_name_of(event.getTrap());
  case schema::Event::PREEMPTION:
    return "preemption" + written_text(event);
  }
  return event_kind_name(event);
}

std::string registers_text(schema::Event::Reader event) {
  const auto found = registers_of(event.getRegisters());
  if (!found) {
    return {};
  }
  const user_regs_struct& r = *found;
  const std::pair<const char*, std::uint64_t> all[] = {{"rip", r.rip},
                                                       {"rsp", r.rsp},
                                                       {"rax", r.rax},
                                                       {"rbx", r.rbx},
                                                       {"rcx", r.rcx},
                                                       {"rdx", r.rdx},
                                                       {"rsi", r.rsi},
                                                       {"rdi", r.rdi},
                                                       {"rbp", r.rbp},
                                                       {"r8", r.r8},
                                                       {"r9", r.r9},
                                                       {"r10", r.r10},
                                                       {"r11", r.r11},
                                                       {"r12", r.r12},
                                                       {"r13", r.r13},
                                                       {"r14", r.r14},
                                                       {"r15", r.r15},
                                                       {"eflags", r.eflags},
                                                       {"orig_rax", r.orig_rax},
                                                       {"fs_base", r.fs_base},
                                                       {"gs_base", r.gs_base}};
  std::string text;
  for (const auto& [name, value] : all) {
    text += (text.empty() ? "" : " ") + std::string(name) + "=" +
            format_text("0x%llx", static_cast<unsigned long long>(value));
  }
  return text;
}

} // namespace rrpcp::tools
