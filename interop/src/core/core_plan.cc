#include "core/core_plan.h"

#include "rrpcp/error.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <elf.h>
#include <limits.h>
#include <set>
#include <string_view>

namespace rrpcp {

namespace {

// Rows of zeros from this length on are not even holes of the core: processes reserve terabytes.
constexpr std::uint64_t kLargeZeros = std::uint64_t{256} << 20;

class Planner {
public:
  Planner(schema::State::Reader state, CorePages file_pages, CoreFiles& files)
      : state_(state), page_size_(page_size_of(state)), file_pages_(file_pages), files_(files) {}

  void add(schema::Mapping::Reader mapping) {
    new_mapping_ = true;
    flags_ = segment_flags(mapping.getProtection());
    const bool file = is_file(mapping.getObject());
    const BackingFile* backing = file ? files_.find(mapping.getObject()) : nullptr;
    if (backing != nullptr) {
      list_file(mapping, *backing);
    }
    bool lacking = false;
    for (const Segment& row : segments_of(state_, mapping)) {
      const std::uint64_t start = mapping.getStart() + row.page * page_size_;
      const std::uint64_t end = start + row.pages * page_size_;
      switch (row.source) {
      case Source::kStream:
        piece(start, end, true);
        plan_.copies.push_back({start, row.pages, row.first, schema::NO_INDEX, row.base});
        break;
      case Source::kZero:
        // Where a file is behind, a reader of the core would take the bytes from there.
        if (!file && end - start >= kLargeZeros) {
          piece(start, end, false);
          plan_.zero_ranges.emplace_back(start, end);
        } else {
          piece(start, end, true);
        }
        break;
      case Source::kFile:
        if (backing == nullptr) {
          lacking = true;
        } else {
          file_row(row, start, end, *backing);
        }
        break;
      default:
        // Not stored, not to be accessed, or nothing there: a segment would claim zeros.
        break;
      }
    }
    if (lacking) {
      lack(mapping);
    }
  }

  CorePlan take() { return std::move(plan_); }

private:
  static std::uint32_t segment_flags(std::uint32_t protection) {
    return ((protection & 1) != 0 ? PF_R : 0) | ((protection & 2) != 0 ? PF_W : 0) |
           ((protection & 4) != 0 ? PF_X : 0);
  }

  bool is_file(std::uint32_t object) const {
    return object < state_.getMemoryObjects().size() && state_.getMemoryObjects()[object].isFile();
  }

  void piece(std::uint64_t start, std::uint64_t end, bool stored) {
    if (!plan_.pieces.empty()) {
      CorePiece& last = plan_.pieces.back();
      if (last.end == start && last.flags == flags_ && last.stored == stored && !new_mapping_) {
        last.end = end;
        return;
      }
    }
    new_mapping_ = false;
    plan_.pieces.push_back({start, end, flags_, stored});
  }

  void list_file(schema::Mapping::Reader mapping, const BackingFile& backing) {
    // The name that the process saw, unless another file has it now.
    std::string path = backing.path();
    if (path.empty() || path[0] != '/') {
      std::array<char, PATH_MAX> real;
      if (::realpath(path.c_str(), real.data()) != nullptr) {
        path = real.data();
      }
    }
    plan_.files.push_back({mapping.getStart(), mapping.getEnd(), mapping.getObjectOffset(), path});
  }

  void file_row(const Segment& row, std::uint64_t start, std::uint64_t end,
                const BackingFile& backing) {
    std::uint64_t stored = 0; // pages
    if (file_pages_ == CorePages::kAll) {
      stored = row.pages;
    } else if (file_pages_ == CorePages::kHeaders && row.first == 0 && begins_as_elf(backing)) {
      stored = 1;
    }
    if (stored != 0) {
      piece(start, start + stored * page_size_, true);
      plan_.copies.push_back({start, stored, row.first, row.object});
    }
    if (stored != row.pages) {
      piece(start + stored * page_size_, end, false);
    }
  }

  static bool begins_as_elf(const BackingFile& backing) {
    std::array<std::byte, SELFMAG> magic;
    backing.read(0, magic);
    return std::memcmp(magic.data(), ELFMAG, SELFMAG) == 0;
  }

  void lack(schema::Mapping::Reader mapping) {
    const std::string problem = files_.problem(mapping.getObject());
    if (file_pages_ == CorePages::kAll) {
      throw Error(ErrorCode::kBackingFile, "its pages cannot be stored: " + problem);
    }
    if (told_.insert(mapping.getObject()).second) {
      plan_.remarks.push_back("memory from this file is missing in the core: " + problem);
    }
  }

  schema::State::Reader state_;
  std::uint64_t page_size_;
  CorePages file_pages_;
  CoreFiles& files_;
  CorePlan plan_;
  std::uint32_t flags_ = 0;
  std::set<std::uint32_t> told_;
  bool new_mapping_ = true; // segments of two mappings are not joined
};

} // namespace

const BackingFile* CoreFiles::find(std::uint32_t object) {
  const auto [it, fresh] = entries_.try_emplace(object);
  if (fresh) {
    try {
      const schema::FileIdentity::Reader identity = state_.getMemoryObjects()[object].getFile();
      it->second.file = std::make_unique<BackingFile>(identity, files_);
    } catch (const Error& error) {
      it->second.problem =
          error.file().empty() ? error.message() : error.file() + ": " + error.message();
    }
  }
  return it->second.file.get();
}

CorePlan plan_core(schema::State::Reader state, schema::AddressSpace::Reader space,
                   CorePages file_pages, CoreFiles& files) {
  Planner planner(state, file_pages, files);
  for (const schema::Mapping::Reader mapping : space.getMappings()) {
    planner.add(mapping);
  }
  return planner.take();
}

} // namespace rrpcp
