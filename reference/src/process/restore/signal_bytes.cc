#include "process/restore/signal_bytes.h"

#include "base/bytes.h"

#include <csignal>
#include <cstring>
#include <span>

namespace rrpcp::process::restore {

namespace {

// Offsets in the kernel's structure on x86-64.
constexpr std::size_t kSignal = 0;
constexpr std::size_t kError = 4;
constexpr std::size_t kCode = 8;
constexpr std::size_t kFields = 16;

} // namespace

SignalBytes signal_bytes(schema::SignalInfo::Reader info) {
  SignalBytes bytes{};
  if (info.getRaw().size() == bytes.size()) {
    std::memcpy(bytes.data(), info.getRaw().begin(), bytes.size());
    return bytes;
  }
  const std::span<std::byte> out(bytes);
  auto put = [&](std::size_t offset, auto value) { store_le(out, offset, value); };
  put(kSignal, info.getSignal());
  put(kError, info.getError());
  put(kCode, info.getCode());
  switch (info.which()) {
  case schema::SignalInfo::NONE:
    break;
  case schema::SignalInfo::KILL:
    put(kFields, info.getKill().getPid());
    put(kFields + 4, info.getKill().getUid());
    break;
  case schema::SignalInfo::QUEUE:
    put(kFields, info.getQueue().getPid());
    put(kFields + 4, info.getQueue().getUid());
    put(kFields + 8, info.getQueue().getValue());
    break;
  case schema::SignalInfo::TIMER:
    put(kFields, info.getTimer().getId());
    put(kFields + 4, info.getTimer().getOverrun());
    put(kFields + 8, info.getTimer().getValue());
    break;
  case schema::SignalInfo::CHILD:
    put(kFields, info.getChild().getPid());
    put(kFields + 4, info.getChild().getUid());
    put(kFields + 8, info.getChild().getStatus());
    put(kFields + 16, info.getChild().getUserTime());
    put(kFields + 24, info.getChild().getSystemTime());
    break;
  case schema::SignalInfo::FAULT:
    put(kFields, info.getFault().getAddress());
    put(kFields + 8, info.getFault().getAddressLsb());
    if (info.getFault().getLower() != 0 || info.getFault().getUpper() != 0) {
      put(kFields + 16, info.getFault().getLower());
      put(kFields + 24, info.getFault().getUpper());
    } else {
      put(kFields + 16, info.getFault().getPkey());
    }
    break;
  case schema::SignalInfo::POLL:
    put(kFields, info.getPoll().getBand());
    put(kFields + 8, info.getPoll().getFd());
    break;
  case schema::SignalInfo::SYSTEM_CALL:
    put(kFields, info.getSystemCall().getCallAddress());
    put(kFields + 8, info.getSystemCall().getNumber());
    put(kFields + 12, info.getSystemCall().getArch());
    break;
  }
  return bytes;
}

} // namespace rrpcp::process::restore
