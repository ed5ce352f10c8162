// JSON written piece by piece, for documents that are too large to hold.
#pragma once

#include "common/console.h"
#include "common/json.h"
#include "rrpcp/message_json.h"

#include <string_view>
#include <vector>

namespace rrpcp::tools {

// Writes one document, formatted exactly as json_text() formats the same values. Calls must nest as
// JSON does: in an object every value follows a key().
class JsonWriter : public JsonSink {
public:
  explicit JsonWriter(Console& console) : console_(console) {}

  void begin_object() override { open('{', false); }
  void end_object() override { close('}'); }
  void begin_array() override { open('[', true); }
  void end_array() override { close(']'); }
  void key(std::string_view name) override;
  void string(std::string_view text) override;
  // As json_bytes_as_text().
  void bytes_as_text(std::string_view bytes) override;
  void scalar(std::string_view text) override;
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

  Console& console_;
  std::vector<Level> levels_;
};

} // namespace rrpcp::tools
