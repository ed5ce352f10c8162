#include "base/clock.h"
#include "base/file.h"
#include "base/hash.h"
#include "legacy/elf_notes.h"
#include "legacy/findings.h"
#include "legacy/import_state.h"
#include "legacy/page_file.h"
#include "rrpcp/compat/legacy.h"

#include <algorithm>
#include <cstring>
#include <ctime>
#include <fcntl.h>
#include <map>
#include <optional>
#include <sys/utsname.h>

namespace rrpcp {

namespace {

using namespace compat;

constexpr std::size_t kDigestBuffer = std::size_t{256} << 10;

bool is_zero(std::span<const std::byte> page) {
  return page.front() == std::byte{0} &&
         std::memcmp(page.data(), page.data() + 1, page.size() - 1) == 0;
}

// The file in the trace that holds the clean pages of a mapped file, open.
struct OpenBacking {
  ScopedFd fd;
  std::string relative_path;
  std::string path;
  std::uint64_t size = 0;
  // Pages, by number in the file, that runs refer to.
  std::vector<bool> used;
};

// Opens the backing file of `object` where the trace says that there is one and it lies inside the
// trace.
std::optional<OpenBacking> open_backing(const LegacyCheckpoint::Impl& legacy,
                                        const PlannedObject& object, std::uint64_t page_size) {
  if (object.record == nullptr || object.record->source != RrTraceMapping::Source::kFile) {
    return std::nullopt;
  }
  const std::string& trace = legacy.context->trace.directory();
  const ScopedFd directory = open_directory(trace);
  BeneathResult opened =
      open_beneath(directory.get(), object.record->backing_file, O_RDONLY | O_NONBLOCK);
  if (opened.problem != BeneathProblem::kNone) {
    return std::nullopt; // its pages are stored instead
  }
  const struct stat info = stat_fd(opened.fd.get(), object.record->backing_file);
  if (!S_ISREG(info.st_mode)) {
    return std::nullopt;
  }
  OpenBacking backing;
  backing.fd = std::move(opened.fd);
  backing.relative_path = object.record->backing_file;
  backing.path = join_path(trace, backing.relative_path);
  backing.size = static_cast<std::uint64_t>(info.st_size);
  backing.used.resize((backing.size + page_size - 1) / page_size);
  return backing;
}

class Importer {
public:
  Importer(const LegacyCheckpoint::Impl& legacy, Output& output, const ImportOptions& options)
      : legacy_(legacy), options_(options), plan_(plan_import(legacy)),
        page_size_(legacy.context->trace.header().page_size),
        manifest_(message_.initRoot<schema::Manifest>()), state_(manifest_.initState()) {
    for (const std::string& difference : plan_.differences) {
      result_.findings.push_back(
          finding_of("legacy.shared-differs", legacy.entry.path, difference));
    }
    build_state(legacy, plan_, find_cursor(), state_);
    state_.getPageStream().setChunkPages(
        static_cast<std::uint32_t>(format::kDefaultChunkLength / page_size_));
    writer_.emplace(output, header_fields(state_.asReader()), options.writer);
    count_bytes();
  }

  ImportResult run() {
    open_backing_files();
    import_objects();
    import_mappings();
    describe_backing_files();
    fill_provenance();
    result_.id = writer_->finish(state_, manifest_.getProvenance().asReader());
    return std::move(result_);
  }

private:
  std::optional<RrTraceCursor> find_cursor() {
    try {
      return legacy_.context->cursor(legacy_.message.clone_mark().getTime());
    } catch (const Error& error) {
      result_.findings.push_back(finding_of("rr-trace.cursor", legacy_.entry.path, error.what()));
      return std::nullopt;
    }
  }

  void count_bytes() {
    const auto spaces = state_.asReader().getAddressSpaces();
    for (const auto space : spaces) {
      for (const auto mapping : space.getMappings()) {
        if (stores_own_pages(mapping)) {
          total_ += mapping.getEnd() - mapping.getStart();
        }
      }
    }
    for (const PlannedObject& object : plan_.objects) {
      if (object.shared) {
        for (const PlannedObject::Part& part : object.parts) {
          total_ += part.length;
        }
      }
    }
  }

