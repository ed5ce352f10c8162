#include "legacy/packed_message.h"

namespace rrpcp::compat {

namespace {

void touch(capnp::DynamicValue::Reader value) {
  switch (value.getType()) {
  case capnp::DynamicValue::STRUCT:
    touch_all(value.as<capnp::DynamicStruct>());
    break;
  case capnp::DynamicValue::LIST:
    for (const auto element : value.as<capnp::DynamicList>()) {
      touch(element);
    }
    break;
  default:
    break;
  }
}

} // namespace

void touch_all(capnp::DynamicStruct::Reader message) {
  for (const auto field : message.getSchema().getNonUnionFields()) {
    touch(message.get(field));
  }
  KJ_IF_MAYBE(member, message.which()) { touch(message.get(*member)); }
}

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
