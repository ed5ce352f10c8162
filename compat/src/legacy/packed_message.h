// Packed Cap'n Proto messages of untrusted origin.
#pragma once

#include "rrpcp/error.h"

#include <capnp/dynamic.h>
#include <capnp/message.h>
#include <capnp/serialize-packed.h>
#include <cstddef>
#include <cstdint>
#include <kj/exception.h>
#include <kj/io.h>
#include <memory>
#include <span>
#include <string>
#include <utility>

namespace rrpcp::compat {

// Bytes of one decoded message that readers accept unless told otherwise.
inline constexpr std::uint64_t kMaxMessageBytes = std::uint64_t{256} << 20;

// Reader options with a traversal limit on purpose: it bounds the decoded size, and with it what a
// message that refers to one object many times can make a reader do.
capnp::ReaderOptions reader_options(std::uint64_t max_bytes);

// Keeps Cap'n Proto from writing to standard error while it lives: what it throws while it cleans
// up after an exception is logged otherwise. Stack only, one thread.
class QuietCapnp final : public kj::ExceptionCallback {
public:
  void logMessage(kj::LogSeverity, const char*, int, int, kj::String&&) override {}
};

// Reads every field of a message once, so that a pointer of the wrong kind anywhere throws here.
void touch_all(capnp::DynamicStruct::Reader message);

// The Error for an exception of Cap'n Proto while `what` was read.
Error message_error(const kj::Exception& exception, const std::string& what);

// Reads the one packed message that `bytes` holds and copies its root out of it, which checks every
// pointer once; what is returned can be read without further checks. `what` names the message in
// errors ("the metadata"). Throws Error(kIncomplete) for no bytes, kDamaged otherwise.
template <typename Root>
std::unique_ptr<capnp::MallocMessageBuilder>
read_packed(std::span<const std::byte> bytes, const std::string& what,
            std::uint64_t max_bytes = kMaxMessageBytes) {
  if (bytes.empty()) {
    throw Error(ErrorCode::kIncomplete, what + " is empty: its writer did not finish");
  }
  auto copy = std::make_unique<capnp::MallocMessageBuilder>();
  std::size_t trailing = 0;
  const QuietCapnp quiet;
  try {
    kj::ArrayInputStream stream(
        kj::arrayPtr(reinterpret_cast<const kj::byte*>(bytes.data()), bytes.size()));
    {
      // Segments that nothing refers to are read at its end.
      capnp::PackedMessageReader reader(stream, reader_options(max_bytes));
      copy->setRoot(reader.getRoot<Root>());
    }
    touch_all(copy->getRoot<Root>().asReader());
    trailing = stream.tryGetReadBuffer().size();
  } catch (const kj::Exception& exception) {
    throw message_error(exception, what);
  }
  if (trailing != 0) {
    throw Error(ErrorCode::kDamaged,
                "there are " + std::to_string(trailing) + " bytes behind " + what);
  }
  return copy;
}

} // namespace rrpcp::compat
