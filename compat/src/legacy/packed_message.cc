#include "legacy/packed_message.h"

namespace rrpcp::compat {

capnp::ReaderOptions reader_options(std::uint64_t max_bytes) {
  capnp::ReaderOptions options;
  options.traversalLimitInWords = max_bytes / sizeof(capnp::word);
  options.nestingLimit = 32;
  return options;
}

Error message_error(const kj::Exception& exception, const std::string& what) {
  return Error(ErrorCode::kDamaged,
               what + " cannot be decoded: " + exception.getDescription().cStr());
}

} // namespace rrpcp::compat
