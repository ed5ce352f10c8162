#include "bundle/archive_reader.h"

#include "base/open_file.h"
#include "base/sha256.h"

#include <algorithm>
#include <archive.h>
#include <archive_entry.h>
#include <cerrno>
#include <fcntl.h>
#include <sys/stat.h>

namespace rrpcp {

namespace {

constexpr std::size_t kReadBlock = 256 << 10;

} // namespace

void ArchiveReader::Close::operator()(::archive* archive) const {
  ::archive_read_free(archive);
}

ArchiveReader::ArchiveReader(const std::string& path, const BundleLimits& limits)
    : name_(path), limits_(limits), archive_(::archive_read_new()) {
  struct stat status;
  if (::stat(path.c_str(), &status) != 0) {
    throw system_error(errno, "cannot open").in_file(path);
  }
  if (!S_ISREG(status.st_mode)) {
    throw Error(ErrorCode::kInvalidArgument, "a bundle is a regular file").in_file(path);
  }
  report_.archive_bytes = static_cast<std::uint64_t>(status.st_size);
  ::archive_read_support_filter_zstd(archive_.get());
  ::archive_read_support_format_tar(archive_.get());
  if (::archive_read_open_filename(archive_.get(), path.c_str(), kReadBlock) != ARCHIVE_OK) {
    throw Error(ErrorCode::kNotACheckpoint, "this is no bundle").in_file(path);
  }
  open_manifest();
}

ArchiveReader::ArchiveReader(std::span<const std::byte> bytes, const std::string& name,
                             const BundleLimits& limits)
    : name_(name), limits_(limits), archive_(::archive_read_new()) {
  report_.archive_bytes = bytes.size();
  ::archive_read_support_filter_zstd(archive_.get());
  ::archive_read_support_format_tar(archive_.get());
  if (::archive_read_open_memory(archive_.get(), bytes.data(), bytes.size()) != ARCHIVE_OK) {
    throw Error(ErrorCode::kNotACheckpoint, "this is no bundle").in_file(name);
  }
  open_manifest();
}

ArchiveReader::~ArchiveReader() = default;

Error ArchiveReader::failure(const std::string& what) const {
  const char* text = ::archive_error_string(archive_.get());
  return Error(ErrorCode::kDamaged, what + (text != nullptr ? std::string(": ") + text : ""))
      .in_file(name_);
}

void ArchiveReader::open_manifest() {
  archive_entry* entry = nullptr;
  if (::archive_read_next_header(archive_.get(), &entry) != ARCHIVE_OK) {
    throw Error(ErrorCode::kNotACheckpoint, "this is no bundle").in_file(name_);
  }
  // One layer of compression: more of them would multiply what a byte can become.
  if (::archive_filter_count(archive_.get()) > 2) {
    throw Error(ErrorCode::kNotACheckpoint, "this is compressed more than once, and no bundle")
        .in_file(name_);
  }
  const char* name = ::archive_entry_pathname(entry);
  if (name == nullptr || std::string_view(name) != kBundleManifestName ||
      ::archive_entry_filetype(entry) != AE_IFREG || ::archive_entry_size_is_set(entry) == 0) {
    throw Error(ErrorCode::kNotACheckpoint, "this is an archive, but no bundle").in_file(name_);
  }
  const auto size = static_cast<std::uint64_t>(::archive_entry_size(entry));
  if (size > limits_.max_manifest_bytes) {
    throw Error(ErrorCode::kLimit, "the manifest has " + std::to_string(size) + " bytes")
        .in_file(name_);
  }
  std::string text;
  content(size, [&](std::span<const std::byte> bytes) {
    text.append(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  });
  const std::uint64_t archive_bytes = report_.archive_bytes;
  report_ = read_bundle_manifest(text, name_, limits_);
  report_.archive_bytes = archive_bytes;
  const std::uint64_t most =
      limits_.max_bytes != 0
          ? limits_.max_bytes
          : std::max(std::uint64_t{16} << 30, 256 * std::min(archive_bytes, UINT64_MAX / 256));
  if (report_.bytes > most) {
    throw Error(ErrorCode::kLimit, "the bundle would become " + std::to_string(report_.bytes) +
                                       " bytes, more than the " + std::to_string(most) +
                                       " that are allowed")
        .in_file(name_)
        .with_hint("allow more with --max-size, if you trust who made it");
  }
}

void ArchiveReader::content(std::uint64_t size, const Sink& sink) {
  std::vector<std::byte> block(
      std::min<std::uint64_t>(std::max<std::uint64_t>(size, 1), kReadBlock));
  std::uint64_t done = 0;
  while (true) {
    const la_ssize_t n = ::archive_read_data(archive_.get(), block.data(), block.size());
    if (n < 0) {
      throw failure("the archive cannot be read");
    }
    if (n == 0) {
      break;
    }
    done += static_cast<std::uint64_t>(n);
    if (done > size) {
      break;
    }
    if (sink) {
      sink(std::span(block).first(static_cast<std::size_t>(n)));
    }
  }
  if (done != size) {
    throw Error(ErrorCode::kDamaged, "an entry is not as long as the manifest says").in_file(name_);
  }
}

void ArchiveReader::read(const std::function<Sink(const BundleEntry&)>& begin,
                         const std::function<void(const BundleEntry&)>& end) {
  for (const BundleEntry& entry : report_.entries) {
    archive_entry* header = nullptr;
    if (::archive_read_next_header(archive_.get(), &header) != ARCHIVE_OK) {
      throw failure("the archive ends before " + entry.name);
    }
    const char* name = ::archive_entry_pathname(header);
    std::string_view found = name != nullptr ? name : "";
    const bool directory = entry.kind == BundleKind::kDirectory;
    if (directory && found.ends_with('/')) {
      found.remove_suffix(1);
    }
    if (found != entry.name) {
      throw Error(ErrorCode::kDamaged, "the archive has something else than its manifest says")
          .in_file(name_);
    }
    if (::archive_entry_filetype(header) != (directory ? AE_IFDIR : AE_IFREG) ||
        ::archive_entry_hardlink(header) != nullptr || ::archive_entry_symlink(header) != nullptr) {
      throw Error(ErrorCode::kDamaged, "the entry " + entry.name +
                                           " is a link, a device or the like: no bundle has such")
          .in_file(name_);
    }
    const Sink sink = begin(entry);
    Sha256Stream digest;
    content(entry.size, [&](std::span<const std::byte> bytes) {
      digest.update(bytes);
      if (sink) {
        sink(bytes);
      }
    });
    if (digest.digest() != entry.sha256) {
      throw Error(ErrorCode::kDamaged,
                  "the entry " + entry.name + " is damaged: its digest differs")
          .in_file(name_);
    }
    if (end) {
      end(entry);
    }
  }
  archive_entry* header = nullptr;
  if (const int result = ::archive_read_next_header(archive_.get(), &header);
      result != ARCHIVE_EOF) {
    throw Error(ErrorCode::kDamaged, "the archive has more than its manifest says").in_file(name_);
  }
}

} // namespace rrpcp
