// Position, trace binding, session.
#include "model/state_check.h"

#include <algorithm>
#include <string>

namespace rrpcp {

void StateCheck::check_position_and_trace(const Path& path) {
  if (state_.hasTrace()) {
    const Path at = path / "trace";
    auto trace = state_.getTrace();
    auto uuid = trace.getUuid();
    if (uuid.size() != 16 || std::all_of(uuid.begin(), uuid.end(), [](auto b) { return b == 0; })) {
      findings_.in("trace.uuid", at / "uuid",
                   "it has " + std::to_string(uuid.size()) + " bytes or is all zero");
    }
    if (!is_reverse_dns(trace.getFormat())) {
      findings_.in("trace.format", at / "format", "it is not a reverse-DNS id");
    }
    auto cursor = trace.getCursor();
    each(at / "cursor", cursor, [&](const Path& entry, schema::StreamCursor::Reader stream) {
      auto name = stream.getStream();
      std::string_view view(name.begin(), name.size());
      if (view.empty() || view.find('/') != view.npos || view == "." || view == "..") {
        findings_.in("trace.cursor", entry / "stream", "it is not the name of a file");
      }
    });
    each_pair(
        at / "cursor", cursor,
        [&](const Path& entry, schema::StreamCursor::Reader a, schema::StreamCursor::Reader b) {
          if (std::string_view(a.getStream().begin(), a.getStream().size()) >=
              std::string_view(b.getStream().begin(), b.getStream().size())) {
            findings_.in("trace.cursor", entry, "its name does not come after the one before it");
          }
        });
  }
  if (!state_.hasPosition()) {
    if (state_.hasTrace()) {
      findings_.in("position.missing", path / "position", "there is a trace, but no position");
    }
    return;
  }
  const Path at = path / "position";
  if (!state_.hasTrace()) {
    findings_.in("position.unbound", at, "there is a position, but no trace");
  }
  auto position = state_.getPosition();
  auto clone = position.getClone();
  check_mark(at / "clone", clone);
  switch (position.which()) {
  case schema::Position::AT_EVENT:
  case schema::Position::BETWEEN:
    break;
  case schema::Position::FORWARD_TO: {
    auto mark = position.getForwardTo();
    check_mark(at / "forwardTo", mark);
    if (mark.getEvent() < clone.getEvent()) {
      findings_.in("position.mark", at / "forwardTo",
                   "event " + std::to_string(mark.getEvent()) + " lies before event " +
                       std::to_string(clone.getEvent()));
    }
    break;
  }
  default:
    break;
  }
}

void StateCheck::check_mark(const Path& path, schema::Mark::Reader mark) {
  if (mark.getEvent() < 0) {
    findings_.in("position.event", path / "event", "it is " + std::to_string(mark.getEvent()));
  }
  if (mark.getTicksAtEventStart() < 0 || mark.getTicks() < mark.getTicksAtEventStart()) {
    findings_.in("position.ticks", path / "ticks",
                 std::to_string(mark.getTicks()) + " ticks, " +
                     std::to_string(mark.getTicksAtEventStart()) + " at the start of the event");
  }
  auto registers = mark.getRegisters();
  check_registers(path / "registers", registers,
                  mark.getMachine() != 0 ? mark.getMachine() : machine_);
  if (registers.size() != 0 && !has_general_registers(registers)) {
    findings_.in("position.registers", path / "registers", "there is no NT_PRSTATUS");
  }
}

void StateCheck::check_session(const Path& path, schema::Session::Reader session) {
  std::uint64_t highest = 0;
  for (auto process : state_.getProcesses()) {
    highest = std::max<std::uint64_t>(highest, process.getSerial());
  }
  for (auto task : state_.getTasks()) {
    highest = std::max<std::uint64_t>(highest, task.getSerial());
  }
  const std::uint32_t next = session.getNextTaskSerial();
  if (next != 0 && next <= highest) {
    findings_.in("session.next-serial", path / "nextTaskSerial",
                 std::to_string(next) + " is not above serial " + std::to_string(highest));
  }
  if (session.hasLastSignal()) {
    check_signal_info(path / "lastSignal", session.getLastSignal());
  }
  if (session.hasRr()) {
    check_rr_session(path / "rr", session.getRr());
  }
}

} // namespace rrpcp
