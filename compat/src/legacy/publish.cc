#include "legacy/legacy_message.h"
#include "rrpcp/compat/legacy.h"
#include "rrpcp/error.h"
#include "rrpcp/rewrite.h"
#include "rrpcp/store.h"

#include <utility>

namespace rrpcp {

namespace {

using namespace compat;

PublishedImport to_import(PublishedCheckpoint published) {
  PublishedImport result;
  result.path = std::move(published.path);
  result.id = published.id;
  result.bytes = published.bytes;
  result.existed = published.existed;
  return result;
}

} // namespace

PublishedImport publish_import(const LegacyCheckpoint& legacy, const std::string& directory,
                               const ImportOptions& options) {
  // Writing is the first half of the work, reading back the second.
  ImportOptions halved = options;
  std::function<void(std::uint64_t, std::uint64_t)> second;
  if (options.progress) {
    halved.progress = [&](std::uint64_t done, std::uint64_t total) {
      options.progress(done / 2, total);
    };
    second = [&](std::uint64_t done, std::uint64_t total) {
      options.progress(total / 2 + done / 2, total);
    };
  }
  std::vector<Finding> findings;
  PublishedImport result = to_import(publish_checkpoint(
      directory, legacy.event(),
      [&](Output& output) {
        ImportResult imported = import_checkpoint(legacy, output, halved);
        findings = std::move(imported.findings);
        return imported.id;
      },
      [&](const CheckpointReader& reader) { verify_import(legacy, reader, second); }));
  result.findings = std::move(findings);
  return result;
}

PublishedImport publish_rewrite(const CheckpointReader& checkpoint, const std::string& directory,
                                const WriterOptions& options) {
  return to_import(publish_checkpoint(
      directory, checkpoint.header().event,
      [&](Output& output) { return rewrite_checkpoint(checkpoint, output, options); },
      [&](const CheckpointReader& reader) {
        // The id is a digest of everything that is stored; the pages are checked by reading them.
        if (reader.id() != checkpoint.id()) {
          throw Error(ErrorCode::kInternal, "the rewritten checkpoint has another id")
              .in_file(checkpoint.name());
        }
        reader.read_stream(0, reader.footer().page_count, [](std::span<const std::byte>) {});
      }));
}

} // namespace rrpcp
