// How an address space is made: which mappings, and how their pages get there.
#pragma once

#include "process/restore/descriptor_set.h"
#include "process/restore/memory_objects.h"
#include "process/restore/obstacles.h"
#include "process/restore/op_list.h"
#include "process/restore/page_copy.h"
#include "process/restore/special_mappings.h"
#include "rrpcp/process/restore.h"
#include "rrpcp/reader.h"

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace rrpcp::process::restore {

// The plan for one address space of a checkpoint. The constructor decides everything; the add_…
// methods write it down as work for the restorer, in the order in which they are declared. Knows
// nothing of processes: the same plan may be carried out in any number of children.
//
// Pages come by one of four ways (spec/restore.md, "Memory"): long rows of raw chunks are mapped
// from the checkpoint's file, short ones are read by the restorer, compressed chunks are decoded by
// the library (copies()), and what files still hold is mapped from them.
class SpacePlan {
public:
  // Throws Error(kDamaged) for a space that cannot be, adds what this machine cannot do to
  // `obstacles`. References must outlive the plan.
  SpacePlan(const CheckpointReader& reader, std::uint32_t space, const MemoryObjects& objects,
            const RestoreOptions& options, Obstacles& obstacles);

  // Adds the descriptors that mappings need.
  void add_descriptors(DescriptorSet& set);
  // Addresses of all mappings of the space, including those that the kernel provides.
  std::vector<MemoryRange> ranges() const;
  // Bytes that special mappings take while everything is rearranged.
  std::uint64_t parking_size() const;
  // An upper bound of the operations, for sizing the arena.
  std::size_t operation_bound() const;

  // Removes everything from the address space but the arena, moves the vDSO to its place and tells
  // the kernel where the program's areas are.
  void add_clearing_ops(OpList& ops, const DescriptorSet& set) const;
  // Makes all mappings, writable where bytes have to get into them.
  void add_mapping_ops(OpList& ops, const DescriptorSet& set) const;
  // What the library has to copy once the mappings are there.
  const std::vector<PageCopy>& copies() const { return copies_; }
  // Reads the short rows. May run while the library copies.
  void add_reading_ops(OpList& ops, const DescriptorSet& set) const;
  // Gives every mapping its final protection, advice, name and lock, once all bytes are in place.
  void add_finishing_ops(OpList& ops) const;

  // Parts of private anonymous memory that are mapped from the checkpoint's file.
  const std::vector<MemoryRange>& mapped_from_checkpoint() const { return mapped_from_file_; }

private:
  // A row of pages of one mapping.
  struct Piece {
    enum class Way {
      kMap,  // map from the checkpoint's file
      kRead, // read from the checkpoint's file
      kZero, // fill with zeros: what lies below is not zero
    } way;
    std::uint64_t address;
    std::uint64_t bytes;
    // In the checkpoint's file, or a base's.
    std::uint64_t file_offset;
    std::uint32_t file = 0;  // index in files_
    std::uint64_t first = 0; // page of that file's page stream
    bool read_over = false;  // kMap: other pages are read over some of it
  };
  struct PlannedMapping {
    MemoryRange range;
    std::uint32_t protection = 0;
    std::uint32_t maximum_protection = 0; // 0: not known
    std::uint32_t flags = 0;
    std::uint32_t advice = 0;
    std::uint16_t pkey = 0;
    std::string name;
    // Memory object; nothing: anonymous.
    std::optional<std::uint32_t> object;
    std::uint64_t object_offset = 0;
    bool needs_writing = false;
    bool locked_on_fault = false;
    bool droppable = false;
    bool sealed = false;
    schema::MemoryPolicy::Reader policy;
    std::vector<Piece> pieces;
    std::vector<MemoryRange> guards;
  };

  // The chunk of a file that was looked up last.
  struct LastChunk {
    std::uint64_t index = 0;
    std::optional<ChunkEntry> entry;
  };

  void check(schema::Mapping::Reader mapping, std::uint64_t previous_end,
             Obstacles& obstacles) const;
  PlannedMapping plan_mapping(schema::Mapping::Reader mapping);
  void plan_pages(PlannedMapping& planned, schema::Mapping::Reader mapping);
  void plan_stream(PlannedMapping& planned, std::uint64_t address, std::uint32_t file,
                   std::uint64_t first, std::uint64_t pages);
  // Valid until the next call.
  const ChunkEntry& chunk_of(std::uint32_t file, std::uint64_t index);
  void plan_raw(PlannedMapping& planned, std::uint64_t address, std::uint32_t file,
                std::uint64_t first, std::uint64_t bytes, std::uint64_t file_offset);
  void plan_copy(PlannedMapping& planned, std::uint64_t address, std::uint32_t file,
                 std::uint64_t first, std::uint64_t bytes);
  bool may_map_from_file(const PlannedMapping& planned, std::uint64_t bytes) const;
  void limit_mappings();
  void join_mapped(PlannedMapping& mapping) const;
  void copy_dense_reads();
  void plan_keys(Obstacles& obstacles);
  void add_segment_ops(OpList& ops) const;
  int descriptor_number(const PlannedMapping& mapping, const DescriptorSet& set) const;
  void add_layout_op(OpList& ops, const DescriptorSet& set) const;
  bool is_attachment(const PlannedMapping& mapping) const;
  OpFailure about(const char* doing, const PlannedMapping& mapping,
                  OpFailure::Policy policy = OpFailure::Policy::kFatal) const;

  const CheckpointReader& reader_;
  // That and its bases.
  std::vector<const CheckpointReader*> files_;
  std::vector<LastChunk> last_chunks_; // by file
  schema::State::Reader state_;
  schema::AddressSpace::Reader space_;
  const MemoryObjects& objects_;
  const RestoreOptions& options_;
  std::uint64_t page_size_;
  std::vector<SpecialMove> moves_;
  std::vector<MemoryRange> special_ranges_;
  std::vector<PlannedMapping> mappings_;
  std::vector<PageCopy> copies_;
  std::vector<MemoryRange> mapped_from_file_;
  unsigned highest_key_ = 0;

  // Indices in the DescriptorSet.
  std::vector<std::size_t> file_descriptors_; // by file
  std::optional<std::size_t> executable_descriptor_;
  std::vector<std::size_t> read_only_descriptors_; // by object
  std::vector<std::size_t> writable_descriptors_;
};

} // namespace rrpcp::process::restore
