#include "legacy/packed_message.h"

namespace rrpcp::compat {

namespace {

// Reads every field. Elements of lists are counted: in a message that rr wrote each takes a word at
// least, while a few bytes can claim millions of elements of no size.
class Toucher {
public:
  explicit Toucher(std::uint64_t elements) : left_(elements) {}

  void touch(capnp::DynamicStruct::Reader message) {
    for (const auto field : message.getSchema().getNonUnionFields()) {
      touch(message.get(field));
    }
    KJ_IF_MAYBE (member, message.which()) {
      touch(message.get(*member));
    } else if (message.getSchema().getUnionFields().size() != 0) {
      // What lies there is of a kind that no generation wrote, so nobody may read it as another.
      throw Error(ErrorCode::kDamaged,
                  "a message has an unknown alternative in " +
                      std::string(message.getSchema().getShortDisplayName().cStr()));
    }
  }

private:
  void touch(capnp::DynamicValue::Reader value) {
    switch (value.getType()) {
    case capnp::DynamicValue::STRUCT:
      touch(value.as<capnp::DynamicStruct>());
      break;
    case capnp::DynamicValue::LIST: {
      const auto list = value.as<capnp::DynamicList>();
      if (list.size() > left_) {
        throw Error(ErrorCode::kDamaged, "a message claims " + std::to_string(list.size()) +
                                             " elements that take no room in it");
      }
      left_ -= list.size();
      for (const auto element : list) {
        touch(element);
      }
      break;
    }
    default:
      break;
    }
  }

  std::uint64_t left_;
};

} // namespace

void touch_all(capnp::DynamicStruct::Reader message) {
  Toucher(message.totalSize().wordCount).touch(message);
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
