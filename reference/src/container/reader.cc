#include "rrpcp/reader.h"

#include "base/bytes.h"
#include "base/file.h"
#include "base/hash.h"
#include "base/mapped_range.h"
#include "base/open_file.h"
#include "base/parallel.h"
#include "base/scoped_fd.h"
#include "base/sha256.h"
#include "container/bases.h"
#include "container/chunk_codec.h"
#include "container/kj_errors.h"
#include "container/manifest_bytes.h"
#include "framing/chunk_table.h"
#include "framing/header.h"
#include "framing/sections.h"
#include "rrpcp/error.h"

#include <algorithm>
#include <capnp/serialize.h>
#include <cerrno>
#include <cstring>
#include <exception>
#include <fcntl.h>
#include <mutex>
#include <optional>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include <vector>

namespace rrpcp {

namespace {

// Reads exactly out.size() bytes at `offset`.
void read_exactly(int fd, std::uint64_t offset, std::span<std::byte> out, const std::string& name) {
  const std::size_t done = read_at(fd, out, offset, name);
  if (done < out.size()) {
    throw Error(ErrorCode::kIncomplete, "the file became shorter while it was read")
        .in_file(name)
        .at(offset + done)
        .with_diagnostic("file.truncated");
  }
}

} // namespace

struct CheckpointReader::Impl {
  std::string name;
  ReadLimits limits;
  ScopedFd file;
  std::span<const std::byte> bytes; // the whole file, where it is in memory
  std::uint64_t size = 0;
  Header header;
  Footer footer;
  // Has no state: may be used from several threads.
  mutable std::optional<framing::ThrowingSink> sink;
  framing::Sections sections;
  MappedRange mapping; // chunk table and manifest, where it is a file
  std::span<const std::byte> table;
  std::span<const std::byte> manifest;
  std::unique_ptr<capnp::FlatArrayMessageReader> message;

  mutable std::once_flag table_checked;
  // Decoders and buffers that are not in use.
  struct Workspace {
    ChunkDecoder decoder;
    std::vector<std::byte> stored;
  };
  mutable std::mutex workspaces_mutex;
  mutable std::vector<std::unique_ptr<Workspace>> workspaces;

  mutable std::mutex bases_mutex;
  mutable std::vector<std::unique_ptr<CheckpointReader>> bases; // those that were asked for

  void read(std::uint64_t offset, std::span<std::byte> out) const {
    if (file) {
      read_exactly(file.get(), offset, out, name);
    } else if (!out.empty()) {
      std::memcpy(out.data(), bytes.subspan(offset, out.size()).data(), out.size());
    }
  }

  Error damaged(const std::string& what, std::uint64_t at, std::string_view diagnostic) const {
    return Error(ErrorCode::kDamaged, what).in_file(name).at(at).with_diagnostic(diagnostic);
  }

