#include "legacy/legacy_message.h"
#include "rrpcp/compat/legacy.h"
#include "rrpcp/error.h"
#include "rrpcp/rewrite.h"
#include "rrpcp/store.h"
#include "rrpcp/validate.h"

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

// Judges by all rules what was made of `origin`. What breaks one does not get a name: it was in the
// origin already, since nothing is made up on the way.
void judge(const CheckpointReader& made, const std::string& origin) {
  try {
    require_valid(made.fd(), made.name());
  } catch (const Error& error) {
    if (error.diagnostic().empty()) {
      throw;
    }
    throw Error(ErrorCode::kUnsupportedState,
                "this says something that no valid checkpoint can say [" + error.diagnostic() +
                    "]: " + error.message())
        .in_file(origin)
        .with_diagnostic(error.diagnostic())
        .with_hint("it is left as it is; `pcp-validate --explain " + error.diagnostic() +
                   "` says what the rule is for");
  }
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
      [&](const CheckpointReader& reader) {
        verify_import(legacy, reader, second);
        judge(reader, legacy.entry().path);
      }));
  result.findings = std::move(findings);
  return result;
}

PublishedImport publish_rewrite(const CheckpointReader& checkpoint, const std::string& directory,
                                const WriterOptions& options, std::optional<std::uint16_t> minor) {
  return to_import(publish_checkpoint(
      directory, checkpoint.header().event,
      [&](Output& output) {
        return minor ? rewrite_checkpoint(checkpoint, output, options, *minor)
                     : rewrite_checkpoint(checkpoint, output, options);
      },
      [&](const CheckpointReader& reader) {
        // The id is a digest of everything that is stored; the pages are checked with the rules.
        if (reader.id() != checkpoint.id()) {
          throw Error(ErrorCode::kInternal, "the rewritten checkpoint has another id")
              .in_file(checkpoint.name());
        }
        judge(reader, checkpoint.name());
      }));
}

} // namespace rrpcp