  bool stores_own_pages(schema::Mapping::Reader mapping) const {
    return mapping.getRole() != schema::MappingRole::GUARD &&
           (mapping.getObject() == schema::NO_INDEX || !plan_.objects[mapping.getObject()].shared);
  }

  void open_backing_files() {
    backing_.resize(plan_.objects.size());
    if (options_.embed_files) {
      return;
    }
    for (std::size_t o = 0; o < plan_.objects.size(); ++o) {
      backing_[o] = open_backing(legacy_, plan_.objects[o], page_size_);
    }
  }

  // Appends the pages of a page file: zero pages and those that the backing file has in the same
  // place cost nothing. `file_offset` is the place in the backing file of the first byte.
  void append_pages(const PageFile& file, std::uint64_t offset, std::uint64_t length,
                    OpenBacking* backing, std::uint64_t file_offset, std::vector<PageRun>& runs) {
    buffer_.resize(kReadBytes);
    backing_buffer_.resize(backing != nullptr ? kReadBytes : 0);
    for (std::uint64_t at = 0; at < length; at += kReadBytes) {
      const auto count = static_cast<std::size_t>(std::min<std::uint64_t>(kReadBytes, length - at));
      const std::span<std::byte> bytes = std::span(buffer_).first(count);
      file.read(offset + at, bytes);
      if (backing == nullptr) {
        writer_->append(bytes, runs);
      } else {
        append_beside(bytes, *backing, file_offset + at, runs);
      }
      report(count);
    }
  }

  void append_beside(std::span<const std::byte> bytes, OpenBacking& backing,
                     std::uint64_t file_offset, std::vector<PageRun>& runs) {
    const std::span<std::byte> theirs = std::span(backing_buffer_).first(bytes.size());
    const std::size_t got = read_at(backing.fd.get(), theirs, file_offset, backing.path);
    std::fill(theirs.begin() + static_cast<std::ptrdiff_t>(got), theirs.end(), std::byte{0});
    std::size_t pending = 0; // first page that is neither zero nor the file's
    for (std::size_t page = 0; page < bytes.size(); page += page_size_) {
      const auto mine = bytes.subspan(page, page_size_);
      const bool clean = page < got && !is_zero(mine) &&
                         std::memcmp(mine.data(), theirs.data() + page, page_size_) == 0;
      if (!clean) {
        continue;
      }
      if (pending < page) {
        writer_->append(bytes.subspan(pending, page - pending), runs);
      }
      append_run(runs, {schema::RunKind::BACKING, 1, 0});
      backing.used[(file_offset + page) / page_size_] = true;
      pending = page + page_size_;
    }
    if (pending < bytes.size()) {
      writer_->append(bytes.subspan(pending), runs);
    }
  }

  void report(std::uint64_t bytes) {
    done_ += bytes;
    if (options_.progress) {
      options_.progress(std::min(done_, total_), total_);
    }
  }

  void import_objects() {
    for (unsigned o = 0; o < plan_.objects.size(); ++o) {
      if (plan_.objects[o].shared) {
        import_object(o);
      }
    }
  }