  void open() {
    sink.emplace(name);
    framing::HeaderBytes head{};
    std::span<std::byte> head_bytes(head);
    head_bytes = head_bytes.first(std::min<std::uint64_t>(size, head.size()));
    read(0, head_bytes);
    // With a sink that throws, there is a result.
    header = framing::check_header(head_bytes, *sink).header.value();
    const framing::ReadBytes read_bytes = [this](std::uint64_t offset, std::span<std::byte> out) {
      read(offset, out);
    };
    footer = framing::check_footer(read_bytes, size, header, *sink).value();
    sections = framing::check_directory(read_bytes, header, footer, *sink).value();
    const Section& table_section = sections.chunk_table;
    const Section& manifest_section = sections.manifest;
    if (manifest_section.length > limits.max_manifest_bytes) {
      throw Error(ErrorCode::kLimit, "the manifest has " + std::to_string(manifest_section.length) +
                                         " bytes, more than the limit of " +
                                         std::to_string(limits.max_manifest_bytes))
          .in_file(name)
          .at(manifest_section.offset);
    }
    if (footer.chunk_count > limits.max_chunks) {
      throw Error(ErrorCode::kLimit, "the file has " + std::to_string(footer.chunk_count) +
                                         " chunks, more than the limit of " +
                                         std::to_string(limits.max_chunks))
          .in_file(name)
          .at(table_section.offset);
    }
    // The two are neighbours in every file that this release writes.
    const std::uint64_t tail_offset = std::min(table_section.offset, manifest_section.offset);
    const std::uint64_t tail_end = std::max(table_section.offset + table_section.length,
                                            manifest_section.offset + manifest_section.length);
    std::span<const std::byte> tail;
    if (file) {
      mapping = MappedRange(file.get(), tail_offset, tail_end - tail_offset, name);
      tail = mapping.bytes();
    } else {
      tail = bytes.subspan(tail_offset, tail_end - tail_offset);
    }
    table = tail.subspan(table_section.offset - tail_offset, table_section.length);
    manifest = tail.subspan(manifest_section.offset - tail_offset, manifest_section.length);
    if (framing::digest_of(manifest) != manifest_section.digest) {
      throw damaged("the manifest's digest does not match its bytes", manifest_section.offset,
                    "manifest.digest");
    }
    if (std::optional<LayoutProblem> problem = check_layout(manifest)) {
      throw damaged("the manifest is not a canonical message: " + problem->what,
                    manifest_section.offset + problem->offset, "manifest.layout");
    }
    // The layout check bounds what a traversal can cost, so that the limit of the message reader,
    // which counts every access over its whole life, is not needed.
    capnp::ReaderOptions options;
    options.traversalLimitInWords = UINT64_MAX;
    options.nestingLimit = 256; // the layout check allows 64 levels; a list of structs takes two
    auto words = kj::arrayPtr(reinterpret_cast<const capnp::word*>(manifest.data()),
                              manifest.size() / sizeof(capnp::word));
    message = std::make_unique<capnp::FlatArrayMessageReader>(words, options);
  }

  void check_table() const {
    std::call_once(table_checked, [this] {
      if (framing::digest_of(table) != sections.chunk_table.digest) {
        throw damaged("the chunk table's digest does not match its bytes",
                      sections.chunk_table.offset, "chunk-table.digest");
      }
    });
  }

  std::unique_ptr<Workspace> take_workspace() const {
    std::lock_guard lock(workspaces_mutex);
    if (workspaces.empty()) {
      return std::make_unique<Workspace>();
    }
    auto workspace = std::move(workspaces.back());
    workspaces.pop_back();
    return workspace;
  }

  void give_back(std::unique_ptr<Workspace> workspace) const {
    std::lock_guard lock(workspaces_mutex);
    if (workspaces.size() < 64) {
      workspaces.push_back(std::move(workspace));
    }
  }

