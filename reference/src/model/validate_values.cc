// What the schemas alone say: every struct of the manifest is looked at, whatever it means.
#include "container/value_plan.h"
#include "model/state_check.h"

#include <algorithm>
#include <capnp/any.h>
#include <string>

namespace rrpcp {

namespace {

using capnp::AnyList;
using capnp::AnyPointer;
using capnp::AnyStruct;
using Kind = PlannedField::Kind;

std::uint64_t word_at(kj::ArrayPtr<const capnp::byte> data, std::size_t word) {
  return bits_at(data, static_cast<unsigned>(word * 64), 64);
}

} // namespace

// One walk over the manifest.
class StateCheck::ValueWalk {
public:
  explicit ValueWalk(StateCheck& check) : check_(check) {}

  // A struct at `path`.
  void look_at(const Path& path, AnyStruct::Reader value, const ValuePlan& plan) {
    if (plan.unions.empty()) {
      look_at_fields(path, value, plan, {});
      judge_undefined(path, value, plan.mask, plan.all_pointers, plan);
      return;
    }
    const auto data = value.getDataSection();
    const std::vector<std::uint16_t> tags = union_tags(plan, data);
    std::vector<std::uint64_t> mask = plan.mask;
    std::vector<bool> pointers(plan.pointers);
    bool unknown_arm = false;
    for (unsigned u = 0; u < plan.unions.size(); ++u) {
      const PlannedUnion& planned = plan.unions[u];
      if (is_set(planned.arms, tags)) {
        add_bits(mask, planned.place, 16);
        if (tags[u] >= planned.count) {
          check_.unknown(path, "union arm", tags[u]);
          unknown_arm = true;
        }
      }
    }
    look_at_fields(path, value, plan, tags);
    if (unknown_arm) {
      return; // nobody can say what belongs to it
    }
    for (const PlannedField& field : plan.fields) {
      if (is_set(field.arms, tags)) {
        if (field.bits != 0) {
          add_bits(mask, field.place, field.bits);
        } else {
          pointers[field.place] = true;
        }
      }
    }
    judge_undefined(path, value, mask, pointers, plan);
  }

private:
  static void add_bits(std::vector<std::uint64_t>& mask, unsigned place, unsigned bits) {
    const std::uint64_t ones = bits == 64 ? UINT64_MAX : (std::uint64_t{1} << bits) - 1;
    mask[place / 64] |= ones << (place % 64);
  }

  void look_at_fields(const Path& path, AnyStruct::Reader value, const ValuePlan& plan,
                      const std::vector<std::uint16_t>& tags) {
    const auto data = value.getDataSection();
    for (const PlannedField& field : plan.judged) {
      if (!is_set(field.arms, tags)) {
        continue;
      }
      if (field.bits != 0) {
        judge_number(path, bits_at(data, field.place, field.bits), field);
      } else {
        check_.guarded(path, [&] { judge_pointer(path, value, field); });
      }
    }
  }

  // What is set but belongs to no field, or only to an arm that is not set.
  void judge_undefined(const Path& path, AnyStruct::Reader value,
                       const std::vector<std::uint64_t>& mask, const std::vector<bool>& known,
                       const ValuePlan& plan) {
    if (!check_.rules_.fully_known) {
      return;
    }
    const auto data = value.getDataSection();
    for (std::size_t w = 0; w * 8 < data.size(); ++w) {
      if ((word_at(data, w) & ~(w < mask.size() ? mask[w] : 0)) != 0) {
        check_.findings_.in("value.undefined", path,
                            "bits of data word " + std::to_string(w) +
                                " are set that belong to no field of " + plan.name);
        return;
      }
    }
    const auto pointers = value.getPointerSection();
    for (unsigned i = 0; i < pointers.size(); ++i) {
      if ((i >= known.size() || !known[i]) && !pointers[i].isNull()) {
        check_.findings_.in("value.undefined", path,
                            "pointer " + std::to_string(i) +
                                " is set that belongs to no field of " + plan.name);
        return;
      }
    }
  }

  void judge_number(const Path& path, std::uint64_t raw, const PlannedField& field) {
    if (field.kind == Kind::kEnum) {
      if (raw >= field.enumerants) {
        check_.unknown(path / field.name.c_str(), "enumerant", static_cast<unsigned>(raw));
      }
      return;
    }
    if (field.not_negative && field.bits != 0) {
      const auto value = static_cast<std::int64_t>(raw << (64 - field.bits)) >> (64 - field.bits);
      check_.not_negative(path / field.name.c_str(), value);
    }
  }

