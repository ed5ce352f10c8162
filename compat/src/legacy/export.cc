#include "base/file.h"
#include "legacy/checkpoint_impl.h"
#include "legacy/export_message.h"
#include "legacy/pending_directory.h"
#include "rrpcp/compat/legacy.h"
#include "rrpcp/memory_view.h"

#include <algorithm>
#include <capnp/message.h>
#include <capnp/serialize-packed.h>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <sys/stat.h>
#include <unistd.h>

namespace rrpcp {

namespace {

using namespace compat;

constexpr std::size_t kPieceBytes = std::size_t{1} << 20;
constexpr std::size_t kHoleBytes = 4096;

void sync_file(int fd, const std::string& path) {
  if (::fdatasync(fd) != 0) {
    throw system_error(errno, "cannot sync").in_file(path);
  }
}

bool all_zero(std::span<const std::byte> bytes) {
  return bytes.front() == std::byte{0} &&
         std::memcmp(bytes.data(), bytes.data() + 1, bytes.size() - 1) == 0;
}

class Exporter {
public:
  Exporter(const CheckpointReader& checkpoint, const std::string& trace_directory,
           const ExportOptions& options)
      : checkpoint_(checkpoint), options_(options),
        context_(std::make_shared<LegacyTrace::Impl>(RrTrace::open(trace_directory))),
        trace_(context_->trace) {}

  ExportResult run() {
    const Header& header = checkpoint_.header();
    if (header.trace_uuid != trace_.header().uuid) {
      throw Error(ErrorCode::kForeignTrace, "the checkpoint belongs to trace " +
                                                header.trace_uuid.to_string() + ", not to " +
                                                trace_.header().uuid.to_string())
          .in_file(checkpoint_.name());
    }
    if (header.page_size != trace_.header().page_size) {
      throw Error(ErrorCode::kUnsupportedState, "the checkpoint has other pages than the trace")
          .in_file(checkpoint_.name());
    }
    const std::string name = "checkpoint-" + std::to_string(header.event);
    const std::string real_trace = std::filesystem::canonical(trace_.directory()).string();
    result_.directory = join_path(trace_.directory(), name);

    capnp::MallocMessageBuilder message;
    const ExportPlan plan = build_message(checkpoint_.state(), join_path(real_trace, name),
                                          message.initRoot<legacy::rr2025::CheckpointInfo>());
    result_.losses = plan.losses;
    refuse_existing(result_.directory);
    PendingDirectory pending(trace_.directory());
    write_page_files(plan, pending);
    write_metadata(message, pending);
    verify(pending);
    pending.publish(name);
    return std::move(result_);
  }

private:
  // Before all the work; publishing decides.
  static void refuse_existing(const std::string& path) {
    struct stat info = {};
    if (::lstat(path.c_str(), &info) == 0) {
      throw Error(ErrorCode::kExists, "a checkpoint of that event is there already")
          .in_file(path)
          .with_hint("rr-2025 has room for one checkpoint per event: move the other one away");
    }
  }

  void write_page_files(const ExportPlan& plan, const PendingDirectory& pending) {
    const auto spaces = checkpoint_.state().getAddressSpaces();
    std::uint64_t total = 0;
    for (unsigned s = 0; s < spaces.size(); ++s) {
      const auto mappings = spaces[s].getMappings();
      for (unsigned m = 0; m < mappings.size(); ++m) {
        total += plan.page_files[s][m].empty() ? 0 : mappings[m].getEnd() - mappings[m].getStart();
      }
    }
    std::uint64_t done = 0;
    buffer_.resize(kPieceBytes);
    for (unsigned s = 0; s < spaces.size(); ++s) {
      MemoryView view(checkpoint_, s, {trace_.directory(), true});
      const auto mappings = spaces[s].getMappings();
      for (unsigned m = 0; m < mappings.size(); ++m) {
        if (!plan.page_files[s][m].empty()) {
          write_page_file(view, mappings[m], plan.page_files[s][m], pending, done, total);
        }
      }
    }
  }

  void write_page_file(MemoryView& view, schema::Mapping::Reader mapping, const std::string& name,
                       const PendingDirectory& pending, std::uint64_t& done, std::uint64_t total) {
    const std::string path = join_path(pending.path(), name);
    const ScopedFd file = pending.create(name);
    const std::uint64_t length = mapping.getEnd() - mapping.getStart();
    if (::ftruncate(file.get(), static_cast<off_t>(length)) != 0) {
      throw system_error(errno, "cannot set the length").in_file(path);
    }
    for (std::uint64_t at = 0; at < length; at += kPieceBytes) {
      const auto piece = std::span(buffer_).first(
          static_cast<std::size_t>(std::min<std::uint64_t>(kPieceBytes, length - at)));
      if (view.read(mapping.getStart() + at, piece) != piece.size()) {
        throw Error(ErrorCode::kUnsupportedState,
                    "the mapping has contents that the checkpoint does not hold")
            .in_file(checkpoint_.name());
      }
      for (std::size_t hole = 0; hole < piece.size(); hole += kHoleBytes) {
        const auto page = piece.subspan(hole, std::min(kHoleBytes, piece.size() - hole));
        if (!all_zero(page)) {
          write_at(file.get(), page, at + hole, path);
        }
      }
      done += piece.size();
      if (options_.progress) {
        options_.progress(done / 2, total);
      }
    }
    sync_file(file.get(), path);
    result_.bytes += length;
    ++result_.page_files;
  }

  void write_metadata(capnp::MallocMessageBuilder& message, const PendingDirectory& pending) {
    const std::string path = join_path(pending.path(), "metadata");
    const ScopedFd file = pending.create("metadata");
    kj::VectorOutputStream packed;
    capnp::writePackedMessage(packed, message);
    const auto bytes =
        std::as_bytes(std::span(packed.getArray().begin(), packed.getArray().size()));
    write_at(file.get(), bytes, 0, path);
    sync_file(file.get(), path);
    result_.bytes += bytes.size();
  }

  // Reads what was written as any checkpoint of the generation is read, and compares.
  void verify(const PendingDirectory& pending) const {
    LegacyEntry entry;
    entry.generation = Generation::kRr2025;
    entry.name = std::string(base_name(pending.path()));
    entry.page_directory = pending.path();
    entry.path = join_path(pending.path(), "metadata");
    entry.event = checkpoint_.header().event;
    const LegacyCheckpoint written = LegacyCheckpoint::Impl::load(context_, entry);
    for (const Finding& finding : written.findings()) {
      if (finding.severity == Severity::kError) {
        throw Error(ErrorCode::kInternal, "what was written cannot be read: " + finding.message)
            .in_file(finding.file)
            .with_diagnostic(finding.code);
      }
    }
    std::function<void(std::uint64_t, std::uint64_t)> second_half;
    if (options_.progress) {
      second_half = [&](std::uint64_t done, std::uint64_t total) {
        options_.progress(total / 2 + done / 2, total);
      };
    }
    verify_import(written, checkpoint_, second_half);
  }

  const CheckpointReader& checkpoint_;
  const ExportOptions& options_;
  std::shared_ptr<const LegacyTrace::Impl> context_;
  const RrTrace& trace_;
  ExportResult result_;
  std::vector<std::byte> buffer_;
};

} // namespace

ExportResult export_rr2025(const CheckpointReader& checkpoint, const std::string& trace_directory,
                           const ExportOptions& options) {
  return Exporter(checkpoint, trace_directory, options).run();
}

} // namespace rrpcp
