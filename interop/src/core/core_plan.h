// What of an address space goes into a core file, and where.
#pragma once

#include "core/core_notes.h"
#include "model/backing_file.h"
#include "rrpcp/interop/core_file.h"
#include "rrpcp/interop/segments.h"

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

namespace rrpcp {

// A PT_LOAD segment: addresses, and whether the core has the bytes.
struct CorePiece {
  std::uint64_t start;
  std::uint64_t end;
  std::uint32_t flags; // PF_*
  bool stored;
};

// A row of bytes that has to be written: of the page stream (`object` is noIndex) or of a file.
struct CoreCopy {
  std::uint64_t address;
  std::uint64_t pages;
  std::uint64_t first; // page of the stream, or byte offset in the file
  std::uint32_t object;
  std::uint32_t base = schema::NO_INDEX; // whose page stream it is; noIndex: the file's own
};

struct CorePlan {
  std::vector<CorePiece> pieces; // by address
  std::vector<CoreCopy> copies;  // by address
  std::vector<CoreFileRow> files;
  std::vector<std::pair<std::uint64_t, std::uint64_t>> zero_ranges;
  std::vector<std::string> remarks;
};

// The files behind memory objects, opened and compared on first use.
class CoreFiles {
public:
  CoreFiles(schema::State::Reader state, BackingFiles files)
      : state_(state), files_(std::move(files)) {}

  // The file of an object; null where it is missing or not the one that was mapped, which
  // problem() then says.
  const BackingFile* find(std::uint32_t object);
  const std::string& problem(std::uint32_t object) { return entries_[object].problem; }

private:
  struct Entry {
    std::unique_ptr<BackingFile> file;
    std::string problem;
  };
  schema::State::Reader state_;
  BackingFiles files_;
  std::map<std::uint32_t, Entry> entries_;
};

// Throws Error(kBackingFile) where all pages of files are to be stored and one cannot be had.
CorePlan plan_core(schema::State::Reader state, schema::AddressSpace::Reader space,
                   CorePages file_pages, CoreFiles& files);

} // namespace rrpcp
