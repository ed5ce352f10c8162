#include "baselines.h"

#include "base/hash.h"
#include "base/page_buffer.h"
#include "base/scoped_fd.h"
#include "measure.h"
#include "process/proc_file.h"
#include "rrpcp/error.h"

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <dirent.h>
#include <fcntl.h>
#include <filesystem>
#include <future>
#include <memory>
#include <span>
#include <spawn.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>
#include <zstd.h>

namespace rrpcp::bench {

namespace {

constexpr std::size_t kFileBuffer = 256u << 10;
// Level of the profile "default" (include/rrpcp/writer.h).
constexpr int kDefaultLevel = 3;

ScopedFd open_file(const std::string& path) {
  ScopedFd file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!file) {
    throw system_error(errno, "cannot open").in_file(path);
  }
  return file;
}

void read_at(int fd, std::uint64_t offset, std::span<std::byte> out) {
  if (::pread(fd, out.data(), out.size(), static_cast<off_t>(offset)) !=
      static_cast<ssize_t>(out.size())) {
    throw system_error(errno, "cannot read");
  }
}

// A file of a reader, all of it in memory and mapped.
class WholeFile {
public:
  explicit WholeFile(const CheckpointReader& reader) : length_(reader.file_size()) {
    base_ = ::mmap(nullptr, length_, PROT_READ, MAP_SHARED | MAP_POPULATE, reader.fd(), 0);
    if (base_ == MAP_FAILED) {
      throw system_error(errno, "cannot map").in_file(reader.name());
    }
  }
  ~WholeFile() { ::munmap(base_, length_); }
  WholeFile(const WholeFile&) = delete;
  WholeFile& operator=(const WholeFile&) = delete;

  const std::byte* at(std::uint64_t offset) const {
    return static_cast<const std::byte*>(base_) + offset;
  }

private:
  void* base_;
  std::size_t length_;
};

std::vector<ChunkEntry> chunk_table(const CheckpointReader& reader) {
  std::vector<ChunkEntry> chunks;
  for (std::uint64_t i = 0; i < reader.chunk_count(); ++i) {
    chunks.push_back(reader.chunk(i));
  }
  return chunks;
}

struct FreeContext {
  void operator()(ZSTD_CCtx* context) const { ZSTD_freeCCtx(context); }
  void operator()(ZSTD_DCtx* context) const { ZSTD_freeDCtx(context); }
};

void check(std::size_t zstd_result) {
  if (ZSTD_isError(zstd_result)) {
    throw Error(ErrorCode::kInternal, ZSTD_getErrorName(zstd_result));
  }
}

} // namespace

std::vector<std::uint64_t> copy_memory(pid_t pid, const std::vector<MemoryPiece>& pieces,
                                       const std::string& path) {
  std::uint64_t total = 0;
  for (const MemoryPiece& piece : pieces) {
    total += piece.length;
  }
  const std::uint64_t begin = now();
  ScopedFd file(::open(path.c_str(), O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600));
  if (!file || ::fallocate(file.get(), 0, 0, static_cast<off_t>(total)) != 0) {
    throw system_error(errno, "cannot create").in_file(path);
  }
  const PageBuffer buffer(kFileBuffer); // as fast as it goes
  std::uint64_t offset = 0;
  for (MemoryPiece piece : pieces) {
    while (piece.length > 0) {
      iovec local{buffer.data(), std::min<std::uint64_t>(piece.length, buffer.size())};
      iovec remote{reinterpret_cast<void*>(piece.address), local.iov_len};
      const ssize_t n = ::process_vm_readv(pid, &local, 1, &remote, 1, 0);
      if (n <= 0 || ::pwrite(file.get(), buffer.data(), static_cast<std::size_t>(n),
                             static_cast<off_t>(offset)) != n) {
        throw system_error(errno, "cannot copy memory").in_file(path);
      }
      offset += static_cast<std::uint64_t>(n);
      piece.address += static_cast<std::uint64_t>(n);
      piece.length -= static_cast<std::uint64_t>(n);
    }
  }
  const std::uint64_t written = now() - begin;
  if (::fdatasync(file.get()) != 0) {
    throw system_error(errno, "cannot sync").in_file(path);
  }
  return {written, now() - begin};
}

