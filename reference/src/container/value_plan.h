// What the schemas alone say about a message, ready to be checked: which bits and pointers a struct
// has, which of them belong to which arm of a union, what each pointer refers to, and the marks of
// schema/common.capnp. Made once for each type.
#pragma once

#include <capnp/schema.h>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

namespace rrpcp {

struct ValuePlan;

// One field that has bits or a pointer. Names of groups are part of its name: "pipe.contents".
struct PlannedField {
  enum class Kind {
    kBits, // a number or a Bool
    kEnum,
    kText,   // Text
    kData,   // Data
    kStruct, // a struct
    kList,   // a list; `element` says of what
  };

  std::string name;
  Kind kind = Kind::kBits;
  // Lists: of what, and bits of an element that is a number.
  Kind element = Kind::kBits;
  unsigned element_bits = 0;
  // Data sections: first bit and number of bits. Pointers: index in the pointer section.
  unsigned place = 0;
  unsigned bits = 0;
  bool is_signed = false;
  bool not_negative = false;
  bool is_text = false; // Data that is shown as text and has no NUL
  bool required = false;
  unsigned enumerants = 0;         // kEnum: how many values are known
  const ValuePlan* type = nullptr; // kStruct, or the elements of a kList of structs
  // Arms of unions that must be set for the field to count: pairs of a union's index in the plan
  // and an arm's tag.
  std::vector<std::pair<unsigned, std::uint16_t>> arms;
};

struct PlannedUnion {
  unsigned place = 0;                                   // first bit of the tag, 16 bits
  unsigned count = 0;                                   // arms that are known
  std::vector<std::pair<unsigned, std::uint16_t>> arms; // as of a field
};

// A struct.
struct ValuePlan {
  std::string name;
  std::uint64_t id = 0;
  // Words of data and pointers that the schema knows.
  unsigned data_words = 0;
  unsigned pointers = 0;
  // Bits of fields that belong to no union.
  std::vector<std::uint64_t> mask;
  // As many as there are pointers, true but for those of a later version: for structs without a
  // union.
  std::vector<bool> all_pointers;
  // Pointers that a later version than the plans' brought.
  std::vector<unsigned> newer_pointers;
  std::vector<PlannedField> fields;
  // Those of `fields` of which not every value is right.
  std::vector<PlannedField> judged;
  // A union comes before those that lie in its arms.
  std::vector<PlannedUnion> unions;
  // It has a Text, or something that it refers to has one.
  bool has_text = false;
};

// Bits `place` to `place` + `bits` - 1 of a data section; those beyond its end are zero.
std::uint64_t bits_at(kj::ArrayPtr<const capnp::byte> data, unsigned place, unsigned bits);

// The tags of all unions of a struct, in the order of ValuePlan::unions.
std::vector<std::uint16_t> union_tags(const ValuePlan& plan, kj::ArrayPtr<const capnp::byte> data);

// Whether all of a field's or union's arms are set.
bool is_set(const std::vector<std::pair<unsigned, std::uint16_t>>& arms,
            const std::vector<std::uint16_t>& tags);

// Plans of a struct and all that it refers to.
class ValuePlans {
public:
  // What a later minor version than `minor` brought is left out, as if it were not defined.
  explicit ValuePlans(capnp::StructSchema root, std::uint16_t minor = UINT16_MAX);
  ~ValuePlans();
  ValuePlans(const ValuePlans&) = delete;
  ValuePlans& operator=(const ValuePlans&) = delete;

  const ValuePlan& root() const { return *root_; }
  // The plan of a type that can be reached from the root; the root's where there is none.
  const ValuePlan& of(capnp::StructSchema schema) const;

private:
  const ValuePlan* plan(capnp::StructSchema schema);
  void add_fields(ValuePlan& plan, capnp::StructSchema schema, const std::string& prefix,
                  std::vector<std::pair<unsigned, std::uint16_t>> arms);

  const std::uint16_t minor_;
  std::vector<std::unique_ptr<ValuePlan>> plans_;
  const ValuePlan* root_;
};

// Of the manifest and all that it has, in a minor version of the format: that of this release for
// later ones.
const ValuePlans& manifest_plans(std::uint16_t minor = UINT16_MAX);

} // namespace rrpcp
