#include "container/canonical.h"

#include "base/bytes.h"
#include "rrpcp/error.h"

#include <algorithm>
#include <cstring>
#include <utility>
#include <vector>

namespace rrpcp {

namespace {

constexpr std::size_t kWord = sizeof(capnp::word);
// What the 30 signed bits of a pointer's offset reach, and the 29 bits of a list's length.
constexpr std::uint64_t kMaxWords = 1u << 29;
constexpr std::uint64_t kElementBits[] = {0, 1, 8, 16, 32, 64, 64};
constexpr unsigned kPointerList = 6, kCompositeList = 7;

// Words of a data section, and pointers of a pointer section, that are left when those at the end
// which say nothing are cut off.
struct Size {
  std::uint64_t data = 0;
  std::uint64_t pointers = 0;
};

// What a plan says of each pointer of one struct.
class Pointers {
public:
  Pointers(const ValuePlan* plan, capnp::AnyStruct::Reader value) {
    if (plan == nullptr || !plan->has_text) {
      return;
    }
    const std::vector<std::uint16_t> tags = union_tags(*plan, value.getDataSection());
    fields_.resize(plan->pointers);
    for (const PlannedField& field : plan->fields) {
      if (field.bits == 0 && is_set(field.arms, tags)) {
        fields_[field.place] = &field;
      }
    }
  }

  // Null where nothing is known, or nothing needs to be.
  const PlannedField* field(unsigned pointer) const {
    return pointer < fields_.size() ? fields_[pointer] : nullptr;
  }

private:
  std::vector<const PlannedField*> fields_;
};

bool says_nothing(capnp::AnyPointer::Reader pointer, bool is_text) {
  if (pointer.isNull()) {
    return true;
  }
  if (!pointer.isList()) {
    return false;
  }
  const auto list = pointer.getAs<capnp::AnyList>();
  return list.size() == 0 ||
         (is_text && list.size() == 1 && list.getElementSize() == capnp::ElementSize::BYTE);
}

bool says_nothing(capnp::AnyPointer::Reader pointer, const PlannedField* field) {
  return says_nothing(pointer, field != nullptr && field->kind == PlannedField::Kind::kText);
}

Size size_of(capnp::AnyStruct::Reader value, const ValuePlan* plan) {
  Size size;
  const auto data = value.getDataSection();
  size.data = (data.size() + kWord - 1) / kWord;
  while (size.data != 0) {
    const std::size_t at = (size.data - 1) * kWord;
    const auto word = data.slice(at, std::min(at + kWord, data.size()));
    if (std::any_of(word.begin(), word.end(), [](capnp::byte byte) { return byte != 0; })) {
      break;
    }
    --size.data;
  }
  const auto pointers = value.getPointerSection();
  size.pointers = pointers.size();
  if (size.pointers != 0) {
    const Pointers known(plan, value);
    while (size.pointers != 0) {
      const auto last = static_cast<unsigned>(size.pointers - 1);
      if (!says_nothing(pointers[last], known.field(last))) {
        break;
      }
      --size.pointers;
    }
  }
  return size;
}

class Encoder {
public:
  Encoder(capnp::AnyStruct::Reader root, const ValuePlan* plan) {
    out_.push_back(0);
    put_struct(0, root, plan);
  }

  // Once.
  kj::Array<capnp::word> take() {
    const auto words = kj::arrayPtr(reinterpret_cast<capnp::word*>(out_.data()), out_.size());
    return words.attach(std::move(out_));
  }

private:
  // Room for `count` words; the index of the first.
  std::uint64_t claim(std::uint64_t count) {
    const std::uint64_t start = out_.size();
    if (count > kMaxWords || start + count > kMaxWords) {
      throw Error(ErrorCode::kLimit,
                  "the message is larger than Cap'n Proto's pointers reach (4 GiB)");
    }
    out_.resize(start + count);
    return start;
  }

  static std::uint64_t offset(std::uint64_t at, std::uint64_t target) {
    return (target - at - 1) << 2 & 0xfffffffc;
  }

  void put_struct(std::uint64_t at, capnp::AnyStruct::Reader value, const ValuePlan* plan) {
    const Size size = size_of(value, plan);
    if (size.data + size.pointers == 0) {
      out_[at] = 0xfffffffc; // offset -1: it has no place
      return;
    }
    const std::uint64_t start = claim(size.data + size.pointers);
    out_[at] = offset(at, start) | size.data << 32 | size.pointers << 48;
    put_body(start, value, size, plan);
  }

