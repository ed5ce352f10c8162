#include "document/json_tree.h"

#include "rrpcp/error.h"

#include <cstddef>
#include <nlohmann/json.hpp>
#include <utility>

namespace rrpcp {

namespace {

constexpr std::size_t kMaxDepth = 64;

// Makes the tree of what the parser meets: nlohmann::json itself would keep one of several equal
// names, and numbers as what they mean.
class TreeMaker final : public nlohmann::json_sax<nlohmann::json> {
public:
  JsonValue take() { return std::move(root_); }

  bool null() override { return scalar(JsonValue::Kind::kNull); }
  bool boolean(bool value) override {
    return scalar(value ? JsonValue::Kind::kTrue : JsonValue::Kind::kFalse);
  }
  bool number_integer(number_integer_t value) override {
    return scalar(JsonValue::Kind::kNumber, std::to_string(value));
  }
  bool number_unsigned(number_unsigned_t value) override {
    return scalar(JsonValue::Kind::kNumber, std::to_string(value));
  }
  bool number_float(number_float_t, const string_t& text) override {
    return scalar(JsonValue::Kind::kNumber, text);
  }
  bool string(string_t& text) override { return scalar(JsonValue::Kind::kString, std::move(text)); }
  bool binary(binary_t&) override { return false; } // JSON text has none
  bool start_object(std::size_t) override { return open(JsonValue::Kind::kObject); }
  bool key(string_t& name) override {
    name_ = std::move(name);
    return true;
  }
  bool end_object() override { return close(); }
  bool start_array(std::size_t) override { return open(JsonValue::Kind::kArray); }
  bool end_array() override { return close(); }

  bool parse_error(std::size_t position, const std::string&,
                   const nlohmann::detail::exception& error) override {
    throw Error(ErrorCode::kInvalidArgument,
                "the JSON text is wrong at byte " + std::to_string(position) + ": " + error.what());
  }

private:
  JsonValue& add(JsonValue::Kind kind, std::string text) {
    JsonValue value;
    value.kind = kind;
    value.text = std::move(text);
    if (open_.empty()) {
      root_ = std::move(value);
      return root_;
    }
    JsonValue& parent = *open_.back();
    if (parent.kind == JsonValue::Kind::kArray) {
      return parent.items.emplace_back(std::move(value));
    }
    parent.members.push_back({std::move(name_), std::move(value)});
    return parent.members.back().value;
  }

  bool scalar(JsonValue::Kind kind, std::string text = {}) {
    add(kind, std::move(text));
    return true;
  }

  // A value that is open is the last one of its parent, so that nothing moves it.
  bool open(JsonValue::Kind kind) {
    if (open_.size() == kMaxDepth) {
      throw Error(ErrorCode::kInvalidArgument, "the JSON text nests too deeply");
    }
    open_.push_back(&add(kind, {}));
    return true;
  }

  bool close() {
    open_.pop_back();
    return true;
  }

  JsonValue root_;
  std::vector<JsonValue*> open_; // from the root to what is being filled
  std::string name_;
};

} // namespace

JsonValue parse_json(std::string_view text) {
  TreeMaker maker;
  nlohmann::json::sax_parse(text.begin(), text.end(), &maker);
  return maker.take();
}

} // namespace rrpcp
