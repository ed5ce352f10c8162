#include "common/json_writer.h"

#include <string>

namespace rrpcp::tools {

void JsonWriter::new_line() {
  console_.write("\n");
  console_.write(std::string(levels_.size() * 2, ' '));
}

void JsonWriter::before_value() {
  if (levels_.empty() || !levels_.back().array) {
    return;
  }
  if (!levels_.back().empty) {
    console_.write(",");
  }
  levels_.back().empty = false;
  new_line();
}

void JsonWriter::key(std::string_view name) {
  if (!levels_.back().empty) {
    console_.write(",");
  }
  levels_.back().empty = false;
  new_line();
  console_.write(Json(std::string(name)).dump());
  console_.write(": ");
}

void JsonWriter::open(char bracket, bool array) {
  before_value();
  console_.write(std::string_view(&bracket, 1));
  levels_.push_back({array});
}

void JsonWriter::close(char bracket) {
  const bool empty = levels_.back().empty;
  levels_.pop_back();
  if (!empty) {
    new_line();
  }
  console_.write(std::string_view(&bracket, 1));
}

void JsonWriter::scalar(std::string_view text) {
  before_value();
  console_.write(text);
}

void JsonWriter::string(std::string_view text) {
  scalar(Json(std::string(text)).dump());
}

void JsonWriter::bytes_as_text(std::string_view bytes) {
  value(json_bytes_as_text(bytes));
}

void JsonWriter::value(const Json& value) {
  before_value();
  // Lines of the value's own text are indented by where it stands.
  const std::string text = json_text(value);
  const std::string indent(levels_.size() * 2, ' ');
  std::size_t start = 0;
  for (std::size_t end = text.find('\n'); end != std::string::npos; end = text.find('\n', start)) {
    console_.write(std::string_view(text).substr(start, end + 1 - start));
    console_.write(indent);
    start = end + 1;
  }
  console_.write(std::string_view(text).substr(start));
}

void JsonWriter::finish() {
  console_.write("\n");
}

} // namespace rrpcp::tools
