#include "common/json.h"

#include "common/text.h"

namespace rrpcp::tools {

std::string hex(std::span<const std::uint8_t> bytes) {
  static constexpr char kDigits[] = "0123456789abcdef";
  std::string text;
  text.reserve(bytes.size() * 2);
  for (const std::uint8_t byte : bytes) {
    text += kDigits[byte >> 4];
    text += kDigits[byte & 15];
  }
  return text;
}

std::string hex(std::span<const std::byte> bytes) {
  return hex(std::span(reinterpret_cast<const std::uint8_t*>(bytes.data()), bytes.size()));
}

Json json_bytes_as_text(std::string_view bytes) {
  if (is_utf8(bytes)) {
    return std::string(bytes);
  }
  return Json{{"bytes", hex(std::as_bytes(std::span(bytes)))}};
}

Json json_error(const Error& error) {
  Json fields;
  fields["code"] = std::string(error_code_name(error.code()));
  fields["message"] = json_bytes_as_text(error.message());
  fields["file"] = error.file().empty() ? Json() : json_bytes_as_text(error.file());
  fields["offset"] = error.offset() ? Json(*error.offset()) : Json();
  fields["hint"] = error.hint().empty() ? Json() : json_bytes_as_text(error.hint());
  if (error.errno_value() != 0) {
    fields["errno"] = error.errno_value();
  }
  if (!error.diagnostic().empty()) {
    fields["diagnostic"] = error.diagnostic();
  }
  return Json{{"error", std::move(fields)}};
}

std::string json_text(const Json& document) {
  return document.dump(2, ' ', false, Json::error_handler_t::replace);
}

} // namespace rrpcp::tools
