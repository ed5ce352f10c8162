// A directory of checkpoints. There is no index: the directory is the index.
#pragma once

#include "rrpcp/checkpoint_id.h"
#include "rrpcp/error.h"
#include "rrpcp/export.h"
#include "rrpcp/output.h"
#include "rrpcp/reader.h"
#include "rrpcp/writer.h"

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

namespace RRPCP_PUBLIC rrpcp {

// One file of the directory that has the name of a checkpoint.
struct StoreEntry {
  std::string path;
  std::uint64_t file_size = 0;
  Header header;
  // From the footer; nothing where the file is not a whole checkpoint.
  std::optional<CheckpointId> id;
  // Why the file cannot be used: incomplete, damaged, a newer format. Empty: it can.
  std::optional<Error> problem;
};

// What to look for with choose_best.
struct Target {
  // Only checkpoints whose state lies at or before this event are considered.
  std::int64_t event = 0;
  // Only those of this trace; nil: any.
  TraceUuid trace = {};
};

// A directory. Holds no open descriptor and no state but the path: any number of processes and
// threads may list, publish and remove at the same time.
class Store {
public:
  // The directory need not exist; publish makes it.
  explicit Store(std::string directory);

  const std::string& directory() const { return directory_; }

  // Every *.pcp file, ordered by position (event, then place within the event, then id). Reads
  // header and footer only. Files that vanish meanwhile are left out. Throws Error where the
  // directory cannot be read; a missing directory is an empty one.
  std::vector<StoreEntry> list() const;

  // The last usable entry of `entries` (as list() gives them) at or before the target.
  static const StoreEntry* choose_best(const std::vector<StoreEntry>& entries,
                                       const Target& target);

  // Writes a checkpoint atomically: `write` gets an Output on an unnamed file, and returns the id
  // from CheckpointWriter::finish; then the file is synced and linked under file_name(). Where a
  // file of that name is there already, it is read: one with the same content is kept and the call
  // succeeds, a damaged one is replaced, and beside a whole one with other content the new one gets
  // a name of its own ("…-2.pcp"). Returns the path.
  std::string publish(const HeaderFields& fields,
                      const std::function<CheckpointId(Output&)>& write) const;

  // Unlinks the file; true where it was there. Readers that have it open keep it.
  bool remove(const std::string& file_name) const;

  // "<event, 20 digits>-<id, 32 hex digits>.pcp".
  static std::string file_name(std::int64_t event, const CheckpointId& id);

private:
  std::string directory_;
};

// What became of a checkpoint that was to be published.
struct PublishedCheckpoint {
  std::string path;
  CheckpointId id;
  std::uint64_t bytes = 0;
  // A file with the same content was there already; `path` is that one.
  bool existed = false;
};

// Store::publish() with the event instead of all fields. `verify`, where given, gets the file
// before it has a name, and throws where it is not as it should be. `instead`, where given, is
// asked before it gets one, by one publisher of the directory at a time (flock(2) on it): the path
// of a file that does as well, for which the new one is dropped.
PublishedCheckpoint
publish_checkpoint(const std::string& directory, std::int64_t event,
                   const std::function<CheckpointId(Output&)>& write,
                   const std::function<void(const CheckpointReader&)>& verify,
                   const std::function<std::optional<std::string>()>& instead = {});

// The path of an undamaged checkpoint of the directory that was taken at the same place of the same
// trace, with all its bases; nothing: there is none.
std::optional<std::string> find_same_place(const std::string& directory,
                                           const HeaderFields& fields);

// Publishes a checkpoint that takes over pages of others as one that needs no other file
// (flatten_checkpoint()). Before it appears, its state and every byte of its memory are compared
// with those of `checkpoint`.
PublishedCheckpoint publish_flattened(const CheckpointReader& checkpoint,
                                      const std::string& directory, const WriterOptions& options);

// Which checkpoints of a directory prune_checkpoints() keeps, besides those that these need.
struct PruneOptions {
  // Of checkpoints that lie less than so many events behind the last one that is kept (which the
  // first one is), none. 0: all. Does not concern checkpoints without a trace.
  std::int64_t spacing = 0;
  // None whose file was written longer ago than so many seconds. 0: all.
  std::int64_t max_age = 0;
  // As many as take no more than so many bytes with what they need: the oldest (by the time when
  // they were written) go first. 0: all.
  std::uint64_t max_bytes = 0;
  // Tell what would be removed, and remove nothing.
  bool dry_run = false;
};

// What became of one checkpoint of the directory.
struct PruneEntry {
  enum class Fate {
    kKept,
    kNeeded,  // would go, but a checkpoint that is kept takes over pages of it
    kInUse,   // would go, but somebody is just making a checkpoint that takes over pages of it
    kRemoved, // or would be, with dry_run
    kUnknown, // cannot be read by this program, and so is neither removed nor what it may need
  };
  std::string path;
  std::uint64_t bytes = 0;
  std::int64_t event = 0;
  std::optional<CheckpointId> id;
  Fate fate = Fate::kKept;
};

// Removes checkpoints of a directory, never one that another one needs which stays. What depends on
// another one goes first and for certain (the directory is synced), so that at every instant and
// after every crash everything that is there can be read. May run beside any readers, writers and
// others of its kind: a checkpoint that is just being written keeps its base (spec/series.md,
// "Removing"). While there are checkpoints that cannot be read (a newer format), nothing that they
// might need is removed. In the order of Store::list(). Throws Error.
std::vector<PruneEntry> prune_checkpoints(const std::string& directory,
                                          const PruneOptions& options);

// The same for one file of a name of the caller's choice: `path` names the old file or the whole
// new one at every instant, whatever happens (rename(2), or linkat(2) where `replace` is false and
// then kExists is thrown for an existing path). Leaves no temporary file behind, and removes those
// that killed writers left for the same path.
void write_file_atomically(const std::string& path, bool replace,
                           const std::function<void(Output&)>& write);

} // namespace rrpcp
