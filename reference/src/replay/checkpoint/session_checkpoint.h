// Checkpoints of a replay: a session saved at an event, and started from one.
#pragma once

#include "replay/checkpoint/process_group.h"
#include "replay/engine/replay_session.h"
#include "rrpcp/checkpoint_id.h"
#include "rrpcp/output.h"
#include "rrpcp/reader.h"
#include "rrpcp/store.h"
#include "rrpcp/writer.h"

#include <cstdint>
#include <memory>
#include <optional>
#include <string>

namespace rrpcp::replay {

// The directory of a trace's checkpoints.
Store checkpoint_store(const std::string& trace_directory);
// The same to write to. Throws Error where it is a symbolic link, which may lead anywhere.
Store writable_checkpoint_store(const std::string& trace_directory);

// Whether a checkpoint can be taken where the session stands: not before the first process was
// made, nor after the last one ended. If not, `reason` says why.
bool can_checkpoint(const ReplaySession& session, std::string& reason);

// A place on the way of a task to its event.
struct PlaceBetween {
  // Ranks the checkpoints that one pass made on this way, from 0.
  std::uint32_t order = 0;
  // That the task has executed on it. 0: not counted.
  std::uint64_t instructions = 0;
};

// What a checkpoint takes pages over from, where they are the same.
struct SeriesBase {
  // An earlier checkpoint in the store. It is not used where it cannot be. Empty: all memory is
  // stored.
  std::string path = {};
  // Nor where reading the result would mean decoding more than so many times the pages of a full
  // checkpoint. 0: whatever it costs.
  std::uint32_t most_decoded = 2;
};

// Saves the session in `store` and returns the file's path. The session goes on unharmed. Without
// `between` it stands at an event that is current and not yet applied; else its current task was
// stopped on the way there (ReplaySession::step_within). A checkpoint of the same event that is
// there already, whole and with its bases, stands for the new one. Throws Error: kUnsupportedState
// where none can be taken here, kNoSpace, …
std::string save_checkpoint(ReplaySession& session, const Store& store,
                            const WriterOptions& options = {},
                            std::optional<PlaceBetween> between = std::nullopt,
                            const SeriesBase& base = {});

// The same into any file, as one that needs no other: for comparisons. Throws Error.
CheckpointId write_checkpoint(ReplaySession& session, Output& output, const WriterOptions& options,
                              std::optional<PlaceBetween> between);

// A session that stands where `reader`'s was saved. The file is not needed any more afterwards.
// Throws Error: kForeignTrace, kUnsupportedState, kDamaged, kBackingFile, …
std::unique_ptr<ReplaySession> restore_session(const std::string& trace_directory,
                                               ReplayOptions options,
                                               const CheckpointReader& reader);

// The parts of restore_session, for those who make the processes in another way. Throws Error
// where the checkpoint is of another trace or producer.
void check_origin(const std::string& trace_directory, const CheckpointReader& reader);
GroupRestoreOptions group_options(const std::string& trace_directory);
// A session with the processes of `group`, which were made from `reader`; they are killed where
// that fails.
std::unique_ptr<ReplaySession> start_group(const std::string& trace_directory,
                                           ReplayOptions options, const CheckpointReader& reader,
                                           RestoredGroup group);

} // namespace rrpcp::replay
