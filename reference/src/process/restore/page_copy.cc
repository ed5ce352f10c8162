#include "process/restore/page_copy.h"

#include "base/file.h"
#include "base/parallel.h"
#include "rrpcp/error.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <limits.h>
#include <span>
#include <string>
#include <sys/uio.h>
#include <unistd.h>
#include <utility>

namespace rrpcp::process::restore {

namespace {

// The part of a copy that lies in one chunk.
struct Part {
  const CheckpointReader* source;
  std::uint64_t chunk;
  // Bytes from the start of the decoded chunk.
  std::uint64_t offset;
  std::uint64_t bytes;
  PageTarget target;
};

// In the order of the copies.
std::vector<Part> split_by_chunk(const std::vector<PageCopy>& copies) {
  std::vector<Part> parts;
  parts.reserve(copies.size());
  for (const PageCopy& copy : copies) {
    const CheckpointReader& reader = *copy.source;
    const std::uint64_t page_size = reader.header().page_size;
    const std::uint64_t chunk_bytes = page_size * reader.header().chunk_pages;
    const std::uint64_t pages = copy.bytes / page_size + (copy.bytes % page_size != 0 ? 1 : 0);
    const std::uint64_t page_count = reader.footer().page_count;
    if (copy.first > page_count || pages > page_count - copy.first) {
      throw Error(ErrorCode::kDamaged, "a run refers to pages beyond the end of the page stream")
          .in_file(reader.name());
    }
    std::uint64_t from = copy.first * page_size;
    std::uint64_t left = copy.bytes;
    PageTarget target = copy.target;
    while (left > 0) {
      const std::uint64_t offset = from % chunk_bytes;
      const std::uint64_t bytes = std::min(left, chunk_bytes - offset);
      parts.push_back({&reader, from / chunk_bytes, offset, bytes, target});
      from += bytes;
      left -= bytes;
      target.position += bytes;
    }
  }
  return parts;
}

// What is to be copied, the parts of one chunk together.
struct Groups {
  std::vector<Part> parts;
  std::vector<std::span<const Part>> chunks; // in the order of the files
};

// By counting: of a series there are tens of thousands of parts.
Groups group_by_chunk(const std::vector<Part>& parts) {
  struct Source {
    const CheckpointReader* reader;
    std::vector<std::size_t> next; // by chunk: how many parts, then where the next one goes
  };
  std::vector<Source> sources;
  const auto source_of = [&](const CheckpointReader* reader) -> Source& {
    auto found = std::find_if(sources.begin(), sources.end(),
                              [&](const Source& source) { return source.reader == reader; });
    if (found == sources.end()) {
      sources.push_back({reader, std::vector<std::size_t>(reader->chunk_count())});
      return sources.back();
    }
    return *found;
  };
  for (const Part& part : parts) {
    ++source_of(part.source).next[part.chunk];
  }
  Groups groups;
  groups.parts.resize(parts.size());
  std::size_t at = 0;
  for (Source& source : sources) {
    for (std::size_t& next : source.next) {
      const std::size_t count = std::exchange(next, at);
      if (count != 0) {
        groups.chunks.push_back(std::span(groups.parts).subspan(at, count));
      }
      at += count;
    }
  }
  for (const Part& part : parts) {
    groups.parts[source_of(part.source).next[part.chunk]++] = part;
  }
  return groups;
}

// Writes pieces of one decoded chunk into the process.
class ProcessWriter {
public:
  explicit ProcessWriter(pid_t process) : process_(process) {}

  void add(std::uint64_t address, std::span<const std::byte> bytes) {
    if (from_.size() == IOV_MAX) {
      flush();
    }
    from_.push_back({const_cast<std::byte*>(bytes.data()), bytes.size()});
    to_.push_back({reinterpret_cast<void*>(address), bytes.size()});
  }

  void flush() {
    std::size_t done = 0;
    while (done < from_.size()) {
      ssize_t n = ::process_vm_writev(process_, &from_[done], from_.size() - done, &to_[done],
                                      to_.size() - done, 0);
      if (n < 0 && errno == EINTR) {
        continue;
      }
      if (n <= 0) {
        throw system_error(n < 0 ? errno : EIO, "cannot write the memory of the new process");
      }
      auto left = static_cast<std::size_t>(n);
      while (left > 0 && left >= from_[done].iov_len) {
        left -= from_[done].iov_len;
        ++done;
      }
      if (left > 0) {
        from_[done].iov_base = static_cast<std::byte*>(from_[done].iov_base) + left;
        from_[done].iov_len -= left;
        to_[done].iov_base = static_cast<std::byte*>(to_[done].iov_base) + left;
        to_[done].iov_len -= left;
      }
    }
    from_.clear();
    to_.clear();
  }

private:
  pid_t process_;
  std::vector<iovec> from_;
  std::vector<iovec> to_;
};

void deliver(std::span<const Part> parts, std::span<const std::byte> chunk, ProcessWriter& writer) {
  for (const Part& part : parts) {
    std::span<const std::byte> bytes = chunk.subspan(part.offset, part.bytes);
    switch (part.target.kind) {
    case PageTarget::Kind::kProcess:
      writer.add(part.target.position, bytes);
      break;
    case PageTarget::Kind::kDescriptor:
      write_at(part.target.descriptor, bytes, part.target.position, "shared memory", "cannot fill");
      break;
    case PageTarget::Kind::kMemory:
      std::memcpy(reinterpret_cast<void*>(part.target.position), bytes.data(), bytes.size());
      break;
    }
  }
  writer.flush();
}

} // namespace

void copy_pages(std::vector<PageCopy> copies, pid_t process, unsigned threads) {
  const Groups grouped = group_by_chunk(split_by_chunk(copies));
  const std::vector<std::span<const Part>>& groups = grouped.chunks;
  copies.clear();
  threads = threads == 0 ? available_processors() : threads;
  std::vector<std::vector<std::byte>> buffers(threads);
  parallel_for(groups.size(), threads, [&](std::uint64_t i, unsigned worker) {
    std::vector<std::byte>& chunk = buffers[worker];
    const Part& first = groups[i].front();
    chunk.resize(first.source->chunk(first.chunk).length);
    first.source->read_chunk(first.chunk, chunk);
    ProcessWriter writer(process);
    deliver(groups[i], chunk, writer);
  });
}

} // namespace rrpcp::process::restore
