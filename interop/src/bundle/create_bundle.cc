// Making a bundle.

#include "base/open_file.h"
#include "base/sha256.h"
#include "bundle/bundle_manifest.h"
#include "bundle/needed_files.h"
#include "container/kj_errors.h"
#include "rrpcp/reader.h"
#include "rrpcp/store.h"

#include <algorithm>
#include <archive.h>
#include <archive_entry.h>
#include <cerrno>
#include <fcntl.h>
#include <filesystem>
#include <memory>
#include <set>
#include <sys/stat.h>
#include <unistd.h>

namespace rrpcp {

namespace {

namespace fs = std::filesystem;

constexpr std::size_t kCopiedBlock = 256 << 10;

struct MemberSource {
  BundleEntry entry;
  std::string path; // to be read; empty: a directory
};

// Calls `sink` with the file's bytes. Throws Error.
std::uint64_t read_file(const std::string& path,
                        const std::function<void(std::span<const std::byte>)>& sink) {
  const ScopedFd fd = open_file(path.c_str(), O_RDONLY);
  struct stat status;
  if (!fd || ::fstat(fd.get(), &status) != 0) {
    throw system_error(errno, "cannot open").in_file(path);
  }
  if (!S_ISREG(status.st_mode)) {
    throw Error(ErrorCode::kInvalidArgument, "this is no regular file").in_file(path);
  }
  std::vector<std::byte> block(kCopiedBlock);
  std::uint64_t total = 0;
  while (true) {
    const ssize_t n = ::read(fd.get(), block.data(), block.size());
    if (n < 0 && errno == EINTR) {
      continue;
    }
    if (n < 0) {
      throw system_error(errno, "cannot read").in_file(path);
    }
    if (n == 0) {
      return total;
    }
    total += static_cast<std::uint64_t>(n);
    sink(std::span(block).first(static_cast<std::size_t>(n)));
  }
}

class ArchiveWriter {
public:
  ArchiveWriter(Output& output, const std::string& path)
      : output_(output), path_(path), archive_(::archive_write_new()) {
    ::archive_write_set_format_pax_restricted(archive_.get());
    ::archive_write_add_filter_zstd(archive_.get());
    ::archive_write_set_bytes_in_last_block(archive_.get(), 1); // nothing behind the zstd frame
    check(::archive_write_open2(archive_.get(), this, nullptr, write_callback, nullptr, nullptr));
  }

  void begin(const BundleEntry& entry) {
    const std::unique_ptr<archive_entry, void (*)(archive_entry*)> header(::archive_entry_new(),
                                                                          ::archive_entry_free);
    const bool directory = entry.kind == BundleKind::kDirectory;
    ::archive_entry_set_pathname(header.get(), entry.name.c_str());
    ::archive_entry_set_filetype(header.get(), directory ? AE_IFDIR : AE_IFREG);
    ::archive_entry_set_perm(header.get(), entry.mode);
    ::archive_entry_set_size(header.get(), static_cast<la_int64_t>(entry.size));
    ::archive_entry_set_mtime(header.get(), entry.modified / kSecond, entry.modified % kSecond);
    check(::archive_write_header(archive_.get(), header.get()));
  }

  void data(std::span<const std::byte> bytes) {
    if (::archive_write_data(archive_.get(), bytes.data(), bytes.size()) !=
        static_cast<la_ssize_t>(bytes.size())) {
      check(ARCHIVE_FATAL);
    }
  }

  void close() { check(::archive_write_close(archive_.get())); }

private:
  struct Free {
    void operator()(::archive* archive) const { ::archive_write_free(archive); }
  };

  // An exception must not pass through libarchive.
  static la_ssize_t write_callback(::archive* archive, void* self, const void* bytes,
                                   std::size_t size) {
    auto& writer = *static_cast<ArchiveWriter*>(self);
    try {
      writer.output_.write({static_cast<const std::byte*>(bytes), size});
      return static_cast<la_ssize_t>(size);
    } catch (const Error& error) {
      writer.error_ = std::make_unique<Error>(error);
      ::archive_set_error(archive, EIO, "%s", error.what());
      return -1;
    }
  }

