#include "rrpcp/trace/trace_pack.h"

#include "base/bytes.h"
#include "base/hash.h"
#include "model/backing_file.h"
#include "rrpcp/store.h"
#include "rrpcp/trace/trace_directory.h"
#include "store/atomic_file.h"
#include "trace/file_store.h"
#include "trace/private_entries.h"
#include "trace/stream_header.h"
#include "trace/stream_writer.h"
#include "trace/trace_state.h"

#include <fcntl.h>
#include <filesystem>
#include <set>
#include <sys/stat.h>

namespace rrpcp {

using namespace trace_format;

namespace {

// What is about to be replaced must be a file of the trace, whatever its record says.
void require_own_file(const TraceReader& trace, schema::TraceFile::Reader file) {
  const capnp::Data::Reader path = file.getStored().getPath();
  const std::string text(path.asChars().begin(), path.size());
  const std::string folder = std::string(kFilesName) + "/";
  const std::string name = text.starts_with(folder) ? text.substr(folder.size()) : "";
  if (file.getStored().getPathBase() != schema::PathBase::TRACE || name.empty() || name == "." ||
      name == ".." || name.find('/') != std::string::npos) {
    throw Error(ErrorCode::kDamaged, "a kept file does not lie in the trace's folder of files")
        .in_file(trace.stream_name());
  }
}

// Replaces a further name of somebody's file by a copy.
bool copy_if_linked(const TraceReader& trace, schema::TraceFile::Reader file, PackReport& report) {
  BackingFiles files;
  files.trace_directory = trace.directory();
  const std::string path = resolve_path(file.getStored(), files);
  const ScopedFd original = open_identity(file.getStored(), files, O_RDONLY);
  struct stat status = {};
  if (::fstat(original.get(), &status) != 0) {
    throw system_error(errno, "cannot examine").in_file(path);
  }
  verify_identity(original.get(), path, file.getStored());
  if (status.st_nlink == 1) {
    return false;
  }
  const std::filesystem::path name(path);
  PendingFile copy(name.parent_path().string());
  trace::copy_file_contents(original.get(), copy.fd(), path);
  if (::fchmod(copy.fd(), 0400 | (status.st_mode & 0100)) != 0) {
    throw system_error(errno, "cannot set the mode").in_file(path);
  }
  verify_identity(copy.fd(), path, file.getStored());
  copy.sync();
  copy.publish_replacing(name.filename().string());
  ++report.copied_files;
  report.copied_bytes += static_cast<std::uint64_t>(status.st_size);
  return true;
}

// Removes what no record names.
void remove_litter(const TraceReader& trace, PackReport& report) {
  std::set<std::string> known;
  for (const schema::TraceFile::Reader file : trace.files()) {
    const capnp::Data::Reader path = file.getStored().getPath();
    known.insert(std::filesystem::path(std::string(path.asChars().begin(), path.size()))
                     .filename()
                     .string());
  }
  std::error_code error;
  const std::string folder = trace.directory() + "/" + std::string(kFilesName);
  for (std::filesystem::directory_iterator entry(folder, error), end; !error && entry != end;
       entry.increment(error)) {
    const std::string name = entry->path().filename().string();
    if (name.starts_with(trace::kTakingPrefix) && !known.contains(name)) {
      std::error_code ignored;
      report.removed_files += std::filesystem::remove(entry->path(), ignored) ? 1 : 0;
    }
  }
}

void recompress(const TraceState& state, Output& output, const PackOptions& options) {
  TraceHeader header = state.header;
  header.incompatible = (header.incompatible & ~kIncompatZstd) |
                        (options.profile == Profile::kRaw ? std::uint64_t{0} : kIncompatZstd);
  trace::StreamWriter writer(output, header, options.profile);
  ChunkBuffer buffer;
  for (std::uint64_t i = 0; i < state.chunks.size(); ++i) {
    state.load(i, buffer);
    writer.write_chunk(buffer.chunk(), buffer.bytes());
    if (options.progress) {
      options.progress(state.chunks[i].offset, state.chunks_end);
    }
  }
  writer.write_index();
}

} // namespace

PackReport pack_trace(const std::string& directory, const PackOptions& options) {
  PackReport report;
  const TraceReader trace = TraceReader::open(directory);
  if (trace.being_recorded()) {
    throw Error(ErrorCode::kInvalidArgument, "the trace is being recorded")
        .in_file(trace.stream_name())
        .with_hint("pack it when the recording has ended");
  }
  if ((trace.header().read_only_compatible) != 0) {
    throw Error(ErrorCode::kUnsupportedFeature,
                "the trace has a feature that this program must not rewrite")
        .in_file(trace.stream_name())
        .at(kHeaderReadOnlyCompat)
        .with_hint("use a newer release of this program");
  }
  const std::string folder = directory + "/" + std::string(kFilesName);
  if (std::error_code ignored; std::filesystem::exists(folder, ignored)) {
    trace::open_real_directory(folder);
  }
  std::set<std::string> done;
  for (const schema::TraceFile::Reader file : trace.files()) {
    const capnp::Data::Reader path = file.getStored().getPath();
    require_own_file(trace, file);
    if (done.emplace(path.asChars().begin(), path.size()).second) {
      copy_if_linked(trace, file, report);
    }
  }
  remove_litter(trace, report);

  report.stream_before = trace.file_size();
  report.stream_after = trace.file_size();
  if (trace.problem()) {
    return report;
  }
  const TraceState state(directory, {});
  PendingFile packed(directory);
  Output output(packed.fd(), trace.stream_name());
  recompress(state, output, options);
  if (output.offset() >= trace.file_size()) {
    return report;
  }
  packed.sync();
  packed.publish_replacing(std::string(kEventsName));
  report.stream_after = output.offset();
  return report;
}

} // namespace rrpcp
