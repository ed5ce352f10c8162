// What the machine can do: plain copies, plain zstd, plain hashes.
#pragma once

#include "rrpcp/reader.h"
#include "subject_process.h"

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace rrpcp::bench {

// Reads these pieces of a process with process_vm_readv(2) into a small buffer and writes them with
// pwrite(2) into a new file, whose space is reserved first. Returns the nanoseconds until all is
// written and, after that, until fdatasync(2) has returned as well.
std::vector<std::uint64_t> copy_memory(pid_t pid, const std::vector<MemoryPiece>& pieces,
                                       const std::string& path);

// Reads these pieces of a copy of a process (fork(2)) by /proc/PID/mem, the one way to pages shared
// copy-on-write that leaves them shared, into a small buffer: the least that a capture of a process
// which goes on can take.
std::uint64_t read_copy(pid_t copy, const std::vector<MemoryPiece>& pieces);

// Compresses the chunks of the raw checkpoint, which lie in memory, with zstd at the level of the
// profile "default", on all processors. Nothing is kept.
std::uint64_t compress_chunks(const CheckpointReader& raw);

// What these bytes have when pieces of 256 KiB are compressed with zstd at that level.
std::uint64_t compressed_bytes(std::span<const std::byte> bytes);

// Decompresses all chunks, which lie in memory, on all processors into small reused buffers.
std::uint64_t decompress_chunks(const CheckpointReader& reader);

// The same into new memory, in pages of 4 KiB: the least that a restore can take which maps
// nothing.
std::uint64_t decompress_into_new_memory(const CheckpointReader& reader);

// Reads all chunks from the file with pread(2) into small reused buffers, decompresses those that
// are compressed, and computes XXH3-64 over the stored and, where they are others, the decoded
// bytes, on all processors.
std::uint64_t hash_chunks(const CheckpointReader& reader);

// Reads what the kernel tells of a process's mappings only by going through all of its pages:
// /proc/PID/smaps and, beside it, /proc/PID/numa_maps. The least that a capture can take of what
// little was written.
std::uint64_t read_mapping_files(pid_t pid);

// Copies so many pages from the file's beginning over a private mapping of the file, evenly
// scattered, on all processors: the least that a restore can take which maps a file under pages of
// others.
std::uint64_t copy_over_mapped(const CheckpointReader& file, std::uint64_t pages);

// Touches so many pages of new anonymous memory of `length` bytes, evenly scattered, on all
// processors: the least that pages of their own can take, whatever gets into them.
std::uint64_t touch_new_pages(std::uint64_t length, std::uint64_t pages);

// `criu dump --leave-running`, from its start to its end: everything is written then, and nothing
// synced. `directory` is made for it and removed.
std::uint64_t dump_by_criu(const std::string& criu, pid_t pid, const std::string& directory);

// Opens a file, reads its header, footer, and manifest, which lie at known places, and closes it.
std::uint64_t read_ends(const std::string& path, std::uint64_t manifest_offset,
                        std::uint64_t manifest_length);

// Reads the directory, and the first 256 and last 160 bytes of each file in it.
std::uint64_t read_headers(const std::string& directory);

} // namespace rrpcp::bench
