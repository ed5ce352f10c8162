#include "legacy/replay_step.h"

#include "legacy/machine.h"

#include <cstdint>
#include <cstring>
#include <optional>

namespace rrpcp::compat {

namespace {

using Action = schema::rr::ReplayStep::Action;

// In the order of rr's enumeration.
constexpr std::array kActions = {
    Action::NONE,
    Action::ENTER_SYSTEM_CALL,
    Action::EXIT_SYSTEM_CALL,
    Action::DETERMINISTIC_SIGNAL,
    Action::ASYNCHRONOUS_INTERRUPT,
    Action::DELIVER_SIGNAL,
    Action::FLUSH_BUFFER,
    Action::PATCH_SYSTEM_CALL,
    Action::PATCH_AFTER_SYSTEM_CALL,
    Action::PATCH_INSTRUCTION,
    Action::EXIT_TASK,
    Action::RETIRE,
};
// Where rr-2022 has another action.
constexpr std::size_t kPatchPlace = 9;

Action action_of(std::size_t number, Generation generation) {
  if (number == kPatchPlace && generation == Generation::kRr2022) {
    return Action::PATCH_VSYSCALL;
  }
  return kActions[number];
}

template <typename T> T get(std::span<const std::byte, kReplayStepSize> bytes, std::size_t offset) {
  T value;
  std::memcpy(&value, bytes.data() + offset, sizeof(T));
  return value;
}

template <typename T>
void put(std::array<std::byte, kReplayStepSize>& bytes, std::size_t offset, T value) {
  std::memcpy(bytes.data() + offset, &value, sizeof(T));
}

} // namespace

bool decode_replay_step(std::span<const std::byte, kReplayStepSize> bytes, Generation generation,
                        schema::rr::ReplayStep::Builder out) {
  const auto number = get<std::uint32_t>(bytes, 0);
  if (number >= kActions.size()) {
    return false;
  }
  const Action action = action_of(number, generation);
  out.setAction(action);
  switch (action) {
  case Action::ENTER_SYSTEM_CALL:
  case Action::EXIT_SYSTEM_CALL:
    out.setMachine(elf_machine(static_cast<legacy::Machine>(get<std::uint32_t>(bytes, 8))));
    out.setSystemCall(get<std::int32_t>(bytes, 12));
    break;
  case Action::DETERMINISTIC_SIGNAL:
  case Action::ASYNCHRONOUS_INTERRUPT:
  case Action::DELIVER_SIGNAL:
    out.setTargetTicks(get<std::int64_t>(bytes, 8));
    out.setSignal(get<std::int32_t>(bytes, 16));
    out.setBufferHook(get<std::uint64_t>(bytes, 24));
    break;
  case Action::FLUSH_BUFFER:
    out.setFlushOffset(get<std::uint64_t>(bytes, 8));
    out.setFlushTicks(get<std::int64_t>(bytes, 16));
    break;
  default:
    break;
  }
  return true;
}

bool encode_replay_step(schema::rr::ReplayStep::Reader in, Generation generation,
                        std::array<std::byte, kReplayStepSize>& bytes) {
  bytes = {};
  std::optional<std::uint32_t> number;
  for (std::uint32_t n = 0; n < kActions.size(); ++n) {
    if (action_of(n, generation) == in.getAction()) {
      number = n;
    }
  }
  if (!number) {
    return false;
  }
  put(bytes, 0, *number);
  switch (in.getAction()) {
  case Action::ENTER_SYSTEM_CALL:
  case Action::EXIT_SYSTEM_CALL: {
    const auto machine = legacy_machine(in.getMachine());
    if (!machine) {
      return false;
    }
    put(bytes, 8, static_cast<std::uint32_t>(*machine));
    put(bytes, 12, in.getSystemCall());
    break;
  }
  case Action::DETERMINISTIC_SIGNAL:
  case Action::ASYNCHRONOUS_INTERRUPT:
  case Action::DELIVER_SIGNAL:
    put(bytes, 8, in.getTargetTicks());
    put(bytes, 16, in.getSignal());
    put(bytes, 24, in.getBufferHook());
    break;
  case Action::FLUSH_BUFFER:
    put(bytes, 8, in.getFlushOffset());
    put(bytes, 16, in.getFlushTicks());
    break;
  default:
    break;
  }
  return true;
}

} // namespace rrpcp::compat
