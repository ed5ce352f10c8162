// JSON written piece by piece, for documents that are too large to hold.
#pragma once

#include "common/console.h"

#include <concepts>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace rrpcp::tools {

// Writes one document, formatted exactly as json_text() formats the same values. Calls must nest as
// JSON does: in an object every value follows a key().
class JsonWriter {
public:
  explicit JsonWriter(Console& console) : console_(console) {}

  void begin_object() { open('{', false); }
  void end_object() { close('}'); }
  void begin_array() { open('[', true); }
  void end_array() { close(']'); }
  void key(std::string_view name);

  void null() { scalar("null"); }
  void boolean(bool value) { scalar(value ? "true" : "false"); }
  // The type decides whether a string is written (64 bits) or a number.
  template <std::integral T> void number(T value) {
    if constexpr (sizeof(T) == 8) {
      string(std::to_string(value));
    } else {
      scalar(std::to_string(value));
    }
  }
  // `text` must be UTF-8.
  void string(std::string_view text);
  // As json_bytes_as_text().
  void bytes_as_text(std::string_view bytes);
  // Any value that was put together in memory.
  void value(const Json& value);

  // Ends the document with a newline.
  void finish();

private:
  struct Level {
    bool array;
    bool empty = true;
  };

  void before_value();
  void new_line();
  void open(char bracket, bool array);
  void close(char bracket);
  void scalar(std::string_view text);

  Console& console_;
  std::vector<Level> levels_;
};

} // namespace rrpcp::tools
