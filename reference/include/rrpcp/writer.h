// Writing a checkpoint: one pass, into a file or a pipe.
#pragma once

#include "rrpcp/checkpoint_id.h"
#include "rrpcp/export.h"
#include "rrpcp/format.h"
#include "rrpcp/output.h"
#include "rrpcp/page_run.h"
#include "rrpcp/schema/manifest.capnp.h"

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string_view>
#include <vector>

namespace RRPCP_PUBLIC rrpcp {

// How chunks are stored. The profile never changes what is stored, nor the checkpoint id.
enum class Profile {
  kRaw,     // every chunk raw and page-aligned: a restore maps it from the file
  kFast,    // zstd level 1; chunks that do not shrink stay raw
  kDefault, // zstd level 3
  kSmall,   // zstd level 19
};

// "raw", "fast", "default", "small".
std::string_view profile_name(Profile profile);
// Throws Error(kInvalidArgument) for any other text, naming the four.
Profile parse_profile(std::string_view name);

struct WriterOptions {
  Profile profile = Profile::kDefault;
  // Threads that compress and hash, the caller's own not counted. 0: as many as processors are
  // available. The bytes written do not depend on it.
  unsigned threads = 0;
  // Store SHA-256 digests of the state and of every chunk too (spec/format.md, "Seal").
  bool seal = false;
};

// What the header holds besides constants; has to be known before the first page.
struct HeaderFields {
  TraceUuid trace_uuid;
  // Event of the stored state; 0 without a trace.
  std::int64_t event = 0;
  std::int64_t ticks = 0;
  // Event of the position that the checkpoint stands for; equals `event` but for kForwardTo.
  std::int64_t mark_event = 0;
  // Ticks there; equals `ticks` but for kForwardTo.
  std::int64_t mark_ticks = 0;
  // For kBetween.
  std::uint32_t order = 0;
  std::uint64_t instructions = 0;
  // Tid of the task that was current. 0: none or not recorded.
  std::int32_t current_task = 0;
  std::uint16_t position_kind = format::kPositionNone;
  // ELF e_machine, EI_CLASS, EI_DATA.
  std::uint16_t machine = 0;
  std::uint8_t elf_class = 0;
  std::uint8_t data_encoding = 0;
  // Bytes: a power of two from 4 KiB to 2 MiB.
  std::uint32_t page_size = 4096;
  // Pages per chunk; 0: 256 KiB of pages.
  std::uint32_t chunk_pages = 0;
  // Minor version of the format: the lowest one that defines all that is in the file; a copy keeps
  // that of its original. With base_runs at least format::kMinorOfBaseRuns.
  std::uint16_t minor = 0;
  // Runs may refer to base checkpoints (State.bases).
  bool base_runs = false;
  // Compatible feature bits; a copy of a newer file keeps those that may be kept.
  std::uint64_t compatible = 0;
};

// A page of a base checkpoint that may hold the same bytes as a page which is about to be stored.
struct BasePage {
  // Index of the base in State.bases.
  std::uint32_t source = 0;
  std::uint64_t page = 0; // of its page stream
  // Its bytes, a whole page; empty: there is no such page.
  std::span<const std::byte> bytes = {};
};

// What a copy of a file keeps of it without knowing what it is. Made by rewrite_checkpoint().
struct CarriedParts;

// The header fields that a state implies: machine, page size, position, trace.
HeaderFields header_fields(schema::State::Reader state);

// Writes one checkpoint:
//
//   CheckpointWriter writer(output, fields, options);
//   std::vector<PageRun> runs;
//   writer.append(pages, runs);          // as often as there are pages
//   … set the runs in a State message …
//   CheckpointId id = writer.finish(state, provenance);
//
// Memory stays bounded (some 40 MiB) whatever the number of pages; pages are shared with earlier
// equal ones within a bounded window of content, found by digests
// that depend on secrets which this writer alone has, so that nobody can make different pages look
// equal (spec/format.md, "Sharing of equal pages").
// Use from one thread at a time; the writer's own threads are not visible. A destroyed writer that
// was not finished leaves an incomplete file, which readers refuse as such.
class CheckpointWriter {
public:
  CheckpointWriter(Output& output, const HeaderFields& fields, const WriterOptions& options = {});
  // For a copy of a file: `carried` may be null; it must outlive the writer.
  CheckpointWriter(Output& output, const HeaderFields& fields, const WriterOptions& options,
                   const CarriedParts* carried);
  ~CheckpointWriter();
  CheckpointWriter(const CheckpointWriter&) = delete;
  CheckpointWriter& operator=(const CheckpointWriter&) = delete;

  // Stores `pages` (a whole number of pages) and appends the runs under which they are found to
  // `runs`. Zero pages become zero runs, a page that was stored before a reference to it.
  // Copies what it needs before it returns; `pages` may lie in room(). Throws Error from the
  // output.
  void append(std::span<const std::byte> pages, std::vector<PageRun>& runs);

  // The same for one page, with what a base has: where the bytes are equal, which is compared, a
  // reference to that page is all that is stored. The header's fields must have base_runs.
  void append(std::span<const std::byte> page, const BasePage& base, std::vector<PageRun>& runs);

  // Where the next pages would be copied to, at least one page: who reads pages from elsewhere
  // reads them into it and then appends them from there, in the order in which they lie there and
  // all before the next call of room(). What does not get stored makes room for what follows.
  std::span<std::byte> room();

  // Stores `pages` (a whole number of pages) at the end of the stream as they are, without looking
  // for zero or equal pages: for copying the page stream of another checkpoint.
  void append_stream(std::span<const std::byte> pages);

  // Pages in the stream so far.
  std::uint64_t page_count() const;

  // Writes chunk table, manifest and footer. `state.pageStream`, `.machine` must agree with the
  // header fields; pageStream.pageCount is set here. No call may follow.
  // Returns the checkpoint id. Does not sync the file.
  CheckpointId finish(schema::State::Builder state, schema::Provenance::Reader provenance);
  // The same with a whole manifest, which keeps fields of it that this release does not know.
  CheckpointId finish(schema::Manifest::Builder manifest);

private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

} // namespace rrpcp
