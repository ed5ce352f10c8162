#include "process/restore/space_plan.h"

#include "base/bytes.h"
#include "process/restore/file_identity.h"
#include "process/restore/kernel_attributes.h"
#include "process/restore/mapping_advice.h"
#include "process/restore/xsave_area.h"
#include "rrpcp/error.h"

#include <algorithm>
#include <cstdio>
#include <fcntl.h>
#include <linux/prctl.h>
#include <memory>
#include <span>
#include <sys/mman.h>
#include <sys/shm.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <tuple>
#include <unistd.h>
#include <utility>

#ifndef PR_SET_VMA
#define PR_SET_VMA 0x53564d41
#define PR_SET_VMA_ANON_NAME 0
#endif

namespace rrpcp::process::restore {

namespace {

// Pages of raw chunks in a row from which on they are mapped from the file. Mapping costs some
// 2 µs and reading some 0.7 µs a page, so below this reading is as fast and leaves fewer mappings.
constexpr std::uint64_t kLeastMappedPages = 4;
// The same for changed pages of a private file mapping, whose mapping should stay in one piece.
constexpr std::uint64_t kLeastMappedPagesOverFile = 64;
// Mappings that the process may still make, below the kernel's limit.
constexpr std::uint64_t kSpareMappings = 4096;
constexpr std::uint64_t kUsualMappingLimit = 65530; // vm.max_map_count
constexpr std::size_t kMaxPiecesOfRead = 1024;      // UIO_MAXIOV
// Pieces that are read over a file that is mapped, between two pieces of it.
constexpr std::size_t kMostReadBetween = 16;
// Ends of the user half: with four levels of page tables, and with five.
constexpr std::uint64_t kFourLevelEnd = 0x7ffffffff000;
constexpr std::uint64_t kFiveLevelEnd = 0xfffffffffff000;

constexpr std::uint32_t kTypeMask = 0xf; // MAP_TYPE
constexpr std::uint32_t kHugePageSizeMask = 0x3fu << 26;
// What is handed to mmap(2) again.
constexpr std::uint32_t kKeptFlags = MAP_GROWSDOWN | MAP_NORESERVE | MAP_STACK | MAP_HUGETLB;
// What says how the mapping was made, not what it is.
constexpr std::uint32_t kPassingFlags =
    MAP_FIXED | MAP_POPULATE | MAP_NONBLOCK | MAP_DENYWRITE | MAP_EXECUTABLE;
// linux/mman.h and asm/unistd.h, newer than some headers.
constexpr std::uint32_t kMapDroppable = 0x08;
constexpr long kMseal = 462;
constexpr int kGuardInstall = 102; // MADV_GUARD_INSTALL
constexpr std::uint32_t kProtectionMask = PROT_READ | PROT_WRITE | PROT_EXEC;

std::uint64_t mapping_limit() {
  struct Close {
    void operator()(std::FILE* file) const { std::fclose(file); }
  };
  std::unique_ptr<std::FILE, Close> file(std::fopen("/proc/sys/vm/max_map_count", "re"));
  unsigned long limit = 0;
  return file && std::fscanf(file.get(), "%lu", &limit) == 1 ? limit : kUsualMappingLimit;
}

// Whether the kernel has guard pages, found out in a page of our own.
bool has_guard_pages() {
  static const bool kHas = [] {
    const auto size = static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
    void* page = ::mmap(nullptr, size, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    const bool has = page != MAP_FAILED && ::madvise(page, size, kGuardInstall) == 0;
    if (page != MAP_FAILED) {
      ::munmap(page, size);
    }
    return has;
  }();
  return kHas;
}

bool is_kernels(schema::MappingRole role) {
  return role == schema::MappingRole::VDSO || role == schema::MappingRole::VVAR ||
         role == schema::MappingRole::VSYSCALL;
}

} // namespace

SpacePlan::SpacePlan(const CheckpointReader& reader, std::uint32_t space,
                     const MemoryObjects& objects, const RestoreOptions& options,
                     Obstacles& obstacles)
    : reader_(reader), state_(reader.state()), space_(state_.getAddressSpaces()[space]),
      objects_(objects), options_(options), page_size_(reader.header().page_size) {
  files_.push_back(&reader);
  for (std::size_t i = 0; i < reader.base_count(); ++i) {
    files_.push_back(&reader.base(i));
  }
  std::uint64_t end = 0;
  for (schema::Mapping::Reader mapping : space_.getMappings()) {
    check(mapping, end, obstacles);
    end = mapping.getEnd();
    const MemoryRange range{mapping.getStart(), mapping.getEnd()};
    if (is_kernels(mapping.getRole())) {
      if (mapping.getRole() != schema::MappingRole::VSYSCALL) {
        special_ranges_.push_back(range);
      }
      continue;
    }
    mappings_.push_back(plan_mapping(mapping));
  }
  try {
    MemoryView memory(reader, space, options.files);
    moves_ = plan_special_moves(space_, memory);
  } catch (const Error& error) {
    obstacles.add(error);
  }
  plan_keys(obstacles);
  const std::uint64_t limit = mapping_limit();
  if (mappings_.size() >= limit) {
    obstacles.add(ErrorCode::kUnsupportedState,
                  "the process has " + std::to_string(mappings_.size()) +
                      " mappings and the kernel allows " + std::to_string(limit) +
                      " (sysctl vm.max_map_count)");
  }
  limit_mappings();
}

void SpacePlan::check(schema::Mapping::Reader mapping, std::uint64_t previous_end,
                      Obstacles& obstacles) const {
  const MemoryRange range{mapping.getStart(), mapping.getEnd()};
  auto damaged = [&](const std::string& what) {
    return Error(ErrorCode::kDamaged, "mapping " + range_text(range) + ": " + what)
        .in_file(reader_.name())
        .with_hint("run pcp-validate on the file for the whole story");
  };
  if (range.start >= range.end || range.start % page_size_ != 0 || range.end % page_size_ != 0) {
    throw damaged("its bounds are no bounds of pages");
  }
  if (range.start < previous_end) {
    throw damaged("it overlaps the one before, or is not in order");
  }
  if (mapping.getRole() == schema::MappingRole::VSYSCALL) {
    return;
  }
  const std::uint32_t type = mapping.getFlags() & kTypeMask;
  if (type != MAP_SHARED && type != MAP_PRIVATE) {
    throw damaged("it is neither shared nor private");
  }
  if (mapping.getObjectOffset() % page_size_ != 0) {
    throw damaged("its offset is not a multiple of the page size");
  }
  if (!is_kernels(mapping.getRole())) {
    for (schema::PageRun::Reader run : mapping.getRuns()) {
      if (run.getKind() == schema::RunKind::UNKNOWN) {
        obstacles.add(ErrorCode::kUnsupportedState,
                      "mapping " + range_text(range) + " has pages whose contents are not stored");
        break;
      }
      if (run.getKind() == schema::RunKind::GUARD && !has_guard_pages()) {
        obstacles.add(ErrorCode::kUnsupportedState,
                      "mapping " + range_text(range) +
                          " has guard pages (madvise(2) MADV_GUARD_INSTALL), which this kernel "
                          "does not know (before Linux 6.13)");
        break;
      }
    }
  }
  const std::uint32_t unknown =
      (mapping.getFlags() &
       ~(kTypeMask | MAP_ANONYMOUS | MAP_LOCKED | kKeptFlags | kPassingFlags | kHugePageSizeMask)) |
      (mapping.getProtection() & ~kProtectionMask) | unknown_advice(mapping.getAdvice());
  if (unknown != 0 || mapping.getRole() > schema::MappingRole::REPLAYER) {
    obstacles.add(ErrorCode::kUnsupportedState,
                  "mapping " + range_text(range) +
                      " has properties that this version does not know");
  }
}

SpacePlan::PlannedMapping SpacePlan::plan_mapping(schema::Mapping::Reader mapping) {
  PlannedMapping planned;
  planned.range = {mapping.getStart(), mapping.getEnd()};
  planned.protection = mapping.getProtection();
  planned.maximum_protection = mapping.getMaximumProtection();
  planned.flags = mapping.getFlags();
  planned.advice = mapping.getAdvice();
  planned.pkey = mapping.getPkey();
  planned.locked_on_fault = mapping.getLockedOnFault();
  planned.droppable = mapping.getDroppable();
  planned.sealed = mapping.getSealed();
  planned.policy = mapping.getMemoryPolicy();
  planned.name = text_of(mapping.getName());
  if (mapping.getObject() != schema::NO_INDEX) {
    planned.object = mapping.getObject();
    planned.object_offset = mapping.getObjectOffset();
  }
  plan_pages(planned, mapping);
  return planned;
}

void SpacePlan::plan_pages(PlannedMapping& planned, schema::Mapping::Reader mapping) {
  std::uint64_t address = planned.range.start;
  for (schema::PageRun::Reader run : mapping.getRuns()) {
    const std::uint64_t left = (planned.range.end - address) / page_size_;
    const std::uint64_t pages = run.getPages();
    if (pages == 0 || pages > left) {
      throw Error(ErrorCode::kDamaged,
                  "the runs of mapping " + range_text(planned.range) + " are longer than it")
          .in_file(reader_.name());
    }
    const std::uint64_t bytes = pages * page_size_;
    switch (run.getKind()) {
    case schema::RunKind::ZERO:
      if (planned.object) { // private anonymous memory is zero by itself
        planned.pieces.push_back({Piece::Way::kZero, address, bytes, 0});
        planned.needs_writing = true;
      }
      break;
    case schema::RunKind::STREAM:
      plan_stream(planned, address, 0, run.getFirst(), pages);
      break;
    case schema::RunKind::BASE:
      if (run.getSource() >= files_.size() - 1) {
        throw Error(ErrorCode::kDamaged, "a run of mapping " + range_text(planned.range) +
                                             " refers to a base that is not listed")
            .in_file(reader_.name());
      }
      plan_stream(planned, address, run.getSource() + 1, run.getFirst(), pages);
      break;
    case schema::RunKind::GUARD:
      planned.guards.push_back({address, address + bytes});
      break;
    case schema::RunKind::BACKING:
      if (!planned.object) {
        throw Error(ErrorCode::kDamaged, "mapping " + range_text(planned.range) +
                                             " refers to a file that it does not have")
            .in_file(reader_.name());
      }
      break;
    default:
      throw Error(ErrorCode::kUnsupportedFeature,
                  "a run is of a kind that this program does not know")
          .in_file(reader_.name());
    }
    address += bytes;
  }
  if (mapping.getRuns().size() != 0 && address != planned.range.end) {
    throw Error(ErrorCode::kDamaged,
                "the runs of mapping " + range_text(planned.range) + " do not cover it")
        .in_file(reader_.name());
  }
}

void SpacePlan::plan_stream(PlannedMapping& planned, std::uint64_t address, std::uint32_t file,
                            std::uint64_t first, std::uint64_t pages) {
  const CheckpointReader& reader = *files_[file];
  const bool may_be_mapped = options_.lazy && reader.fd() >= 0;
  const std::uint64_t page_count = reader.footer().page_count;
  if (first > page_count || pages > page_count - first) {
    throw Error(ErrorCode::kDamaged, "a run of mapping " + range_text(planned.range) +
                                         " refers to pages beyond the end of the page stream")
        .in_file(reader_.name());
  }
  const std::uint64_t chunk_pages = reader.header().chunk_pages;
  while (pages > 0) {
    // A row of chunks that are all raw and lie next to each other, or all are not raw.
    const ChunkEntry entry = chunk_of(file, first / chunk_pages);
    const bool raw = entry.codec == format::kCodecRaw && may_be_mapped;
    const std::uint64_t skipped = first % chunk_pages;
    const std::uint64_t file_offset = entry.offset + skipped * page_size_;
    std::uint64_t row = std::min(pages, chunk_pages - skipped);
    while (row < pages) {
      const ChunkEntry next = chunk_of(file, (first + row) / chunk_pages);
      const bool next_raw = next.codec == format::kCodecRaw && may_be_mapped;
      if (next_raw != raw || (raw && next.offset != file_offset + row * page_size_)) {
        break;
      }
      row += std::min(pages - row, chunk_pages);
    }
    if (raw) {
      plan_raw(planned, address, file, first, row * page_size_, file_offset);
    } else {
      plan_copy(planned, address, file, first, row * page_size_);
    }
    address += row * page_size_;
    first += row;
    pages -= row;
  }
}

// Of a series, thousands of runs refer to the pages of one chunk one after the other.
const ChunkEntry& SpacePlan::chunk_of(std::uint32_t file, std::uint64_t index) {
  last_chunks_.resize(files_.size());
  LastChunk& last = last_chunks_[file];
  if (!last.entry || last.index != index) {
    last = {index, files_[file]->chunk(index)};
  }
  return *last.entry;
}

void SpacePlan::plan_copy(PlannedMapping& planned, std::uint64_t address, std::uint32_t file,
                          std::uint64_t first, std::uint64_t bytes) {
  copies_.push_back({files_[file], first, bytes, {PageTarget::Kind::kProcess, address, -1}});
  planned.needs_writing = true;
}

void SpacePlan::plan_raw(PlannedMapping& planned, std::uint64_t address, std::uint32_t file,
                         std::uint64_t first, std::uint64_t bytes, std::uint64_t file_offset) {
  if (file_offset % page_size_ != 0) {
    plan_copy(planned, address, file, first, bytes);
    return;
  }
  // The last page of anonymous memory stays anonymous: if the program lets the mapping grow
  // (mremap(2), brk(2), a stack), it grows by anonymous memory and not by what follows in the file.
  std::uint64_t mapped = bytes;
  if (!planned.object && address + bytes == planned.range.end) {
    mapped -= page_size_;
  }
  if (may_map_from_file(planned, mapped)) {
    planned.pieces.push_back({Piece::Way::kMap, address, mapped, file_offset, file, first});
  } else {
    mapped = 0;
  }
  if (mapped < bytes) {
    planned.pieces.push_back({Piece::Way::kRead, address + mapped, bytes - mapped,
                              file_offset + mapped, file, first + mapped / page_size_});
    planned.needs_writing = true;
  }
}

bool SpacePlan::may_map_from_file(const PlannedMapping& planned, std::uint64_t bytes) const {
  if (planned.droppable || (planned.flags & (MAP_GROWSDOWN | MAP_HUGETLB | MAP_LOCKED)) != 0 ||
      needs_anonymous_memory(planned.advice)) {
    return false;
  }
  return bytes >= page_size_ * (planned.object ? kLeastMappedPagesOverFile : kLeastMappedPages);
}

// Turns the shortest mapped pieces into read ones, until the process stays clear of the kernel's
// limit of mappings.
void SpacePlan::limit_mappings() {
  std::vector<Piece*> mapped;
  for (PlannedMapping& mapping : mappings_) {
    for (Piece& piece : mapping.pieces) {
      if (piece.way == Piece::Way::kMap) {
        mapped.push_back(&piece);
      }
    }
  }
  // A piece adds itself and what it cuts off.
  const std::uint64_t limit = mapping_limit();
  const std::uint64_t used = mappings_.size() + kSpareMappings;
  const std::uint64_t room = used < limit ? (limit - used) / 2 : 0;
  if (mapped.size() > room) {
    std::sort(mapped.begin(), mapped.end(),
              [](const Piece* a, const Piece* b) { return a->bytes > b->bytes; });
    for (std::size_t i = room; i < mapped.size(); ++i) {
      mapped[i]->way = Piece::Way::kRead;
    }
  }
  for (PlannedMapping& mapping : mappings_) {
    join_mapped(mapping);
    for (const Piece& piece : mapping.pieces) {
      if (piece.way == Piece::Way::kMap) {
        mapped_from_file_.push_back({piece.address, piece.address + piece.bytes});
      } else {
        mapping.needs_writing = true;
      }
    }
  }
  copy_dense_reads();
}

// Where most of a chunk is to be read, all processors take part, and it is verified, as what has to
// be decoded is: reading chunks of which little is needed would take longer than the new process
// does alone.
void SpacePlan::copy_dense_reads() {
  std::vector<std::vector<std::uint64_t>> read(files_.size()); // bytes, by file and chunk
  const auto read_of = [&](const Piece& piece) -> std::uint64_t& {
    return read[piece.file][piece.first / files_[piece.file]->header().chunk_pages];
  };
  for (const PlannedMapping& mapping : mappings_) {
    for (const Piece& piece : mapping.pieces) {
      if (piece.way == Piece::Way::kRead) {
        read[piece.file].resize(files_[piece.file]->chunk_count());
        read_of(piece) += piece.bytes;
      }
    }
  }
  for (std::size_t file = 0; file < read.size(); ++file) {
    for (std::size_t chunk = 0; chunk < read[file].size(); ++chunk) {
      std::uint64_t& bytes = read[file][chunk];
      if (bytes != 0 && bytes * 2 < files_[file]->chunk(chunk).length) {
        bytes = 0; // stays as it is
      }
    }
  }
  for (PlannedMapping& mapping : mappings_) {
    std::erase_if(mapping.pieces, [&](const Piece& piece) {
      if (piece.way != Piece::Way::kRead || read_of(piece) == 0) {
        return false;
      }
      plan_copy(mapping, piece.address, piece.file, piece.first, piece.bytes);
      return true;
    });
  }
}

// Of a series, pages of later files lie scattered between those of an early one, which has former
// pages in their places. Rather than in many pieces, that one is mapped as a whole, and the few
// pages are read over it: a page takes a fraction of a mapping.
void SpacePlan::join_mapped(PlannedMapping& mapping) const {
  std::vector<Piece>& pieces = mapping.pieces;
  std::vector<Piece> kept;
  kept.reserve(pieces.size());
  for (std::size_t i = 0; i < pieces.size();) {
    Piece whole = pieces[i];
    std::size_t end = i + 1;         // of what `whole` covers
    std::vector<Piece> over, so_far; // what is read over it; before the next piece of its own
    std::uint64_t address = whole.address + whole.bytes;
    for (std::size_t k = end; whole.way == Piece::Way::kMap && k < pieces.size(); ++k) {
      const Piece& next = pieces[k];
      if (next.address != address || next.way == Piece::Way::kZero) {
        break;
      }
      address += next.bytes;
      // The last page of anonymous memory stays anonymous, as plan_raw() has it.
      const bool is_last = !mapping.object && address == mapping.range.end;
      if (!is_last && next.file == whole.file &&
          next.file_offset - whole.file_offset == next.address - whole.address) {
        whole.bytes = address - whole.address;
        over.insert(over.end(), so_far.begin(), so_far.end());
        whole.read_over = !over.empty();
        so_far.clear();
        end = k + 1;
      } else if (next.way == Piece::Way::kRead && so_far.size() < kMostReadBetween) {
        so_far.push_back(next);
      } else {
        break;
      }
    }
    kept.push_back(whole);
    kept.insert(kept.end(), over.begin(), over.end());
    i = end;
  }
  pieces = std::move(kept);
}

void SpacePlan::plan_keys(Obstacles& obstacles) {
  for (const PlannedMapping& mapping : mappings_) {
    highest_key_ = std::max<unsigned>(highest_key_, mapping.pkey);
  }
  constexpr std::uint64_t kPkru = 1u << 9;
  constexpr unsigned kKeys = 16;
  if (highest_key_ >= kKeys) {
    throw Error(ErrorCode::kDamaged, "a mapping has protection key " + std::to_string(highest_key_))
        .in_file(reader_.name());
  }
  if (highest_key_ != 0 && (own_xsave_layout().features & kPkru) == 0) {
    obstacles.add(ErrorCode::kUnsupportedState,
                  "this processor or kernel lacks memory protection keys, which mappings use");
  }
}

void SpacePlan::add_descriptors(DescriptorSet& set) {
  file_descriptors_.clear();
  for (const CheckpointReader* file : files_) {
    file_descriptors_.push_back(file->fd() >= 0 ? set.add(file->fd()) : 0);
  }
  std::vector<bool> used(objects_.size());
  for (const PlannedMapping& mapping : mappings_) {
    if (mapping.object) {
      used[*mapping.object] = true;
    }
  }
  read_only_descriptors_.resize(objects_.size());
  writable_descriptors_.resize(objects_.size());
  for (std::size_t i = 0; i < objects_.size(); ++i) {
    if (!used[i] || objects_.descriptor(i, false) < 0) {
      continue;
    }
    read_only_descriptors_[i] = set.add(objects_.descriptor(i, false));
    writable_descriptors_[i] = read_only_descriptors_[i];
    if (objects_.descriptor(i, true) != objects_.descriptor(i, false)) {
      writable_descriptors_[i] = set.add(objects_.descriptor(i, true));
    }
  }
  if (space_.getExecutable() != schema::NO_INDEX && space_.getExecutable() < objects_.size() &&
      objects_.descriptor(space_.getExecutable(), false) >= 0) {
    executable_descriptor_ = set.add(objects_.descriptor(space_.getExecutable(), false));
  }
}

std::vector<MemoryRange> SpacePlan::ranges() const {
  std::vector<MemoryRange> all = special_ranges_;
  for (const PlannedMapping& mapping : mappings_) {
    all.push_back(mapping.range);
  }
  return all;
}

std::uint64_t SpacePlan::parking_size() const {
  std::uint64_t size = 0;
  for (const SpecialMove& move : moves_) {
    size += move.from.length();
  }
  return size;
}

std::size_t SpacePlan::operation_bound() const {
  std::size_t bound = 64 + 2 * moves_.size();
  for (const PlannedMapping& mapping : mappings_) {
    bound += 8 + 2 * mapping.pieces.size();
  }
  return bound;
}

void SpacePlan::add_clearing_ops(OpList& ops, const DescriptorSet& set) const {
  const MemoryRange arena = ops.arena().range();
  std::uint64_t parked = ops.arena().parking();
  for (const SpecialMove& move : moves_) {
    ops.system_call({"moving the kernel's mapping", move.name}, SYS_mremap, move.from.start,
                    move.from.length(), move.from.length(), MREMAP_MAYMOVE | MREMAP_FIXED, parked);
    parked += move.from.length();
  }
  ops.system_call({"clearing the address space"}, SYS_munmap, 0, ops.arena().parking());
  if (parked != arena.start) {
    ops.system_call({"clearing the address space"}, SYS_munmap, parked, arena.start - parked);
  }
  ops.system_call({"clearing the address space"}, SYS_munmap, arena.end, kFourLevelEnd - arena.end);
  ops.system_call({"clearing the address space", "", OpFailure::Policy::kIgnore}, SYS_munmap,
                  kFourLevelEnd, kFiveLevelEnd - kFourLevelEnd);
  parked = ops.arena().parking();
  for (const SpecialMove& move : moves_) {
    ops.system_call({"moving the kernel's mapping", move.name}, SYS_mremap, parked,
                    move.from.length(), move.from.length(), MREMAP_MAYMOVE | MREMAP_FIXED, move.to);
    parked += move.from.length();
  }
  for (int key = 1; highest_key_ != 0 && key < 16; ++key) { // those of this process, inherited
    ops.system_call({"freeing a protection key", "", OpFailure::Policy::kIgnore}, SYS_pkey_free,
                    key);
  }
  for (unsigned key = 0; key < highest_key_; ++key) { // gives 1, 2, …
    ops.system_call({"getting a protection key"}, SYS_pkey_alloc, 0, 0);
  }
  add_layout_op(ops, set);
}

// Before anything of the program is mapped: the kernel does not change the executable while the
// former one is mapped, and both may be the same file.
void SpacePlan::add_layout_op(OpList& ops, const DescriptorSet& set) const {
  if (!space_.hasLayout()) {
    return;
  }
  schema::MemoryLayout::Reader layout = space_.getLayout();
  std::vector<__u64> auxv;
  for (schema::AuxiliaryEntry::Reader entry : space_.getAuxv()) {
    auxv.push_back(entry.getType());
    auxv.push_back(entry.getValue());
  }
  auxv.resize(auxv.size() + 2);
  prctl_mm_map map{};
  map.start_code = layout.getStartCode();
  map.end_code = layout.getEndCode();
  map.start_data = layout.getStartData();
  map.end_data = layout.getEndData();
  map.start_brk = layout.getStartBrk();
  map.brk = layout.getBrk();
  map.start_stack = layout.getStartStack();
  map.arg_start = layout.getArgStart();
  map.arg_end = layout.getArgEnd();
  map.env_start = layout.getEnvStart();
  map.env_end = layout.getEnvEnd();
  map.auxv = ops.arena().place_array(std::span<const __u64>(auxv));
  map.auxv_size = static_cast<std::uint32_t>(auxv.size() * sizeof(std::uint64_t));
  map.exe_fd = UINT32_MAX;
  ops.system_call({"telling the kernel where the program's areas are (heap, stack, arguments)", "",
                   OpFailure::Policy::kWarn},
                  SYS_prctl, PR_SET_MM, PR_SET_MM_MAP, ops.arena().place(map), sizeof map, 0);
  if (executable_descriptor_) {
    map.exe_fd = static_cast<std::uint32_t>(set.number(*executable_descriptor_));
    ops.system_call(
        {"telling the kernel the program's file (/proc/PID/exe)", "", OpFailure::Policy::kWarn},
        SYS_prctl, PR_SET_MM, PR_SET_MM_MAP, ops.arena().place(map), sizeof map, 0);
  }
}

// A System V segment is attached; private mappings of one are made like those of any object.
bool SpacePlan::is_attachment(const PlannedMapping& mapping) const {
  return mapping.object && (mapping.flags & kTypeMask) == MAP_SHARED &&
         objects_.kind(*mapping.object) == MemoryObjects::Kind::kSystemV;
}

// What operations on the whole of `mapping` are about.
OpFailure SpacePlan::about(const char* doing, const PlannedMapping& mapping,
                           OpFailure::Policy policy) const {
  return {doing, mapping.name.empty() ? "memory" : mapping.name, policy, mapping.range};
}

int SpacePlan::descriptor_number(const PlannedMapping& mapping, const DescriptorSet& set) const {
  if (!mapping.object) {
    return -1;
  }
  const bool shared = (mapping.flags & kTypeMask) == MAP_SHARED;
  const std::uint32_t maximum = mapping.protection | mapping.maximum_protection;
  const bool writable = shared && (maximum & PROT_WRITE) != 0;
  return set.number(writable ? writable_descriptors_[*mapping.object]
                             : read_only_descriptors_[*mapping.object]);
}

// System V segments can only be attached as a whole: that comes first, so that what was mapped over
// parts of them replaces these, and what was unmapped is unmapped again.
void SpacePlan::add_segment_ops(OpList& ops) const {
  struct Attachment {
    std::uint32_t object;
    std::uint64_t base;
    bool writable;
    std::vector<MemoryRange> kept;
  };
  std::vector<Attachment> attachments;
  for (const PlannedMapping& mapping : mappings_) {
    if (!is_attachment(mapping)) {
      continue;
    }
    if (mapping.range.start < mapping.object_offset) {
      throw Error(ErrorCode::kDamaged,
                  "the offset of the mapping at " + range_text(mapping.range) + " is too large")
          .in_file(reader_.name());
    }
    const std::uint64_t base = mapping.range.start - mapping.object_offset;
    auto same = std::find_if(attachments.begin(), attachments.end(), [&](const Attachment& a) {
      return a.object == *mapping.object && a.base == base;
    });
    if (same == attachments.end()) {
      same = attachments.insert(same, {*mapping.object, base, false, {}});
    }
    same->writable |= ((mapping.protection | mapping.maximum_protection) & PROT_WRITE) != 0;
    same->kept.push_back(mapping.range);
  }
  for (const Attachment& attachment : attachments) {
    ops.system_call({"attaching", objects_.name(attachment.object)}, SYS_shmat,
                    objects_.segment_id(attachment.object), attachment.base,
                    SHM_REMAP | (attachment.writable ? 0 : SHM_RDONLY));
    std::uint64_t from = attachment.base;
    const std::uint64_t end = attachment.base + objects_.length(attachment.object);
    for (const MemoryRange& kept : attachment.kept) { // in order of address
      if (from < kept.start) {
        ops.system_call({"unmapping a part of", objects_.name(attachment.object)}, SYS_munmap, from,
                        kept.start - from);
      }
      from = kept.end;
    }
    if (from < end) {
      ops.system_call({"unmapping a part of", objects_.name(attachment.object)}, SYS_munmap, from,
                      end - from);
    }
  }
}

void SpacePlan::add_mapping_ops(OpList& ops, const DescriptorSet& set) const {
  add_segment_ops(ops);
  for (const PlannedMapping& mapping : mappings_) {
    if (is_attachment(mapping)) {
      continue;
    }
    std::uint32_t flags = (mapping.flags & kTypeMask) | (mapping.flags & kKeptFlags) | MAP_FIXED;
    if ((mapping.flags & MAP_HUGETLB) != 0) {
      flags |= mapping.flags & kHugePageSizeMask;
    }
    if (!mapping.object) {
      flags |= MAP_ANONYMOUS;
    }
    if (mapping.droppable) {
      flags = (flags & ~kTypeMask) | kMapDroppable;
    }
    const std::uint32_t protection =
        mapping.needs_writing ? mapping.protection | PROT_WRITE : mapping.protection;
    ops.system_call(about("mapping", mapping), SYS_mmap, mapping.range.start,
                    mapping.range.length(), protection, flags, descriptor_number(mapping, set),
                    mapping.object_offset);
    if (mapping.policy.getMode() != 0) {
      add_memory_policy_op(ops, mapping.policy, mapping.range);
    }
    if ((mapping.advice & kAdviceBeforeFilling) != 0) {
      add_advice_ops(ops, mapping.range.start, mapping.range.length(),
                     mapping.advice & kAdviceBeforeFilling);
    }
    for (const Piece& piece : mapping.pieces) {
      if (piece.way == Piece::Way::kMap) {
        ops.system_call({"mapping from the checkpoint",
                         "",
                         OpFailure::Policy::kFatal,
                         {piece.address, piece.address + piece.bytes}},
                        SYS_mmap, piece.address, piece.bytes,
                        piece.read_over ? protection : mapping.protection,
                        MAP_PRIVATE | MAP_FIXED | (mapping.flags & MAP_NORESERVE),
                        set.number(file_descriptors_[piece.file]), piece.file_offset);
      }
    }
  }
}

void SpacePlan::add_reading_ops(OpList& ops, const DescriptorSet& set) const {
  std::vector<const Piece*> reads;
  for (const PlannedMapping& mapping : mappings_) {
    for (const Piece& piece : mapping.pieces) {
      if (piece.way == Piece::Way::kZero) {
        ops.add({"clearing",
                 "",
                 OpFailure::Policy::kFatal,
                 {piece.address, piece.address + piece.bytes}},
                restorer::OpKind::kZero, piece.address, piece.bytes);
      } else if (piece.way == Piece::Way::kRead) {
        reads.push_back(&piece);
      }
    }
  }
  // In the order of the files: of a series, those of one file lie scattered between others.
  std::sort(reads.begin(), reads.end(), [](const Piece* a, const Piece* b) {
    return std::tie(a->file, a->file_offset) < std::tie(b->file, b->file_offset);
  });
  std::vector<iovec> pieces;
  std::uint32_t file = 0;
  std::uint64_t file_start = 0;
  std::uint64_t bytes = 0;
  auto flush = [&] {
    const int fd = set.number(file_descriptors_[file]);
    if (pieces.size() == 1) {
      ops.add({"reading pages of the checkpoint"}, restorer::OpKind::kRead, fd, pieces[0].iov_base,
              bytes, file_start);
    } else if (!pieces.empty()) {
      ops.add({"reading pages of the checkpoint"}, restorer::OpKind::kReadVector, fd,
              ops.arena().place_array(std::span<const iovec>(pieces)), pieces.size(), file_start,
              bytes);
    }
    pieces.clear();
    bytes = 0;
  };
  for (const Piece* piece : reads) {
    if (pieces.size() == kMaxPiecesOfRead || piece->file != file ||
        piece->file_offset != file_start + bytes) {
      flush();
    }
    if (pieces.empty()) {
      file = piece->file;
      file_start = piece->file_offset;
    }
    pieces.push_back({reinterpret_cast<void*>(piece->address), piece->bytes});
    bytes += piece->bytes;
  }
  flush();
}

void SpacePlan::add_finishing_ops(OpList& ops) const {
  for (const PlannedMapping& mapping : mappings_) {
    const std::uint64_t start = mapping.range.start;
    const std::uint64_t length = mapping.range.length();
    const bool segment = is_attachment(mapping);
    if (mapping.pkey != 0) {
      ops.system_call(about("protecting", mapping), SYS_pkey_mprotect, start, length,
                      mapping.protection, mapping.pkey);
    } else if (segment || (mapping.needs_writing && (mapping.protection & PROT_WRITE) == 0)) {
      ops.system_call(about("protecting", mapping), SYS_mprotect, start, length,
                      mapping.protection);
    }
    add_advice_ops(ops, start, length, mapping.advice & ~kAdviceBeforeFilling);
    constexpr std::string_view kAnonPrefix = "[anon:";
    if (mapping.name.starts_with(kAnonPrefix) && mapping.name.ends_with("]")) {
      const std::string name =
          mapping.name.substr(kAnonPrefix.size(), mapping.name.size() - kAnonPrefix.size() - 1);
      ops.system_call(about("naming", mapping, OpFailure::Policy::kIgnore), SYS_prctl, PR_SET_VMA,
                      PR_SET_VMA_ANON_NAME, start, length, ops.arena().place_string(name));
    }
    for (const MemoryRange& guard : mapping.guards) { // not in locked memory: before it is locked
      ops.system_call({"installing guard pages", "", OpFailure::Policy::kFatal, guard}, SYS_madvise,
                      guard.start, guard.length(), kGuardInstall);
    }
    if ((mapping.flags & MAP_LOCKED) != 0) {
      ops.system_call(about("locking", mapping, OpFailure::Policy::kWarn), SYS_mlock2, start,
                      length, mapping.locked_on_fault ? MLOCK_ONFAULT : 0);
    }
  }
  for (const PlannedMapping& mapping : mappings_) { // after all that changes a mapping
    if (mapping.sealed) {
      ops.system_call(about("sealing", mapping), kMseal, mapping.range.start,
                      mapping.range.length(), 0);
    }
  }
}

} // namespace rrpcp::process::restore