  // `size` is what the body has; the value may have less or more.
  void put_body(std::uint64_t start, capnp::AnyStruct::Reader value, Size size,
                const ValuePlan* plan) {
    const auto data = value.getDataSection();
    if (size.data != 0 && data.size() != 0) {
      std::memcpy(&out_[start], data.begin(),
                  std::min<std::size_t>(data.size(), size.data * kWord));
    }
    const auto pointers = value.getPointerSection();
    if (size.pointers == 0 || pointers.size() == 0) {
      return;
    }
    const Pointers known(plan, value);
    for (unsigned i = 0; i < size.pointers && i < pointers.size(); ++i) {
      put_pointer(start + size.data + i, pointers[i], known.field(i));
    }
  }

  void put_pointer(std::uint64_t at, capnp::AnyPointer::Reader pointer, const PlannedField* field) {
    if (says_nothing(pointer, field)) {
      return;
    }
    if (pointer.isStruct()) {
      put_struct(at, pointer.getAs<capnp::AnyStruct>(), field != nullptr ? field->type : nullptr);
    } else if (pointer.isList()) {
      put_list(at, pointer.getAs<capnp::AnyList>(), field);
    } else {
      throw Error(ErrorCode::kInvalidArgument, "a message with capabilities cannot be stored");
    }
  }

  void put_list(std::uint64_t at, capnp::AnyList::Reader list, const PlannedField* field) {
    const auto code = static_cast<unsigned>(list.getElementSize());
    if (code == kCompositeList) {
      put_composite(at, list, field != nullptr ? field->type : nullptr);
      return;
    }
    const std::uint64_t count = list.size();
    const std::uint64_t bits = count * kElementBits[code];
    const std::uint64_t start = claim((bits + 63) / 64);
    out_[at] = 1 | offset(at, start) | std::uint64_t{code} << 32 | count << 35;
    if (code == kPointerList) {
      const bool texts = field != nullptr && field->element == PlannedField::Kind::kText;
      const auto pointers = list.as<capnp::List<capnp::AnyPointer>>();
      for (unsigned i = 0; i < count; ++i) {
        if (!says_nothing(pointers[i], texts)) {
          put_pointer(start + i, pointers[i], nullptr);
        }
      }
      return;
    }
    if (bits != 0) {
      std::memcpy(&out_[start], list.getRawBytes().begin(), (bits + 7) / 8);
      if (bits % 64 != 0) {
        out_.back() &= (std::uint64_t{1} << (bits % 64)) - 1;
      }
    }
  }

  void put_composite(std::uint64_t at, capnp::AnyList::Reader any, const ValuePlan* plan) {
    const auto list = any.as<capnp::List<capnp::AnyStruct>>();
    if (list[0].getPointerSection().size() == 0 && list[0].getDataSection().size() % kWord == 0) {
      put_plain_structs(at, any.getRawBytes(), list.size());
      return;
    }
    Size size;
    for (const auto element : list) {
      // All have room for the same, so that nothing larger comes where one is full.
      const bool full = size.data * kWord >= element.getDataSection().size() &&
                        size.pointers >= element.getPointerSection().size();
      if (full) {
        break;
      }
      const Size own = size_of(element, plan);
      size.data = std::max(size.data, own.data);
      size.pointers = std::max(size.pointers, own.pointers);
    }
    const std::uint64_t start = claim_list(at, list.size(), size);
    for (unsigned i = 0; i < list.size(); ++i) {
      put_body(start + i * (size.data + size.pointers), list[i], size, plan);
    }
  }

  // Structs without pointers: of runs of pages there may be hundreds of thousands.
  void put_plain_structs(std::uint64_t at, kj::ArrayPtr<const capnp::byte> bytes,
                         std::uint64_t count) {
    const std::uint64_t room = bytes.size() / count; // of each, whole words
    std::uint64_t used = 0;
    for (std::uint64_t i = 0; i < count && used < room; ++i) {
      const capnp::byte* const element = bytes.begin() + i * room;
      for (std::uint64_t word = room; word > used; word -= kWord) {
        std::uint64_t value = 0;
        std::memcpy(&value, element + word - kWord, kWord);
        if (value != 0) {
          used = word;
        }
      }
    }
    const std::uint64_t start = claim_list(at, count, {used / kWord, 0});
    if (used == room) {
      std::memcpy(out_.data() + start, bytes.begin(), bytes.size());
      return;
    }
    for (std::uint64_t i = 0; used != 0 && i < count; ++i) {
      std::memcpy(&out_[start + i * (used / kWord)], bytes.begin() + i * room, used);
    }
  }

