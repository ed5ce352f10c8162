#include "document/json_text.h"

#include "base/hex.h"
#include "model/utf8.h"

namespace rrpcp {

// A comma is due where a value was written before in the same object or array.
void JsonText::before_value() {
  if (!text_.empty() && text_.back() != '{' && text_.back() != '[' && text_.back() != ':') {
    text_ += ',';
  }
}

void JsonText::begin_object() {
  before_value();
  text_ += '{';
}

void JsonText::end_object() {
  text_ += '}';
}

void JsonText::begin_array() {
  before_value();
  text_ += '[';
}

void JsonText::end_array() {
  text_ += ']';
}

void JsonText::key(std::string_view name) {
  before_value();
  quote(name);
  text_ += ':';
}

void JsonText::string(std::string_view text) {
  before_value();
  quote(text);
}

void JsonText::bytes_as_text(std::string_view bytes) {
  if (is_utf8(bytes)) {
    string(bytes);
    return;
  }
  begin_object();
  key("bytes");
  string(to_hex(bytes));
  end_object();
}

void JsonText::scalar(std::string_view text) {
  before_value();
  text_ += text;
}

void JsonText::quote(std::string_view text) {
  text_ += '"';
  for (const char c : text) {
    switch (c) {
    case '"':
      text_ += "\\\"";
      break;
    case '\\':
      text_ += "\\\\";
      break;
    case '\b':
      text_ += "\\b";
      break;
    case '\f':
      text_ += "\\f";
      break;
    case '\n':
      text_ += "\\n";
      break;
    case '\r':
      text_ += "\\r";
      break;
    case '\t':
      text_ += "\\t";
      break;
    default:
      if (static_cast<unsigned char>(c) < 0x20) {
        text_ += "\\u00" + hex_byte(static_cast<unsigned char>(c));
      } else {
        text_ += c;
      }
    }
  }
  text_ += '"';
}

} // namespace rrpcp