std::uint64_t read_copy(pid_t copy, const std::vector<MemoryPiece>& pieces) {
  const std::string path = "/proc/" + std::to_string(copy) + "/mem";
  const ScopedFd memory(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  const PageBuffer buffer(kFileBuffer);
  const std::uint64_t begin = now();
  for (MemoryPiece piece : pieces) {
    while (piece.length > 0) {
      const ssize_t n =
          ::pread(memory.get(), buffer.data(), std::min<std::uint64_t>(piece.length, buffer.size()),
                  static_cast<off_t>(piece.address));
      if (n <= 0) {
        throw system_error(errno, "cannot read").in_file(path);
      }
      piece.address += static_cast<std::uint64_t>(n);
      piece.length -= static_cast<std::uint64_t>(n);
    }
  }
  return now() - begin;
}

std::uint64_t compress_chunks(const CheckpointReader& raw) {
  const WholeFile file(raw);
  const std::vector<ChunkEntry> chunks = chunk_table(raw);
  const std::uint64_t begin = now();
  std::vector<std::unique_ptr<ZSTD_CCtx, FreeContext>> contexts(processors());
  std::vector<std::vector<std::byte>> buffers(processors());
  on_all_processors(chunks.size(), [&](std::uint64_t i, unsigned worker) {
    if (contexts[worker] == nullptr) {
      contexts[worker].reset(ZSTD_createCCtx());
      buffers[worker].resize(ZSTD_compressBound(chunks[0].length));
    }
    check(ZSTD_compressCCtx(contexts[worker].get(), buffers[worker].data(), buffers[worker].size(),
                            file.at(chunks[i].offset), chunks[i].length, kDefaultLevel));
  });
  return now() - begin;
}

std::uint64_t compressed_bytes(std::span<const std::byte> bytes) {
  constexpr std::size_t kPiece = 256 << 10;
  std::vector<std::byte> buffer(ZSTD_compressBound(kPiece));
  std::uint64_t sum = 0;
  for (; !bytes.empty(); bytes = bytes.subspan(std::min(kPiece, bytes.size()))) {
    const std::size_t n = ZSTD_compress(buffer.data(), buffer.size(), bytes.data(),
                                        std::min(kPiece, bytes.size()), kDefaultLevel);
    check(n);
    sum += n;
  }
  return sum;
}

std::uint64_t decompress_chunks(const CheckpointReader& reader) {
  const WholeFile file(reader);
  const std::vector<ChunkEntry> chunks = chunk_table(reader);
  const std::uint64_t begin = now();
  std::vector<std::unique_ptr<ZSTD_DCtx, FreeContext>> contexts(processors());
  std::vector<std::vector<std::byte>> buffers(processors());
  on_all_processors(chunks.size(), [&](std::uint64_t i, unsigned worker) {
    if (contexts[worker] == nullptr) {
      contexts[worker].reset(ZSTD_createDCtx());
      buffers[worker].resize(chunks[0].length);
    }
    const ChunkEntry& chunk = chunks[i];
    if (chunk.codec == format::kCodecRaw) {
      std::copy_n(file.at(chunk.offset), chunk.length, buffers[worker].data());
      return;
    }
    check(ZSTD_decompressDCtx(contexts[worker].get(), buffers[worker].data(), chunk.length,
                              file.at(chunk.offset), chunk.stored_length));
  });
  return now() - begin;
}

std::uint64_t decompress_into_new_memory(const CheckpointReader& reader) {
  const WholeFile file(reader);
  const std::vector<ChunkEntry> chunks = chunk_table(reader);
  const std::uint64_t step = chunks[0].length;
  const std::uint64_t begin = now();
  void* memory = ::mmap(nullptr, chunks.size() * step, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory == MAP_FAILED || ::madvise(memory, chunks.size() * step, MADV_NOHUGEPAGE) != 0) {
    throw system_error(errno, "cannot get memory");
  }
  std::vector<std::unique_ptr<ZSTD_DCtx, FreeContext>> contexts(processors());
  on_all_processors(chunks.size(), [&](std::uint64_t i, unsigned worker) {
    if (contexts[worker] == nullptr) {
      contexts[worker].reset(ZSTD_createDCtx());
    }
    auto* const out = static_cast<std::byte*>(memory) + i * step;
    const ChunkEntry& chunk = chunks[i];
    if (chunk.codec == format::kCodecRaw) {
      std::copy_n(file.at(chunk.offset), chunk.length, out);
      return;
    }
    check(ZSTD_decompressDCtx(contexts[worker].get(), out, chunk.length, file.at(chunk.offset),
                              chunk.stored_length));
  });
  const std::uint64_t taken = now() - begin;
  ::munmap(memory, chunks.size() * step);
  return taken;
}

std::uint64_t read_mapping_files(pid_t pid) {
  const std::uint64_t begin = now();
  const auto read = [&](const char* name) {
    process::read_proc_file(process::proc_path(pid, name));
  };
  std::future<void> policies = std::async(std::launch::async, read, "numa_maps");
  read("smaps");
  try {
    policies.get();
  } catch (const Error&) {
    // A kernel without CONFIG_NUMA.
  }
  return now() - begin;
}

std::uint64_t copy_over_mapped(const CheckpointReader& file, std::uint64_t pages) {
  constexpr std::uint64_t kPage = 4096;
  constexpr std::uint64_t kAtOnce = 512;
  const std::uint64_t length = file.file_size();
  const std::uint64_t distance = length / kPage / pages * kPage;
  void* memory =
      ::mmap(nullptr, length, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_NORESERVE, file.fd(), 0);
  if (memory == MAP_FAILED || distance == 0) {
    throw system_error(errno, "cannot map").in_file(file.name());
  }
  const std::uint64_t begin = now();
  on_all_processors((pages + kAtOnce - 1) / kAtOnce, [&](std::uint64_t i, unsigned) {
    std::vector<iovec> pieces;
    for (std::uint64_t page = i * kAtOnce; page < std::min(pages, (i + 1) * kAtOnce); ++page) {
      pieces.push_back({static_cast<std::byte*>(memory) + page * distance, kPage});
    }
    if (::preadv(file.fd(), pieces.data(), static_cast<int>(pieces.size()),
                 static_cast<off_t>(i * kAtOnce * kPage)) < 0) {
      throw system_error(errno, "cannot read").in_file(file.name());
    }
  });
  const std::uint64_t taken = now() - begin;
  ::munmap(memory, length);
  return taken;
}

std::uint64_t touch_new_pages(std::uint64_t length, std::uint64_t pages) {
  constexpr std::uint64_t kPage = 4096;
  constexpr std::uint64_t kAtOnce = 512;
  const std::uint64_t distance = length / kPage / pages * kPage;
  void* memory = ::mmap(nullptr, length, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory == MAP_FAILED || distance == 0 || ::madvise(memory, length, MADV_NOHUGEPAGE) != 0) {
    throw system_error(errno, "cannot get memory");
  }
  const std::uint64_t begin = now();
  on_all_processors((pages + kAtOnce - 1) / kAtOnce, [&](std::uint64_t i, unsigned) {
    for (std::uint64_t page = i * kAtOnce; page < std::min(pages, (i + 1) * kAtOnce); ++page) {
      static_cast<volatile char*>(memory)[page * distance] = 1;
    }
  });
  const std::uint64_t taken = now() - begin;
  ::munmap(memory, length);
  return taken;
}

std::uint64_t dump_by_criu(const std::string& criu, pid_t pid, const std::string& directory) {
  std::filesystem::create_directory(directory);
  const std::string process = std::to_string(pid);
  const char* const arguments[] = {
      criu.c_str(),      "dump",        "-t",  process.c_str(), "-D", directory.c_str(),
      "--leave-running", "--shell-job", "-v0", nullptr};
  const std::uint64_t begin = now();
  pid_t child = 0;
  int status = 0;
  const int error = ::posix_spawnp(&child, criu.c_str(), nullptr, nullptr,
                                   const_cast<char* const*>(arguments), environ);
  if (error != 0 || ::waitpid(child, &status, 0) != child || status != 0) {
    throw system_error(error, "CRIU cannot dump the process").in_file(criu);
  }
  const std::uint64_t taken = now() - begin;
  std::filesystem::remove_all(directory);
  return taken;
}

std::uint64_t hash_chunks(const CheckpointReader& reader) {
  const std::vector<ChunkEntry> chunks = chunk_table(reader);
  const std::uint64_t begin = now();
  struct Worker {
    std::unique_ptr<ZSTD_DCtx, FreeContext> context;
    std::vector<std::byte> stored;
    std::vector<std::byte> decoded;
  };
  std::vector<Worker> workers(processors());
  on_all_processors(chunks.size(), [&](std::uint64_t i, unsigned worker) {
    Worker& mine = workers[worker];
    if (mine.context == nullptr) {
      mine.context.reset(ZSTD_createDCtx());
      mine.stored.resize(chunks[0].length);
      mine.decoded.resize(chunks[0].length);
    }
    const ChunkEntry& chunk = chunks[i];
    const std::span<std::byte> stored = std::span(mine.stored).first(chunk.stored_length);
    read_at(reader.fd(), chunk.offset, stored);
    bool right = xxh3_64(stored) == chunk.stored_checksum;
    if (chunk.codec != format::kCodecRaw) {
      check(ZSTD_decompressDCtx(mine.context.get(), mine.decoded.data(), chunk.length,
                                stored.data(), stored.size()));
      right = right && xxh3_64(std::span(mine.decoded).first(chunk.length)) == chunk.checksum;
    }
    if (!right) {
      throw Error(ErrorCode::kDamaged, "a checksum is wrong").in_file(reader.name());
    }
  });
  return now() - begin;
}

std::uint64_t read_ends(const std::string& path, std::uint64_t manifest_offset,
                        std::uint64_t manifest_length) {
  std::vector<std::byte> manifest(manifest_length);
  std::byte header[format::kHeaderSize];
  std::byte footer[format::kFooterSize];
  const std::uint64_t begin = now();
  ScopedFd file = open_file(path);
  struct stat status;
  ::fstat(file.get(), &status);
  read_at(file.get(), 0, header);
  read_at(file.get(), static_cast<std::uint64_t>(status.st_size) - sizeof footer, footer);
  read_at(file.get(), manifest_offset, manifest);
  file.reset();
  return now() - begin;
}

std::uint64_t read_headers(const std::string& directory) {
  std::byte header[format::kHeaderSize];
  std::byte footer[format::kFooterSize];
  const std::uint64_t begin = now();
  std::unique_ptr<DIR, int (*)(DIR*)> entries(::opendir(directory.c_str()), &::closedir);
  if (entries == nullptr) {
    throw system_error(errno, "cannot read").in_file(directory);
  }
  while (const dirent* entry = ::readdir(entries.get())) {
    if (entry->d_type != DT_REG) {
      continue;
    }
    ScopedFd file(::openat(::dirfd(entries.get()), entry->d_name, O_RDONLY | O_CLOEXEC));
    struct stat status;
    ::fstat(file.get(), &status);
    read_at(file.get(), 0, header);
    read_at(file.get(), static_cast<std::uint64_t>(status.st_size) - sizeof footer, footer);
  }
  return now() - begin;
}

} // namespace rrpcp::bench
