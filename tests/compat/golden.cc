#include "compat/golden.h"

#include "rrpcp/store.h"

#include <algorithm>
#include <capnp/message.h>
#include <cstdlib>
#include <filesystem>
#include <stdexcept>

namespace rrpcp::test {

namespace fs = std::filesystem;

Golden::Golden(const std::string& name) : base_(fs::path(name).filename().string()) {
  std::string command = ZSTD_PROGRAM " -q -d --long=27 -c '" GOLDEN_DIRECTORY "/";
  command += name + ".tar.zst' | tar -x -C '" + directory_.path() + "'";
  if (std::system(command.c_str()) != 0) {
    throw std::runtime_error("cannot unpack " + name);
  }
}

void write_packed(const std::string& path, capnp::MessageBuilder& message,
                  const std::string& before) {
  kj::VectorOutputStream packed;
  packed.write(before.data(), before.size());
  capnp::writePackedMessage(packed, message);
  write_file(path, std::as_bytes(std::span(packed.getArray().begin(), packed.getArray().size())));
}

void remove_checkpoints(const std::string& trace) {
  for (const fs::directory_entry& entry : fs::directory_iterator(trace)) {
    if (entry.path().filename().string().starts_with("checkpoint")) {
      fs::remove_all(entry.path());
    }
  }
}

CheckpointReader import_to(const LegacyCheckpoint& legacy, const std::string& path) {
  ImportOptions options;
  options.reproducible = true;
  options.writer.profile = Profile::kFast;
  write_file_atomically(path, true,
                        [&](Output& output) { import_checkpoint(legacy, output, options); });
  return CheckpointReader::open(path);
}

CheckpointReader rewrite(const CheckpointReader& checkpoint, const std::string& path,
                         const std::function<void(schema::State::Builder)>& change) {
  capnp::MallocMessageBuilder message;
  message.setRoot(checkpoint.manifest());
  auto manifest = message.getRoot<schema::Manifest>();
  change(manifest.getState());
  write_file_atomically(path, true, [&](Output& output) {
    CheckpointWriter writer(output, header_fields(manifest.getState().asReader()));
    checkpoint.read_stream(0, checkpoint.footer().page_count,
                           [&](std::span<const std::byte> pages) { writer.append_stream(pages); });
    writer.finish(manifest.getState(), manifest.getProvenance().asReader());
  });
  return CheckpointReader::open(path);
}

bool has_code(const std::vector<Finding>& findings, std::string_view code) {
  return std::any_of(findings.begin(), findings.end(),
                     [&](const Finding& finding) { return finding.code == code; });
}

const LegacyEntry& entry_at(const LegacyTrace& trace, std::int64_t event) {
  for (const LegacyEntry& entry : trace.entries()) {
    if (entry.event == event) {
      return entry;
    }
  }
  throw std::runtime_error("no checkpoint at event " + std::to_string(event));
}

} // namespace rrpcp::test
