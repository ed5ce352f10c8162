#include "base/file.h"
#include "legacy/legacy_message.h"
#include "rrpcp/compat.h"
#include "rrpcp/store.h"
#include "store/atomic_file.h"

#include <algorithm>
#include <capnp/message.h>
#include <fcntl.h>
#include <filesystem>
#include <optional>
#include <sys/stat.h>
#include <unistd.h>

namespace rrpcp {

namespace {

using namespace compat;

// The intact checkpoint `id` at `path`, or nothing.
std::optional<CheckpointReader> intact(const std::string& path, const CheckpointId& id,
                                       const std::function<void(const CheckpointReader&)>& verify) {
  try {
    CheckpointReader reader = CheckpointReader::open(path);
    if (reader.id() != id) {
      return std::nullopt;
    }
    verify(reader);
    return reader;
  } catch (const Error&) {
    return std::nullopt;
  }
}

// Writes a file, verifies it while it has no name, and gives it its name.
PublishedImport publish_verified(const std::string& directory, std::int64_t event,
                                 const std::function<CheckpointId(Output&)>& write,
                                 const std::function<void(const CheckpointReader&)>& verify) {
  std::error_code error;
  std::filesystem::create_directories(directory, error);
  if (error) {
    throw system_error(error.value(), "cannot make the directory").in_file(directory);
  }
  PublishedImport result;
  const std::string temporary = join_path(directory, "(new checkpoint)");
  PendingFile file(directory);
  Output output(file.fd(), temporary);
  result.id = write(output);
  result.bytes = output.offset();
  file.sync();
  {
    ScopedFd again(::fcntl(file.fd(), F_DUPFD_CLOEXEC, 0));
    if (!again) {
      throw system_error(errno, "cannot read back").in_file(temporary);
    }
    verify(CheckpointReader::open_fd(again.release(), temporary));
  }
  const std::string name = Store::file_name(event, result.id);
  result.path = join_path(directory, name);
  if (file.publish_new(name)) {
    return result;
  }
  if (const auto existing = intact(result.path, result.id, verify)) {
    result.existed = true;
    result.bytes = existing->file_size();
    return result;
  }
  file.publish_replacing(name);
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
  PublishedImport result = publish_verified(
      directory, legacy.event(),
      [&](Output& output) {
        ImportResult imported = import_checkpoint(legacy, output, halved);
        findings = std::move(imported.findings);
        return imported.id;
      },
      [&](const CheckpointReader& reader) { verify_import(legacy, reader, second); });
  result.findings = std::move(findings);
  return result;
}

PublishedImport publish_rewrite(const CheckpointReader& checkpoint, const std::string& directory,
                                const WriterOptions& options) {
  if ((checkpoint.header().read_only_compatible & ~format::kKnownReadOnlyCompat) != 0) {
    throw Error(ErrorCode::kUnsupportedFeature,
                "the checkpoint uses a feature that this release may read but not rewrite")
        .in_file(checkpoint.name())
        .with_hint("use a newer release");
  }
  return publish_verified(
      directory, checkpoint.header().event,
      [&](Output& output) {
        capnp::MallocMessageBuilder message;
        message.setRoot(checkpoint.manifest());
        auto manifest = message.getRoot<schema::Manifest>();
        HeaderFields fields = header_fields(checkpoint.state());
        fields.compatible = checkpoint.header().compatible;
        CheckpointWriter writer(output, fields, options);
        checkpoint.read_stream(
            0, checkpoint.footer().page_count,
            [&](std::span<const std::byte> pages) { writer.append_stream(pages); });
        return writer.finish(manifest.getState(), manifest.getProvenance().asReader());
      },
      [&](const CheckpointReader& reader) {
        // The id is a digest of everything that is stored; the pages are checked by reading them.
        if (reader.id() != checkpoint.id()) {
          throw Error(ErrorCode::kInternal, "the rewritten checkpoint has another id")
              .in_file(checkpoint.name());
        }
        reader.read_stream(0, reader.footer().page_count, [](std::span<const std::byte>) {});
      });
}

} // namespace rrpcp
