#include "pcp-inspect/open.h"

#include "common/text.h"
#include "common/tool_main.h"

#include <optional>

namespace rrpcp::tools {

CheckpointReader open_checkpoint(const std::string& path) {
  return CheckpointReader::open(path);
}

void with_manifest(const CheckpointReader& reader, const std::function<void()>& read) {
  try {
    read();
  } catch (const kj::Exception& exception) {
    throw error_from(exception, reader.name());
  }
}

int show_checkpoints(Console& console, const std::vector<std::string>& files,
                     const std::function<Json(const CheckpointReader&)>& as_json,
                     const std::function<void(const CheckpointReader&)>& as_text) {
  const bool several = files.size() > 1;
  Json documents = Json::array();
  int code = kExitOk;
  for (const std::string& file : files) {
    try {
      const CheckpointReader reader = open_checkpoint(file);
      with_manifest(reader, [&] {
        if (console.json) {
          documents.push_back(as_json(reader));
          return;
        }
        if (several) {
          console.write((console.used() ? "\n==> " : "==> ") + printable(file) + " <==\n");
        }
        as_text(reader);
      });
    } catch (const Error& error) {
      if (!several) {
        throw;
      }
      code = kExitTrouble;
      if (console.json) {
        documents.push_back(json_error(error));
      }
      const bool json = std::exchange(console.json, false);
      report_error(console, error);
      console.json = json;
    }
  }
  if (console.json) {
    console.write_json(several ? documents : documents.at(0));
  }
  return code;
}

} // namespace rrpcp::tools
