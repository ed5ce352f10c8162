// The memory of a core file as mappings and runs.
#pragma once

#include "core/core_reader.h"
#include "rrpcp/interop/core_file.h"
#include "rrpcp/page_run.h"
#include "rrpcp/writer.h"

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

namespace rrpcp {

struct ImportedMapping {
  std::uint64_t start;
  std::uint64_t end;
  std::uint32_t protection;
  int file; // index into ImportedMemory::files; -1: none
  std::uint64_t offset;
  std::vector<PageRun> runs;
};

struct ImportedFile {
  std::string path;
  std::uint64_t size = 0; // of the file, or as far as the mappings reach
  std::int64_t modified = INT64_MIN;
  std::uint32_t mode = 0;
  std::vector<std::byte> build_id;
  struct Digest {
    std::uint64_t offset;
    std::uint64_t length;
    std::uint64_t high;
    std::uint64_t low;
  };
  std::vector<Digest> digests;
};

struct ImportedMemory {
  std::vector<ImportedMapping> mappings;
  std::vector<ImportedFile> files;
  std::uint64_t stored_pages = 0;
  std::uint64_t unknown_pages = 0;
};

// Appends the pages of the core to `writer`, and says where they and the others are.
ImportedMemory import_memory(const ByteSource& source, int fd, CoreContents& core,
                             const CoreImportOptions& options, CheckpointWriter& writer);

// The program counter and stack pointer of a thread's general registers.
std::uint64_t core_stack_pointer(const CoreLayout& layout, const CoreThread& thread);

} // namespace rrpcp