  // The contents of shared memory: what its mappings show of it. What none of them shows is not
  // known to rr's checkpoint and is zero.
  void import_object(unsigned index) {
    const PlannedObject& object = plan_.objects[index];
    OpenBacking* backing = backing_[index] ? &*backing_[index] : nullptr;
    std::vector<PlannedObject::Part> parts = object.parts;
    std::sort(parts.begin(), parts.end(),
              [](const auto& a, const auto& b) { return a.offset < b.offset; });
    std::vector<PageRun> runs;
    std::uint64_t filled = 0;
    for (const PlannedObject::Part& part : parts) {
      const std::uint64_t end = part.offset + part.length;
      if (end <= filled) {
        report(part.length);
        continue;
      }
      if (part.offset > filled) {
        append_run(runs, {schema::RunKind::ZERO, (part.offset - filled) / page_size_, 0});
        filled = part.offset;
      }
      const PageFile file(legacy_, part.space, part.mapping);
      report(filled - part.offset);
      append_pages(file, filled - part.offset, end - filled, backing, filled, runs);
      filled = end;
    }
    auto out = state_.getMemoryObjects()[index];
    if (!out.isFile() || !is_all(runs, schema::RunKind::BACKING)) {
      set_runs(out.initRuns(static_cast<unsigned>(runs.size())), runs);
    }
    if (out.isFile() && backing == nullptr) {
      settle_length(parts.back(), out);
    }
  }

  // Whether the runs say what no runs would: such a list is left out.
  static bool is_all(const std::vector<PageRun>& runs, schema::RunKind kind) {
    return runs.size() == 1 && runs[0].kind == kind;
  }

  // A stored file ends within its last page where the trace recorded that size and the rest of the
  // page is zero, as the kernel shows it.
  void settle_length(const PlannedObject::Part& last, schema::MemoryObject::Builder object) {
    const std::uint64_t recorded = object.getFile().getSize();
    const std::uint64_t length = object.getLength();
    if (recorded < length && length - recorded < page_size_) {
      const PageFile file(legacy_, last.space, last.mapping);
      std::vector<std::byte> tail(length - recorded);
      file.read(recorded - last.offset, tail);
      if (is_zero(tail)) {
        object.setLength(recorded);
        return;
      }
    }
    object.getFile().setSize(length);
  }

  void import_mappings() {
    auto spaces = state_.getAddressSpaces();
    for (unsigned s = 0; s < spaces.size(); ++s) {
      auto mappings = spaces[s].getMappings();
      for (unsigned i = 0; i < mappings.size(); ++i) {
        auto mapping = mappings[i];
        if (!stores_own_pages(mapping.asReader())) {
          continue;
        }
        const PageFile file(legacy_, s, plan_.order[s][i]);
        const std::uint32_t object = mapping.getObject();
        OpenBacking* backing =
            object != schema::NO_INDEX && backing_[object] ? &*backing_[object] : nullptr;
        std::vector<PageRun> runs;
        append_pages(file, 0, file.size(), backing, mapping.getObjectOffset(), runs);
        if (!is_all(runs, object != schema::NO_INDEX ? schema::RunKind::BACKING
                                                     : schema::RunKind::ZERO)) {
          set_runs(mapping.initRuns(static_cast<unsigned>(runs.size())), runs);
        }
      }
    }
  }

  // Path, size, build id and digests of the files that runs refer to.
  void describe_backing_files() {
    for (unsigned o = 0; o < plan_.objects.size(); ++o) {
      if (!backing_[o]) {
        continue;
      }
      OpenBacking& backing = *backing_[o];
      auto object = state_.getMemoryObjects()[o];
      if (!object.isFile()) {
        continue;
      }
      auto file = object.getFile();
      file.setPath(as_data(backing.relative_path));
      file.setPathBase(schema::PathBase::TRACE);
      file.setDeleted(false);
      file.setSize(backing.size);
      if (!plan_.objects[o].shared) {
        object.setLength(backing.size);
      }
      const std::vector<std::byte> build_id = read_build_id(backing.fd.get(), backing.path);
      file.setBuildId({reinterpret_cast<const capnp::byte*>(build_id.data()), build_id.size()});
      set_digests(backing, file);
    }
  }