  void judge_pointer(const Path& path, AnyStruct::Reader value, const PlannedField& field) {
    const Path at = path / field.name.c_str();
    const auto pointers = value.getPointerSection();
    if (field.place >= pointers.size() || pointers[field.place].isNull()) {
      if (field.required) {
        check_.findings_.in("value.missing", at, "it must be there");
      }
      return;
    }
    const AnyPointer::Reader pointer = pointers[field.place];
    if (field.kind == Kind::kStruct ? !pointer.isStruct() : !pointer.isList()) {
      malformed(at, field.kind == Kind::kStruct ? "a struct" : "a list");
      return;
    }
    switch (field.kind) {
    case Kind::kStruct:
      look_at(at, pointer.getAs<AnyStruct>(), *field.type);
      break;
    case Kind::kText:
    case Kind::kData:
      judge_bytes(at, pointer, field.kind, field.is_text);
      break;
    default:
      judge_list(at, pointer.getAs<AnyList>(), field);
      break;
    }
  }

  void malformed(const Path& path, const char* what) {
    check_.findings_.in("manifest.message", path,
                        std::string("it is not ") + what + " as the schema says");
  }

  void judge_bytes(const Path& path, AnyPointer::Reader pointer, Kind kind, bool is_text) {
    if (!pointer.isList() ||
        pointer.getAs<AnyList>().getElementSize() != capnp::ElementSize::BYTE) {
      malformed(path, "a list of bytes");
    } else if (kind == Kind::kText) {
      const auto text = pointer.getAs<capnp::Text>(); // throws where there is no closing NUL
      if (text.size() == 0) {
        check_.findings_.in("value.text", path, "an empty text must be null");
      } else {
        check_.text(path, text);
      }
    } else if (is_text) {
      check_.no_nul(path, pointer.getAs<capnp::Data>());
    }
  }

  // Lists have exactly the form that the schema gives them: none is "upgraded" from another.
  void judge_list(const Path& path, AnyList::Reader list, const PlannedField& field) {
    const auto size = list.getElementSize();
    if (field.element == Kind::kStruct) {
      if (size != capnp::ElementSize::INLINE_COMPOSITE) {
        malformed(path, "a list of structs");
        return;
      }
      const auto structs = list.as<capnp::List<AnyStruct>>();
      for (unsigned i = 0; i < structs.size(); ++i) {
        const Path item = path[i];
        check_.guarded(item, [&] { look_at(item, structs[i], *field.type); });
      }
      return;
    }
    if (field.element != Kind::kBits && field.element != Kind::kEnum) {
      if (size != capnp::ElementSize::POINTER) {
        malformed(path, "a list of pointers");
        return;
      }
      const auto elements = list.as<capnp::List<AnyPointer>>();
      for (unsigned i = 0; i < elements.size(); ++i) {
        const Path item = path[i];
        if (!elements[i].isNull()) {
          check_.guarded(item,
                         [&] { judge_bytes(item, elements[i], field.element, field.is_text); });
        }
      }
      return;
    }
    if (size != size_of_bits(field.element_bits)) {
      malformed(path, "a list of numbers");
    } else if (field.not_negative && field.element_bits == 32) {
      const auto numbers = list.as<capnp::List<std::int32_t>>();
      for (unsigned i = 0; i < numbers.size(); ++i) {
        check_.not_negative(path[i], numbers[i]);
      }
    }
  }

  static capnp::ElementSize size_of_bits(unsigned bits) {
    switch (bits) {
    case 1:
      return capnp::ElementSize::BIT;
    case 8:
      return capnp::ElementSize::BYTE;
    case 16:
      return capnp::ElementSize::TWO_BYTES;
    case 32:
      return capnp::ElementSize::FOUR_BYTES;
    default:
      return capnp::ElementSize::EIGHT_BYTES;
    }
  }

  StateCheck& check_;
};

void StateCheck::check_values() {
  ValueWalk(*this).look_at(Path(""), manifest_, manifest_plans(rules_.minor).root());
}

} // namespace rrpcp
