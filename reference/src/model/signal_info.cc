#include "model/signal_info.h"

#include <algorithm>
#include <csignal>
#include <cstdint>
#include <cstring>

namespace rrpcp {

namespace {

// Offsets in siginfo_t of a 64-bit machine.
constexpr std::size_t kSigno = 0;
constexpr std::size_t kErrno = 4;
constexpr std::size_t kCode = 8;
constexpr std::size_t kUnion = 16;

template <typename T> T get(std::span<const std::byte, kSiginfoSize> bytes, std::size_t offset) {
  T value;
  std::memcpy(&value, bytes.data() + offset, sizeof(T));
  return value;
}

template <typename T>
void put(std::array<std::byte, kSiginfoSize>& bytes, std::size_t offset, T value) {
  std::memcpy(bytes.data() + offset, &value, sizeof(T));
}

bool is_fault(std::int32_t signal) {
  return signal == SIGILL || signal == SIGFPE || signal == SIGSEGV || signal == SIGBUS ||
         signal == SIGTRAP;
}

// Codes of SIGSEGV with more than an address (asm-generic/siginfo.h).
constexpr std::int32_t kBoundsError = 3;
constexpr std::int32_t kProtectionKeyError = 4;

} // namespace

void decode_siginfo(std::span<const std::byte, kSiginfoSize> bytes,
                    schema::SignalInfo::Builder out) {
  const auto signal = get<std::int32_t>(bytes, kSigno);
  const auto code = get<std::int32_t>(bytes, kCode);
  out.setSignal(signal);
  out.setError(get<std::int32_t>(bytes, kErrno));
  out.setCode(code);
  if (code == SI_USER || code == SI_TKILL) {
    auto kill = out.initKill();
    kill.setPid(get<std::int32_t>(bytes, kUnion));
    kill.setUid(get<std::uint32_t>(bytes, kUnion + 4));
  } else if (code == SI_TIMER) {
    auto timer = out.initTimer();
    timer.setId(get<std::int32_t>(bytes, kUnion));
    timer.setOverrun(get<std::int32_t>(bytes, kUnion + 4));
    timer.setValue(get<std::uint64_t>(bytes, kUnion + 8));
  } else if (code < 0) {
    auto queue = out.initQueue();
    queue.setPid(get<std::int32_t>(bytes, kUnion));
    queue.setUid(get<std::uint32_t>(bytes, kUnion + 4));
    queue.setValue(get<std::uint64_t>(bytes, kUnion + 8));
  } else if (signal == SIGCHLD) {
    auto child = out.initChild();
    child.setPid(get<std::int32_t>(bytes, kUnion));
    child.setUid(get<std::uint32_t>(bytes, kUnion + 4));
    child.setStatus(get<std::int32_t>(bytes, kUnion + 8));
    child.setUserTime(get<std::int64_t>(bytes, kUnion + 16));
    child.setSystemTime(get<std::int64_t>(bytes, kUnion + 24));
  } else if (is_fault(signal)) {
    auto fault = out.initFault();
    fault.setAddress(get<std::uint64_t>(bytes, kUnion));
    fault.setAddressLsb(get<std::int16_t>(bytes, kUnion + 8));
    if (signal == SIGSEGV && code == kBoundsError) {
      fault.setLower(get<std::uint64_t>(bytes, kUnion + 16));
      fault.setUpper(get<std::uint64_t>(bytes, kUnion + 24));
    } else if (signal == SIGSEGV && code == kProtectionKeyError) {
      fault.setPkey(get<std::uint32_t>(bytes, kUnion + 16));
    }
  } else if (signal == SIGIO) {
    auto poll = out.initPoll();
    poll.setBand(get<std::int64_t>(bytes, kUnion));
    poll.setFd(get<std::int32_t>(bytes, kUnion + 8));
  } else if (signal == SIGSYS) {
    auto call = out.initSystemCall();
    call.setCallAddress(get<std::uint64_t>(bytes, kUnion));
    call.setNumber(get<std::int32_t>(bytes, kUnion + 8));
    call.setArch(get<std::uint32_t>(bytes, kUnion + 12));
  } else {
    out.setNone();
  }
  const auto again = encode_siginfo(out.asReader());
  if (!std::equal(again.begin(), again.end(), bytes.begin())) {
    out.setRaw({reinterpret_cast<const capnp::byte*>(bytes.data()), bytes.size()});
  }
}

std::array<std::byte, kSiginfoSize> encode_siginfo(schema::SignalInfo::Reader in) {
  std::array<std::byte, kSiginfoSize> bytes{};
  if (in.getRaw().size() == bytes.size()) {
    std::memcpy(bytes.data(), in.getRaw().begin(), bytes.size());
    return bytes;
  }
  put(bytes, kSigno, in.getSignal());
  put(bytes, kErrno, in.getError());
  put(bytes, kCode, in.getCode());
  switch (in.which()) {
  case schema::SignalInfo::NONE:
    break;
  case schema::SignalInfo::KILL:
    put(bytes, kUnion, in.getKill().getPid());
    put(bytes, kUnion + 4, in.getKill().getUid());
    break;
  case schema::SignalInfo::QUEUE:
    put(bytes, kUnion, in.getQueue().getPid());
    put(bytes, kUnion + 4, in.getQueue().getUid());
    put(bytes, kUnion + 8, in.getQueue().getValue());
    break;
  case schema::SignalInfo::TIMER:
    put(bytes, kUnion, in.getTimer().getId());
    put(bytes, kUnion + 4, in.getTimer().getOverrun());
    put(bytes, kUnion + 8, in.getTimer().getValue());
    break;
  case schema::SignalInfo::CHILD:
    put(bytes, kUnion, in.getChild().getPid());
    put(bytes, kUnion + 4, in.getChild().getUid());
    put(bytes, kUnion + 8, in.getChild().getStatus());
    put(bytes, kUnion + 16, in.getChild().getUserTime());
    put(bytes, kUnion + 24, in.getChild().getSystemTime());
    break;
  case schema::SignalInfo::FAULT:
    put(bytes, kUnion, in.getFault().getAddress());
    put(bytes, kUnion + 8, in.getFault().getAddressLsb());
    if (in.getCode() == kBoundsError) {
      put(bytes, kUnion + 16, in.getFault().getLower());
      put(bytes, kUnion + 24, in.getFault().getUpper());
    } else if (in.getCode() == kProtectionKeyError) {
      put(bytes, kUnion + 16, in.getFault().getPkey());
    }
    break;
  case schema::SignalInfo::POLL:
    put(bytes, kUnion, in.getPoll().getBand());
    put(bytes, kUnion + 8, in.getPoll().getFd());
    break;
  case schema::SignalInfo::SYSTEM_CALL:
    put(bytes, kUnion, in.getSystemCall().getCallAddress());
    put(bytes, kUnion + 8, in.getSystemCall().getNumber());
    put(bytes, kUnion + 12, in.getSystemCall().getArch());
    break;
  }
  return bytes;
}

} // namespace rrpcp
