// A JSON document as one string, without white space.
#pragma once

#include "rrpcp/message_json.h"

#include <string>
#include <string_view>

namespace rrpcp {

class JsonText : public JsonSink {
public:
  void begin_object() override;
  void end_object() override;
  void begin_array() override;
  void end_array() override;
  void key(std::string_view name) override;
  void string(std::string_view text) override;
  void bytes_as_text(std::string_view bytes) override;
  void scalar(std::string_view text) override;

  std::string take() { return std::move(text_); }

private:
  void before_value();
  void quote(std::string_view text);

  std::string text_;
};

} // namespace rrpcp