  // Room for a list of structs of one size; the index of the first's first word.
  std::uint64_t claim_list(std::uint64_t at, std::uint64_t count, Size size) {
    const std::uint64_t step = size.data + size.pointers;
    const std::uint64_t start = claim(1 + count * step);
    out_[at] = 1 | offset(at, start) | std::uint64_t{kCompositeList} << 32 | count * step << 35;
    out_[start] = count << 2 | size.data << 32 | size.pointers << 48;
    return start + 1;
  }

  std::vector<std::uint64_t> out_;
};

// Walks a message whose layout check_layout() found right.
class FormWalk {
public:
  explicit FormWalk(std::span<const std::byte> segment) : segment_(segment) {}

  std::optional<CanonicalProblem> run() {
    pointer(0);
    return problem_;
  }

private:
  std::uint64_t word(std::uint64_t at) const {
    return load_le<std::uint64_t>(segment_, at * kWord);
  }

  void problem(const char* what, std::uint64_t at) {
    if (!problem_) {
      problem_ = CanonicalProblem{what, at};
    }
  }

  void pointer(std::uint64_t at) {
    const std::uint64_t value = word(at);
    if (value == 0 || problem_) {
      return;
    }
    const auto offset = static_cast<std::int64_t>(static_cast<std::int32_t>(value) >> 2);
    const auto start = static_cast<std::uint64_t>(static_cast<std::int64_t>(at) + 1 + offset);
    if ((value & 3) == 0) {
      structs(at, start, 1, {value >> 32 & 0xffff, value >> 48});
      return;
    }
    const std::uint64_t code = value >> 32 & 7;
    const std::uint64_t count = value >> 35;
    if (code == kCompositeList) {
      const std::uint64_t tag = word(start);
      const std::uint64_t elements = (tag & 0xffffffff) >> 2;
      if (elements == 0) {
        problem("an empty list is not null", at);
        return;
      }
      structs(start, start + 1, elements, {tag >> 32 & 0xffff, tag >> 48});
      return;
    }
    if (count == 0) {
      problem("an empty list, text or data is not null", at);
      return;
    }
    if (code == kPointerList) {
      for (std::uint64_t i = 0; i < count; ++i) {
        pointer(start + i);
      }
      return;
    }
    const std::uint64_t bits = count * kElementBits[code];
    if (bits % 64 != 0 && word(start + bits / 64) >> (bits % 64) != 0) {
      problem("bits behind the last element of a list are set", start + bits / 64);
    }
  }

  // `count` structs in a row from word `start`; `at` is the word that says how large they are.
  void structs(std::uint64_t at, std::uint64_t start, std::uint64_t count, Size size) {
    const std::uint64_t step = size.data + size.pointers;
    bool data_used = size.data == 0, pointers_used = size.pointers == 0;
    for (std::uint64_t i = 0; i < count && !(data_used && pointers_used); ++i) {
      const std::uint64_t first = start + i * step;
      data_used = data_used || word(first + size.data - 1) != 0;
      pointers_used = pointers_used || word(first + step - 1) != 0;
    }
    if (!data_used) {
      problem("the last word of data is zero and should be left out", at);
    }
    if (!pointers_used) {
      problem("the last pointer is null and should be left out", at);
    }
    for (std::uint64_t i = 0; size.pointers != 0 && i < count && !problem_; ++i) {
      for (std::uint64_t p = 0; p < size.pointers; ++p) {
        pointer(start + i * step + size.data + p);
      }
    }
  }

  std::span<const std::byte> segment_;
  std::optional<CanonicalProblem> problem_;
};

} // namespace

kj::Array<capnp::word> canonical_message(capnp::AnyStruct::Reader root, const ValuePlan* plan) {
  return Encoder(root, plan).take();
}

std::optional<CanonicalProblem> find_noncanonical(std::span<const std::byte> segment) {
  return FormWalk(segment).run();
}

} // namespace rrpcp