  void set_digests(const OpenBacking& backing, schema::FileIdentity::Builder file) const {
    std::vector<std::pair<std::uint64_t, std::uint64_t>> ranges; // in pages: first, one past last
    for (std::uint64_t page = 0; page < backing.used.size(); ++page) {
      if (!backing.used[page]) {
        continue;
      }
      if (!ranges.empty() && ranges.back().second == page) {
        ++ranges.back().second;
      } else {
        ranges.emplace_back(page, page + 1);
      }
    }
    auto digests = file.initDigests(static_cast<unsigned>(ranges.size()));
    std::vector<std::byte> buffer(kDigestBuffer);
    for (unsigned r = 0; r < ranges.size(); ++r) {
      const std::uint64_t begin = ranges[r].first * page_size_;
      const std::uint64_t end = std::min(ranges[r].second * page_size_, backing.size);
      Xxh3Stream128 stream;
      for (std::uint64_t at = begin; at < end; at += buffer.size()) {
        const auto piece = std::span(buffer).first(
            static_cast<std::size_t>(std::min<std::uint64_t>(buffer.size(), end - at)));
        if (read_at(backing.fd.get(), piece, at, backing.path) != piece.size()) {
          throw Error(ErrorCode::kBackingFile, "the file became shorter while it was read")
              .in_file(backing.path)
              .at(at);
        }
        stream.update(piece);
      }
      const Digest128 digest = stream.digest();
      digests[r].setOffset(begin);
      digests[r].setLength(end - begin);
      digests[r].setHigh(digest.high);
      digests[r].setLow(digest.low);
    }
  }

  void fill_provenance() {
    auto provenance = manifest_.initProvenance();
    provenance.setCreator("rrpcp " RRPCP_VERSION);
    provenance.setConvertedFrom(std::string(generation_name(legacy_.message.generation)));
    provenance.setOriginalDirectory(as_data(legacy_.original_directory));
    if (options_.reproducible) {
      return;
    }
    provenance.setCreatedAt(wall_clock());
    utsname name = {};
    if (::uname(&name) == 0) {
      provenance.setHostName(name.nodename);
      provenance.setKernelRelease(name.release);
    }
  }

  const LegacyCheckpoint::Impl& legacy_;
  const ImportOptions& options_;
  ImportResult result_;
  ImportPlan plan_;
  std::uint64_t page_size_;
  capnp::MallocMessageBuilder message_;
  schema::Manifest::Builder manifest_;
  schema::State::Builder state_;
  std::optional<CheckpointWriter> writer_;
  // By object.
  std::vector<std::optional<OpenBacking>> backing_;
  std::vector<std::byte> buffer_;
  std::vector<std::byte> backing_buffer_;
  std::uint64_t done_ = 0;
  std::uint64_t total_ = 0;
};

} // namespace

HeaderFields import_header(const LegacyCheckpoint& legacy) {
  const LegacyCheckpoint::Impl& impl = legacy.impl();
  const RrTraceHeader& header = impl.context->trace.header();
  const auto info = impl.message.root();
  const auto clone = impl.message.clone_mark();
  HeaderFields fields;
  fields.trace_uuid = header.uuid;
  fields.event = clone.getTime();
  fields.ticks = clone.getTicks();
  fields.mark_event = fields.event;
  fields.machine = header.machine;
  fields.page_size = header.page_size;
  if (info.isNonExplicit()) {
    fields.position_kind = format::kPositionForwardTo;
    fields.mark_event = info.getNonExplicit().getCheckpointMark().getTime();
  } else {
    const bool inside = clone.getTicks() != clone.getTicksAtEventStart() || clone.getStepKey() != 0;
    fields.position_kind = inside ? format::kPositionBetween : format::kPositionAtEvent;
  }
  return fields;
}

ImportResult import_checkpoint(const LegacyCheckpoint& legacy, Output& output,
                               const ImportOptions& options) {
  for (const Finding& finding : legacy.findings()) {
    if (finding.severity == Severity::kError) {
      throw Error(ErrorCode::kDamaged, finding.message)
          .in_file(finding.file)
          .with_diagnostic(finding.code)
          .with_hint(std::string(finding.hint));
    }
  }
  try {
    return Importer(legacy.impl(), output, options).run();
  } catch (const Error& error) {
    throw error.file().empty() ? error.in_file(legacy.entry().path) : error;
  }
}

} // namespace rrpcp
