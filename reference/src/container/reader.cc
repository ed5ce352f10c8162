#include "rrpcp/reader.h"

#include "base/bytes.h"
#include "base/hash.h"
#include "base/mapped_range.h"
#include "base/open_file.h"
#include "base/scoped_fd.h"
#include "container/chunk_codec.h"
#include "container/chunk_table.h"
#include "container/header.h"
#include "container/kj_errors.h"
#include "container/manifest_bytes.h"
#include "rrpcp/error.h"

#include <algorithm>
#include <capnp/serialize.h>
#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <mutex>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include <vector>

namespace rrpcp {

namespace {

// Reads exactly out.size() bytes at `offset`.
void read_exactly(int fd, std::uint64_t offset, std::span<std::byte> out, const std::string& name) {
  while (!out.empty()) {
    ssize_t n = ::pread(fd, out.data(), out.size(), static_cast<off_t>(offset));
    if (n < 0) {
      if (errno == EINTR) {
        continue;
      }
      throw system_error(errno, "cannot read").in_file(name).at(offset);
    }
    if (n == 0) {
      throw Error(ErrorCode::kIncomplete, "the file became shorter while it was read")
          .in_file(name)
          .at(offset)
          .with_diagnostic("file.truncated");
    }
    offset += static_cast<std::uint64_t>(n);
    out = out.subspan(static_cast<std::size_t>(n));
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
    HeaderBytes head{};
    std::span<std::byte> head_bytes(head);
    head_bytes = head_bytes.first(std::min<std::uint64_t>(size, head.size()));
    read(0, head_bytes);
    header = decode_header(head_bytes, name);
    if (size < format::kHeaderSize + format::kFooterSize) {
      throw Error(ErrorCode::kIncomplete, "the checkpoint is incomplete: it ends after its header")
          .in_file(name)
          .at(size)
          .with_hint("its writer was interrupted or the file was cut; make the checkpoint again")
          .with_diagnostic("footer.missing");
    }
    FooterBytes foot;
    read(size - foot.size(), foot);
    footer = decode_footer(foot, header, size, name);
    if (footer.manifest_length > limits.max_manifest_bytes) {
      throw Error(ErrorCode::kLimit, "the manifest has " + std::to_string(footer.manifest_length) +
                                         " bytes, more than the limit of " +
                                         std::to_string(limits.max_manifest_bytes))
          .in_file(name)
          .at(footer.manifest_offset);
    }
    if (footer.chunk_count > limits.max_chunks) {
      throw Error(ErrorCode::kLimit, "the file has " + std::to_string(footer.chunk_count) +
                                         " chunks, more than the limit of " +
                                         std::to_string(limits.max_chunks))
          .in_file(name)
          .at(footer.table_offset);
    }
    std::uint64_t tail_length =
        footer.manifest_offset + footer.manifest_length - footer.table_offset;
    std::span<const std::byte> tail;
    if (file) {
      mapping = MappedRange(file.get(), footer.table_offset, tail_length, name);
      tail = mapping.bytes();
    } else {
      tail = bytes.subspan(footer.table_offset, tail_length);
    }
    table = tail.first(footer.manifest_offset - footer.table_offset);
    manifest = tail.last(footer.manifest_length);
    if (xxh3_128(manifest).canonical() != footer.manifest_digest) {
      throw damaged("the manifest's digest does not match its bytes", footer.manifest_offset,
                    "manifest.digest");
    }
    if (std::optional<LayoutProblem> problem = check_layout(manifest)) {
      throw damaged("the manifest is not a canonical message: " + problem->what,
                    footer.manifest_offset + problem->offset, "manifest.layout");
    }
    // The layout check bounds what a traversal can cost, so that the limit of the message reader,
    // which counts every access over its whole life, is not needed.
    capnp::ReaderOptions options;
    options.traversalLimitInWords = UINT64_MAX;
    options.nestingLimit = 64;
    auto words = kj::arrayPtr(reinterpret_cast<const capnp::word*>(manifest.data()),
                              manifest.size() / sizeof(capnp::word));
    message = std::make_unique<capnp::FlatArrayMessageReader>(words, options);
  }

  void check_table() const {
    std::call_once(table_checked, [this] {
      if (xxh3_128(table).canonical() != footer.table_digest) {
        throw damaged("the chunk table's digest does not match its bytes", footer.table_offset,
                      "chunk-table.digest");
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

ChunkEntry CheckpointReader::chunk(std::uint64_t index) const {
  const Impl& impl = *impl_;
  const Footer& footer = impl.footer;
  if (index >= footer.chunk_count) {
    throw Error(ErrorCode::kInvalidArgument, "there is no chunk " + std::to_string(index))
        .in_file(impl.name);
  }
  impl.check_table();
  ChunkEntry entry = decode_chunk_entry(impl.table, footer.chunk_entry_size, index);
  std::uint64_t place = footer.table_offset + index * footer.chunk_entry_size;
  auto damaged = [&](const std::string& what, std::size_t field, std::string_view diagnostic) {
    return impl.damaged("chunk " + std::to_string(index) + ": " + what, place + field, diagnostic);
  };
  std::uint64_t pages = std::min<std::uint64_t>(
      impl.header.chunk_pages, footer.page_count - index * impl.header.chunk_pages);
  if (entry.length != pages * impl.header.page_size) {
    throw damaged("the decoded length is not that of " + std::to_string(pages) + " pages",
                  format::kChunkLength, "chunk.length");
  }
  if (entry.length > impl.limits.max_chunk_bytes) {
    throw Error(ErrorCode::kLimit, "chunks are larger than the limit of " +
                                       std::to_string(impl.limits.max_chunk_bytes) + " bytes")
        .in_file(impl.name)
        .at(place);
  }
  switch (entry.codec) {
  case format::kCodecRaw:
    if (entry.stored_length != entry.length || entry.stored_checksum != entry.checksum) {
      throw damaged("a raw chunk's stored and decoded length or checksum differ",
                    format::kChunkStoredLength, "chunk.stored-length");
    }
    if (entry.offset % impl.header.page_size != 0) {
      throw damaged("a raw chunk does not begin at a page boundary", format::kChunkOffset,
                    "chunk.offset");
    }
    break;
  case format::kCodecZstd:
    if (entry.stored_length == 0 || entry.stored_length >= entry.length) {
      throw damaged("a compressed chunk is not smaller than its pages", format::kChunkStoredLength,
                    "chunk.stored-length");
    }
    break;
  default:
    throw Error(ErrorCode::kUnsupportedFeature, "chunk " + std::to_string(index) + " has codec " +
                                                    std::to_string(entry.codec) +
                                                    ", which this program does not know")
        .in_file(impl.name)
        .at(place + format::kChunkCodec)
        .with_diagnostic("chunk.codec");
  }
  if (entry.offset < format::kHeaderSize || entry.offset > footer.table_offset ||
      entry.stored_length > footer.table_offset - entry.offset) {
    throw damaged("the bytes lie outside of the page data", format::kChunkOffset, "chunk.offset");
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