  void check(int result) {
    if (result == ARCHIVE_OK) {
      return;
    }
    if (error_ != nullptr) {
      throw *error_;
    }
    const char* text = ::archive_error_string(archive_.get());
    throw Error(ErrorCode::kSystem,
                std::string("cannot write the archive: ") + (text != nullptr ? text : "unknown"))
        .in_file(path_);
  }

  Output& output_;
  const std::string& path_;
  std::unique_ptr<Error> error_;
  std::unique_ptr<::archive, Free> archive_;
};

class Bundler {
public:
  Bundler(const std::vector<std::string>& checkpoints, const BundleCreateOptions& options)
      : checkpoints_(checkpoints), options_(options) {}

  BundleReport write(const std::string& path) {
    collect();
    digest();
    write_file_atomically(path, true, [&](Output& output) { pack(output, path); });
    struct stat status;
    report_.archive_bytes =
        ::stat(path.c_str(), &status) == 0 ? static_cast<std::uint64_t>(status.st_size) : 0;
    return std::move(report_);
  }

private:
  void add(BundleKind kind, const std::string& name, const std::string& source) {
    MemberSource out;
    out.entry.kind = kind;
    out.entry.name = name;
    out.path = source;
    struct stat status;
    if (::stat(source.c_str(), &status) == 0) {
      out.entry.mode = status.st_mode & 0777;
      out.entry.modified = status.st_mtim.tv_sec * kSecond + status.st_mtim.tv_nsec;
    } else {
      out.entry.mode = 0755;
    }
    if (kind == BundleKind::kDirectory) {
      out.path.clear();
    }
    sources_.push_back(std::move(out));
  }

  void collect() {
    NeededFiles needed;
    std::set<std::string> names;
    BackingFiles files;
    files.trace_directory = options_.trace_directory;
    for (const std::string& checkpoint : checkpoints_) {
      const CheckpointReader reader = CheckpointReader::open(checkpoint);
      std::string name = fs::path(checkpoint).filename().string();
      for (int i = 2; !names.insert(name).second; ++i) {
        name = std::to_string(i) + "-" + fs::path(checkpoint).filename().string();
      }
      add(BundleKind::kCheckpoint, bundle_name("checkpoints", name), checkpoint);
      add_bases(reader, names);
      with_kj_errors(checkpoint, [&] {
        add_needed_files(reader.state(), files, options_.allow_missing, needed);
        if (reader.state().hasTrace()) {
          bind(reader);
        }
      });
    }
    for (const auto& [path, source] : needed.directories) {
      if (!needed.files.contains(path)) {
        add(BundleKind::kDirectory, bundle_name("root", path), source);
      }
    }
    for (const auto& [path, file] : needed.files) {
      add(BundleKind::kFile, bundle_name("root", path), file.source);
    }
    if (options_.debug_files) {
      for (const auto& [path, file] : needed.files) {
        add_debug(file.build_id);
      }
    }
    if (!options_.trace_directory.empty()) {
      add_trace();
    }
    report_.remarks.insert(report_.remarks.end(), needed.remarks.begin(), needed.remarks.end());
  }

  // What a checkpoint takes over pages of lies beside it, in the bundle too.
  void add_bases(const CheckpointReader& reader, std::set<std::string>& names) {
    for (std::size_t i = 0; i < reader.base_count(); ++i) {
      const std::string& path = reader.base(i).name();
      const std::string name = fs::path(path).filename().string();
      const bool listed =
          std::any_of(checkpoints_.begin(), checkpoints_.end(), [&](const std::string& other) {
            std::error_code error;
            return fs::equivalent(path, other, error);
          });
      if (!listed && names.insert(name).second) {
        add(BundleKind::kCheckpoint, bundle_name("checkpoints", name), path);
      }
    }
  }

