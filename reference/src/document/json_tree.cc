#include "document/json_tree.h"

#include "rrpcp/error.h"

#include <cstdint>

namespace rrpcp {

namespace {

constexpr int kMaxDepth = 64;

class Parser {
public:
  explicit Parser(std::string_view text) : text_(text) {}

  JsonValue run() {
    JsonValue value = parse_value(0);
    skip_space();
    if (at_ != text_.size()) {
      fail("there is more behind the value");
    }
    return value;
  }

private:
  [[noreturn]] void fail(const std::string& what) const {
    throw Error(ErrorCode::kInvalidArgument,
                "the JSON text is wrong at byte " + std::to_string(at_) + ": " + what);
  }

  void skip_space() {
    while (at_ < text_.size() &&
           (text_[at_] == ' ' || text_[at_] == '\t' || text_[at_] == '\n' || text_[at_] == '\r')) {
      ++at_;
    }
  }

  bool take(char c) {
    if (at_ < text_.size() && text_[at_] == c) {
      ++at_;
      return true;
    }
    return false;
  }

  void expect(char c) {
    if (!take(c)) {
      fail(std::string("'") + c + "' is missing");
    }
  }

  bool take_word(std::string_view word) {
    if (text_.substr(at_).starts_with(word)) {
      at_ += word.size();
      return true;
    }
    return false;
  }

  JsonValue parse_value(int depth) {
    if (depth > kMaxDepth) {
      fail("it nests too deeply");
    }
    skip_space();
    if (at_ == text_.size()) {
      fail("it ends where a value should be");
    }
    JsonValue value;
    switch (text_[at_]) {
    case '{':
      parse_object(value, depth);
      break;
    case '[':
      parse_array(value, depth);
      break;
    case '"':
      value.kind = JsonValue::Kind::kString;
      value.text = parse_string();
      break;
    case 't':
    case 'f':
    case 'n':
      if (take_word("true")) {
        value.kind = JsonValue::Kind::kTrue;
      } else if (take_word("false")) {
        value.kind = JsonValue::Kind::kFalse;
      } else if (!take_word("null")) {
        fail("no value begins so");
      }
      break;
    default:
      value.kind = JsonValue::Kind::kNumber;
      value.text = parse_number();
    }
    return value;
  }

  void parse_object(JsonValue& value, int depth) {
    value.kind = JsonValue::Kind::kObject;
    expect('{');
    skip_space();
    if (take('}')) {
      return;
    }
    do {
      skip_space();
      if (at_ == text_.size() || text_[at_] != '"') {
        fail("a name is missing");
      }
      std::string name = parse_string();
      skip_space();
      expect(':');
      value.members.push_back({std::move(name), parse_value(depth + 1)});
      skip_space();
    } while (take(','));
    expect('}');
  }

  void parse_array(JsonValue& value, int depth) {
    value.kind = JsonValue::Kind::kArray;
    expect('[');
    skip_space();
    if (take(']')) {
      return;
    }
    do {
      value.items.push_back(parse_value(depth + 1));
      skip_space();
    } while (take(','));
    expect(']');
  }

  std::uint32_t parse_hex4() {
    std::uint32_t unit = 0;
    for (int i = 0; i < 4; ++i, ++at_) {
      const char c = at_ < text_.size() ? text_[at_] : '\0';
      if (c >= '0' && c <= '9') {
        unit = unit * 16 + static_cast<std::uint32_t>(c - '0');
      } else if ((c | 32) >= 'a' && (c | 32) <= 'f') {
        unit = unit * 16 + static_cast<std::uint32_t>((c | 32) - 'a' + 10);
      } else {
        fail("an escape needs four hexadecimal digits");
      }
    }
    return unit;
  }

  void append_character(std::string& out) {
    std::uint32_t code = parse_hex4();
    if (code >= 0xd800 && code < 0xdc00) {
      if (!take('\\') || !take('u')) {
        fail("half of a surrogate pair");
      }
      const std::uint32_t low = parse_hex4();
      if (low < 0xdc00 || low > 0xdfff) {
        fail("half of a surrogate pair");
      }
      code = 0x10000 + ((code - 0xd800) << 10) + (low - 0xdc00);
    } else if (code >= 0xdc00 && code <= 0xdfff) {
      fail("half of a surrogate pair");
    }
    const auto continued = [&](unsigned shift) {
      out += static_cast<char>(0x80 | (code >> shift & 0x3f));
    };
    if (code < 0x80) {
      out += static_cast<char>(code);
    } else if (code < 0x800) {
      out += static_cast<char>(0xc0 | code >> 6);
      continued(0);
    } else if (code < 0x10000) {
      out += static_cast<char>(0xe0 | code >> 12);
      continued(6);
      continued(0);
    } else {
      out += static_cast<char>(0xf0 | code >> 18);
      continued(12);
      continued(6);
      continued(0);
    }
  }

  std::string parse_string() {
    expect('"');
    std::string out;
    for (;;) {
      if (at_ == text_.size()) {
        fail("a string does not end");
      }
      const char c = text_[at_++];
      if (c == '"') {
        return out;
      }
      if (static_cast<unsigned char>(c) < 0x20) {
        fail("a control character in a string");
      }
      if (c != '\\') {
        out += c;
        continue;
      }
      const char escape = at_ < text_.size() ? text_[at_++] : '\0';
      constexpr std::string_view kEscapes = "\"\\/bfnrt";
      constexpr std::string_view kMeanings = "\"\\/\b\f\n\r\t";
      if (escape == 'u') {
        append_character(out);
      } else if (const auto index = kEscapes.find(escape); index != std::string_view::npos) {
        out += kMeanings[index];
      } else {
        fail("an escape that does not exist");
      }
    }
  }

  std::size_t take_digits() {
    const std::size_t first = at_;
    while (at_ < text_.size() && text_[at_] >= '0' && text_[at_] <= '9') {
      ++at_;
    }
    return at_ - first;
  }

  std::string parse_number() {
    const std::size_t first = at_;
    take('-');
    const std::size_t digits_at = at_;
    const std::size_t digits = take_digits();
    if (digits == 0 || (digits > 1 && text_[digits_at] == '0')) {
      fail("no value begins so");
    }
    if (take('.') && take_digits() == 0) {
      fail("a number has no digits behind its point");
    }
    if (take('e') || take('E')) {
      if (!take('+')) {
        take('-');
      }
      if (take_digits() == 0) {
        fail("a number has no exponent");
      }
    }
    return std::string(text_.substr(first, at_ - first));
  }

  std::string_view text_;
  std::size_t at_ = 0;
};

} // namespace

JsonValue parse_json(std::string_view text) {
  return Parser(text).run();
}

} // namespace rrpcp