  void read_chunk(std::uint64_t index, const ChunkEntry& entry, std::span<std::byte> out) const {
    auto place = [&] { return "chunk " + std::to_string(index); };
    if (entry.codec == format::kCodecRaw) {
      read(entry.offset, out);
      if (xxh3_64(out) != entry.checksum) {
        throw damaged(place() + ": the checksum does not match its bytes", entry.offset,
                      "chunk.stored-checksum");
      }
      return;
    }
    std::unique_ptr<Workspace> workspace = take_workspace();
    std::span<const std::byte> stored;
    if (file) {
      workspace->stored.resize(entry.stored_length);
      read(entry.offset, workspace->stored);
      stored = workspace->stored;
    } else {
      stored = bytes.subspan(entry.offset, entry.stored_length);
    }
    if (xxh3_64(stored) != entry.stored_checksum) {
      throw damaged(place() + ": the checksum does not match its stored bytes", entry.offset,
                    "chunk.stored-checksum");
    }
    if (!workspace->decoder.decode(stored, out)) {
      throw damaged(place() + ": the zstd frame cannot be decoded", entry.offset, "chunk.decode");
    }
    if (xxh3_64(out) != entry.checksum) {
      throw damaged(place() + ": the checksum does not match its decoded bytes", entry.offset,
                    "chunk.checksum");
    }
    give_back(std::move(workspace));
  }
};

CheckpointReader::CheckpointReader(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
CheckpointReader::CheckpointReader(CheckpointReader&&) noexcept = default;
CheckpointReader& CheckpointReader::operator=(CheckpointReader&&) noexcept = default;
CheckpointReader::~CheckpointReader() = default;

CheckpointReader CheckpointReader::open(const std::string& path, const ReadLimits& limits) {
  ScopedFd file = open_file(path.c_str(), O_RDONLY);
  if (!file) {
    throw system_error(errno, "cannot open").in_file(path);
  }
  return open_fd(file.release(), path, limits);
}

CheckpointReader CheckpointReader::open_fd(int fd, std::string name, const ReadLimits& limits) {
  auto impl = std::make_unique<Impl>();
  impl->file = ScopedFd(fd);
  impl->name = std::move(name);
  impl->limits = limits;
  struct stat status;
  if (::fstat(fd, &status) != 0) {
    throw system_error(errno, "cannot examine").in_file(impl->name);
  }
  if (S_ISDIR(status.st_mode)) {
    throw Error(ErrorCode::kInvalidArgument, "this is a directory, not a checkpoint")
        .in_file(impl->name);
  }
  if (!S_ISREG(status.st_mode)) {
    throw Error(ErrorCode::kInvalidArgument, "a checkpoint can only be read from a regular file")
        .in_file(impl->name)
        .with_hint("copy it into a file first");
  }
  impl->size = static_cast<std::uint64_t>(status.st_size);
  impl->open();
  return CheckpointReader(std::move(impl));
}

CheckpointReader CheckpointReader::open_bytes(std::span<const std::byte> bytes, std::string name,
                                              const ReadLimits& limits) {
  auto impl = std::make_unique<Impl>();
  impl->name = std::move(name);
  impl->limits = limits;
  impl->bytes = bytes;
  impl->size = bytes.size();
  impl->open();
  return CheckpointReader(std::move(impl));
}

const std::string& CheckpointReader::name() const {
  return impl_->name;
}
int CheckpointReader::fd() const {
  return impl_->file.get();
}
std::uint64_t CheckpointReader::file_size() const {
  return impl_->size;
}
const Header& CheckpointReader::header() const {
  return impl_->header;
}
const Footer& CheckpointReader::footer() const {
  return impl_->footer;
}

schema::Manifest::Reader CheckpointReader::manifest() const {
  return with_kj_errors(name(), [&] { return impl_->message->getRoot<schema::Manifest>(); });
}

schema::State::Reader CheckpointReader::state() const {
  return with_kj_errors(name(), [&] { return manifest().getState(); });
}

std::uint64_t CheckpointReader::chunk_count() const {
  return impl_->footer.chunk_count;
}

const std::vector<Section>& CheckpointReader::sections() const {
  return impl_->sections.all;
}

const Section* CheckpointReader::find_section(std::uint32_t kind) const {
  for (const Section& section : impl_->sections.all) {
    if (section.kind == kind) {
      return &section;
    }
  }
  return nullptr;
}

std::span<const std::byte> CheckpointReader::section_directory() const {
  return impl_->sections.directory;
}

void CheckpointReader::read_bytes(std::uint64_t offset, std::span<std::byte> out) const {
  if (offset > impl_->size || out.size() > impl_->size - offset) {
    throw Error(ErrorCode::kInvalidArgument, "the bytes lie beyond the end of the file")
        .in_file(name())
        .at(offset);
  }
  impl_->read(offset, out);
}

void CheckpointReader::read_section(
    const Section& section, const std::function<void(std::span<const std::byte>)>& sink) const {
  std::vector<std::byte> buffer(std::min<std::uint64_t>(section.length, 1u << 20));
  Xxh3Stream128 digest;
  for (std::uint64_t done = 0; done < section.length;) {
    const auto piece =
        std::span(buffer).first(std::min<std::uint64_t>(buffer.size(), section.length - done));
    read_bytes(section.offset + done, piece);
    digest.update(piece);
    sink(piece);
    done += piece.size();
  }
  if (framing::digest_of(digest.digest().canonical()) != section.digest) {
    throw impl_->damaged("the digest of section kind " + std::to_string(section.kind) +
                             " does not match its bytes",
                         section.offset, "section.digest");
  }
}

std::size_t CheckpointReader::base_count() const {
  if ((header().incompatible & format::kIncompatBaseRuns) == 0) {
    return 0;
  }
  const std::size_t count = with_kj_errors(name(), [&] { return state().getBases().size(); });
  if (count > format::kMaxBases) {
    throw Error(ErrorCode::kDamaged, "the checkpoint has " + std::to_string(count) + " bases")
        .in_file(name())
        .with_diagnostic("base.count");
  }
  return count;
}

const CheckpointReader& CheckpointReader::base(std::size_t index) const {
  const std::size_t count = base_count();
  if (index >= count) {
    throw Error(ErrorCode::kDamaged,
                "a run refers to base " + std::to_string(index) + ", which does not exist")
        .in_file(name())
        .with_diagnostic("run.base");
  }
  {
    const std::lock_guard lock(impl_->bases_mutex);
    impl_->bases.resize(count);
    if (impl_->bases[index] != nullptr) {
      return *impl_->bases[index];
    }
  }
  // Verifying takes long, and others may want other bases meanwhile.
  BaseContext context{name(), header().trace_uuid, header().page_size, {}};
  if (impl_->file) {
    context.directory = directory_of(impl_->file.get());
  }
  std::unique_ptr<CheckpointReader> base = with_kj_errors(name(), [&] {
    return open_base(base_reference(state().getBases()[static_cast<unsigned>(index)], name()),
                     context, impl_->limits);
  });
  const std::lock_guard lock(impl_->bases_mutex);
  if (impl_->bases[index] == nullptr) { // nobody was faster
    impl_->bases[index] = std::move(base);
  }
  return *impl_->bases[index];
}

void CheckpointReader::open_bases() const {
  const std::size_t count = base_count();
  std::vector<std::exception_ptr> failures(count);
  parallel_for(count, available_processors(), [&](std::uint64_t i, unsigned) {
    try {
      base(i);
    } catch (...) {
      failures[i] = std::current_exception();
    }
  });
  for (const std::exception_ptr& failure : failures) {
    if (failure) {
      std::rethrow_exception(failure);
    }
  }
}

const CheckpointReader& CheckpointReader::source(schema::PageRun::Reader run) const {
  return run.getKind() == schema::RunKind::BASE ? base(run.getSource()) : *this;
}

std::optional<std::array<std::uint8_t, 32>> CheckpointReader::seal_digest() const {
  const Section* seal = find_section(format::kSectionSeal);
  if (seal == nullptr) {
    return std::nullopt;
  }
  Sha256Stream digest;
  read_section(*seal, [&](std::span<const std::byte> piece) { digest.update(piece); });
  return digest.digest();
}

ChunkEntry CheckpointReader::chunk(std::uint64_t index) const {
  const Impl& impl = *impl_;
  const Footer& footer = impl.footer;
  if (index >= footer.chunk_count) {
    throw Error(ErrorCode::kInvalidArgument, "there is no chunk " + std::to_string(index))
        .in_file(impl.name);
  }
  impl.check_table();
  const ChunkEntry entry = framing::decode_chunk_entry(impl.table, footer.chunk_entry_size, index);
  framing::check_chunk_entry(
      {impl.header, footer, impl.sections.chunk_table.offset, impl.sections.all[0].offset}, entry,
      impl.table.subspan(index * footer.chunk_entry_size, footer.chunk_entry_size), index,
      *impl.sink);
  if (entry.length > impl.limits.max_chunk_bytes) {
    throw Error(ErrorCode::kLimit, "chunks are larger than the limit of " +
                                       std::to_string(impl.limits.max_chunk_bytes) + " bytes")
        .in_file(impl.name)
        .at(impl.sections.chunk_table.offset + index * footer.chunk_entry_size);
  }
  return entry;
}

void CheckpointReader::read_chunk(std::uint64_t index, std::span<std::byte> out) const {
  ChunkEntry entry = chunk(index);
  if (out.size() != entry.length) {
    throw Error(ErrorCode::kInvalidArgument, "the buffer has not the size of the chunk");
  }
  impl_->read_chunk(index, entry, out);
}

void CheckpointReader::read_stream(
    std::uint64_t first, std::uint64_t count,
    const std::function<void(std::span<const std::byte>)>& sink) const {
  const std::uint64_t chunk_pages = header().chunk_pages;
  const std::uint64_t page_size = header().page_size;
  if (first > footer().page_count || count > footer().page_count - first) {
    throw Error(ErrorCode::kInvalidArgument, "the pages lie beyond the end of the page stream")
        .in_file(name());
  }
  std::vector<std::byte> buffer;
  while (count > 0) {
    std::uint64_t index = first / chunk_pages;
    buffer.resize(chunk(index).length);
    read_chunk(index, buffer);
    std::uint64_t skip = first % chunk_pages;
    std::uint64_t pages = std::min(count, buffer.size() / page_size - skip);
    sink(std::span(buffer).subspan(skip * page_size, pages * page_size));
    first += pages;
    count -= pages;
  }
}

} // namespace rrpcp