  void bind(const CheckpointReader& reader) {
    const std::string uuid = reader.header().trace_uuid.to_string();
    if (options_.trace_directory.empty()) {
      report_.remarks.push_back("the trace " + uuid +
                                " is not in the bundle: nothing can be replayed from it");
    }
    trace_ = uuid;
  }

  void add_debug(const std::string& build_id) {
    if (build_id.size() < 4) {
      return;
    }
    const std::string path =
        "/usr/lib/debug/.build-id/" + build_id.substr(0, 2) + "/" + build_id.substr(2) + ".debug";
    std::error_code error;
    if (fs::is_regular_file(path, error)) {
      add(BundleKind::kDebug, bundle_name("root", path), path);
    }
  }

  void add_trace() {
    const std::string folder = "traces/" + (trace_.empty() ? std::string("trace") : trace_);
    std::vector<std::string> files;
    for (const fs::directory_entry& entry :
         fs::recursive_directory_iterator(options_.trace_directory)) {
      const std::string relative =
          entry.path().lexically_relative(options_.trace_directory).string();
      if (entry.is_regular_file() && !entry.path().filename().string().ends_with(".pcp")) {
        files.push_back(relative);
      } else if (!entry.is_directory() && !entry.is_regular_file()) {
        report_.remarks.push_back("not in the bundle: " + relative + " of the trace");
      }
    }
    std::sort(files.begin(), files.end());
    for (const std::string& file : files) {
      add(BundleKind::kTrace, bundle_name(folder, file), options_.trace_directory + "/" + file);
    }
  }

  // The manifest comes first in the archive, so everything is read twice.
  void digest() {
    for (MemberSource& source : sources_) {
      Sha256Stream hash;
      if (!source.path.empty()) {
        source.entry.size =
            read_file(source.path, [&](std::span<const std::byte> bytes) { hash.update(bytes); });
      }
      source.entry.sha256 = hash.digest();
      report_.bytes += source.entry.size;
      report_.entries.push_back(source.entry);
    }
  }

  void pack(Output& output, const std::string& path) {
    ArchiveWriter archive(output, path);
    const std::string manifest = write_bundle_manifest(report_);
    BundleEntry first;
    first.name = kBundleManifestName;
    first.size = manifest.size();
    first.mode = 0644;
    archive.begin(first);
    archive.data(std::as_bytes(std::span(manifest)));
    std::uint64_t done = 0;
    for (const MemberSource& source : sources_) {
      archive.begin(source.entry);
      if (source.path.empty()) {
        continue;
      }
      Sha256Stream hash;
      std::uint64_t left = source.entry.size;
      read_file(source.path, [&](std::span<const std::byte> bytes) {
        hash.update(bytes);
        if (bytes.size() > left) {
          throw changed(source.path);
        }
        left -= bytes.size();
        archive.data(bytes);
        done += bytes.size();
        if (options_.progress) {
          options_.progress(done, report_.bytes);
        }
      });
      if (left != 0 || hash.digest() != source.entry.sha256) {
        throw changed(source.path);
      }
    }
    archive.close();
  }

  static Error changed(const std::string& path) {
    return Error(ErrorCode::kBackingFile, "the file changed while it was put into the bundle")
        .in_file(path);
  }

  const std::vector<std::string>& checkpoints_;
  const BundleCreateOptions& options_;
  std::vector<MemberSource> sources_;
  std::string trace_;
  BundleReport report_;
};

} // namespace

BundleReport create_bundle(const std::vector<std::string>& checkpoints, const std::string& output,
                           const BundleCreateOptions& options) {
  try {
    return Bundler(checkpoints, options).write(output);
  } catch (const fs::filesystem_error& error) {
    throw system_error(error.code().value(), "cannot read the trace").in_file(error.path1());
  }
}

} // namespace rrpcp
