// Persistent checkpoints of rr's own, unversioned generations: finding, reading, importing into the
// current format and writing back (spec/legacy-rr.md). Part of the library rrpcp_compat.
#pragma once

#include "rrpcp/checkpoint_id.h"
#include "rrpcp/compat/rr_trace.h"
#include "rrpcp/error.h"
#include "rrpcp/export.h"
#include "rrpcp/output.h"
#include "rrpcp/reader.h"
#include "rrpcp/validate.h"
#include "rrpcp/writer.h"

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace RRPCP_PUBLIC rrpcp {

// Older representations of a checkpoint, oldest first.
enum class Generation { kRr2022, kRr2024, kRr2025 };

// "rr-2022", "rr-2024", "rr-2025".
std::string_view generation_name(Generation generation);

// A checkpoint of an older generation as it was found on disk, readable or not.
struct LegacyEntry {
  Generation generation = Generation::kRr2025;
  // Name of its directory (rr-2025) or file (rr-2022, rr-2024) in the trace.
  std::string name;
  // The file that holds its message.
  std::string path;
  // Directory of its page files.
  std::string page_directory;
  // Place in the index file (rr-2022, rr-2024).
  std::uint32_t index_position = 0;
  // From the message, where it could be read; else from the name. 0: unknown.
  std::int64_t event = 0;
  std::uint64_t id = 0;
  // Why it cannot be used, with its diagnostic code. Nothing: its message can be read.
  std::optional<Error> problem;
};

class LegacyCheckpoint;

// A trace directory with what rr's work left in it. Immutable after open; may be used from several
// threads.
class LegacyTrace {
public:
  // Finds the checkpoints of every generation and decides by content which one an index file is
  // of. Throws Error for a trace that cannot be read; a checkpoint that cannot be is an entry with
  // a problem.
  static LegacyTrace open(const std::string& directory, const RrTraceLimits& limits = {});

  const RrTrace& trace() const;
  // Ordered by event.
  const std::vector<LegacyEntry>& entries() const;
  // About the directory as a whole: an index that fits no generation, files that belong to none.
  const std::vector<Finding>& findings() const;
  // Reads the message of an entry and looks at its page files. Throws Error with a diagnostic
  // code where the message is unusable; what is wrong with page files is told by findings().
  LegacyCheckpoint load(const LegacyEntry& entry) const;

  struct Impl;

private:
  explicit LegacyTrace(std::shared_ptr<const Impl> impl);
  std::shared_ptr<const Impl> impl_;
};

// One checkpoint of an older generation, its message decoded and checked, its page files found.
// Immutable; may be used from several threads.
class LegacyCheckpoint {
public:
  const LegacyEntry& entry() const;
  const RrTrace& trace() const;

  // Of the stored state.
  std::int64_t event() const;
  std::int64_t ticks() const;
  std::uint32_t task_count() const;
  std::uint32_t address_space_count() const;
  std::uint32_t mapping_count() const;
  // Bytes on disk: the message and all page files.
  std::uint64_t stored_bytes() const;

  // Everything that is wrong with its page files and worth knowing about it; an error among them
  // means that it cannot be imported.
  const std::vector<Finding>& findings() const;
  bool importable() const;

  struct Impl;
  explicit LegacyCheckpoint(std::shared_ptr<const Impl> impl);
  const Impl& impl() const { return *impl_; }

private:
  std::shared_ptr<const Impl> impl_;
};

struct ImportOptions {
  WriterOptions writer;
  // Store the contents of mapped files too, so that the checkpoint needs none of them.
  bool embed_files = false;
  // Name and time of this machine are left out of the provenance, for reproducible files.
  bool reproducible = false;
  // Called now and then with bytes of page files read and to be read in all.
  std::function<void(std::uint64_t done, std::uint64_t total)> progress;
};

struct ImportResult {
  CheckpointId id;
  // Things worth knowing: shared memory that differs between processes, a cursor that could not be
  // computed.
  std::vector<Finding> findings;
};

// The header of the file that an import writes.
HeaderFields import_header(const LegacyCheckpoint& legacy);

// Writes `legacy` as a checkpoint of the current format to `output`. Throws Error for a checkpoint
// that is not importable, for page files that changed since, and from the output.
ImportResult import_checkpoint(const LegacyCheckpoint& legacy, Output& output,
                               const ImportOptions& options = {});

// Reads an imported file back and compares it with its origin: every field of the message, and
// every byte of every page file. Throws Error(kInternal) naming the first difference. `progress` as
// in ImportOptions.
void verify_import(const LegacyCheckpoint& legacy, const CheckpointReader& imported,
                   const std::function<void(std::uint64_t, std::uint64_t)>& progress = {});

struct PublishedImport {
  // The file, in the directory asked for.
  std::string path;
  CheckpointId id;
  std::uint64_t bytes = 0;
  // The same checkpoint was there already and is intact.
  bool existed = false;
  std::vector<Finding> findings;
};

// Imports `legacy` into a file of `directory` (made if need be) as Store::publish does, but reads
// it back and compares it (verify_import) before it gets its name.
PublishedImport publish_import(const LegacyCheckpoint& legacy, const std::string& directory,
                               const ImportOptions& options = {});

// The same for a checkpoint of the current format: writes it anew, with another profile or by a
// newer release. Fields that this release does not know are kept, and so is the id. `minor`: the
// minor version that the header is to state (rewrite_checkpoint()); nothing: the file's own.
PublishedImport publish_rewrite(const CheckpointReader& checkpoint, const std::string& directory,
                                const WriterOptions& options = {},
                                std::optional<std::uint16_t> minor = std::nullopt);

// Removes checkpoints of an older generation from their trace: first what makes them visible, in
// one step, then their page files; and what an interrupted removal left behind (with no `entries`
// nothing else). Interrupted, it leaves no half checkpoint. Entries must be of `trace`. Several
// processes may do it at once. Throws Error; what was removed until then is gone.
void remove_legacy(const LegacyTrace& trace, const std::vector<LegacyEntry>& entries);

// Directory in an rr trace that holds checkpoints of the current format. rr takes names that begin
// with "checkpoint" for its own.
inline constexpr std::string_view kTraceStoreName = "pcp";

struct ExportResult {
  // The directory that was made.
  std::string directory;
  std::uint64_t bytes = 0;
  std::uint32_t page_files = 0;
  // What the generation has no place for and was left out; one sentence each.
  std::vector<std::string> losses;
};

struct ExportOptions {
  // Called now and then with bytes of page files done and to be done in all; writing is the first
  // half of the work, reading back the second.
  std::function<void(std::uint64_t done, std::uint64_t total)> progress;
};

// Writes a checkpoint as a directory "checkpoint-<event>" of generation rr-2025 into the trace it
// belongs to. It is read back and compared before it gets that name, so the directory appears whole
// or not at all. Throws Error: kForeignTrace for another
// trace, kExists for a directory that is there, kUnsupportedState listing everything that the
// generation cannot say and that a replay would miss.
ExportResult export_rr2025(const CheckpointReader& checkpoint, const std::string& trace_directory,
                           const ExportOptions& options = {});

} // namespace rrpcp
