// Executing a task's own instructions between two events with an exact count of them.
#pragma once

#include "replay/engine/replay_session.h"
#include "replay/travel/counted_code.h"

#include <array>
#include <atomic>
#include <cstdint>
#include <functional>
#include <limits>
#include <memory>
#include <optional>

namespace rrpcp::replay {

inline constexpr std::uint64_t kNoLimit = std::numeric_limits<std::int64_t>::max();

struct CountedOutcome {
  enum class End {
    kLimit,
    // At the instruction by which the event comes about, which is not executed. (A system call, an
    // instruction that the recorder carried out, or one that faults.)
    kEvent,
    kAddress,
    // Where the general registers are those of CountedSites::met; the instruction is not executed.
    kMet,
    kWatched,
    kAccessed,
    kInterrupted,
  };
  End end = End::kLimit;
  // Instructions since the run began.
  std::uint64_t executed = 0;
  // kAddress, kWatched, kAccessed: index in the sites.
  std::size_t site = 0;
  // With CountedSites::record: the latest finding within the limit, and how many there were.
  struct Finding {
    std::uint64_t executed = 0; // before it (an address), with it (bytes)
    End what = End::kAddress;
    std::size_t site = 0;
  };
  std::optional<Finding> last;
  std::uint64_t findings = 0;
};

// Runs the task of a session's current event, which has_way() and has not arrived. Code that cannot
// change is executed from counted copies (CountedCode), other code in single steps. Use from the
// tracing thread; the session is not to be used otherwise while this object lives.
class CountedRun {
public:
  CountedRun(ReplaySession& session, CountedSites sites);
  ~CountedRun();
  CountedRun(const CountedRun&) = delete;
  CountedRun& operator=(const CountedRun&) = delete;

  // Goes on for at most `limit` instructions. An address where it stands at the beginning is not
  // found. Watched bytes are compared with what they are at the beginning. Throws Error.
  CountedOutcome run(std::uint64_t limit, const std::atomic<bool>* interrupt = nullptr);
  // Takes what is ours out of the process. The destructor does it too.
  void leave();
  const CountedSites& sites() const { return sites_; }
  // Goes on with the session's current event, whose task is of the same process. Code and mappings
  // must be as they were.
  void go_on();
  // Whether code that was copied lies there.
  bool touches(std::uint64_t address, std::uint64_t length) const {
    return code_ && code_->touches(address, length);
  }

private:
  enum class Stepped { kDone, kEvent };
  bool enter();
  void set_variable(std::uint32_t offset, std::uint64_t value);
  std::uint64_t variable(std::uint32_t offset);
  std::uint64_t value_of(const WatchedBytes& watched);
  bool at_event_instruction();
  Stepped step();
  // Runs copies from the task's position; false where its instruction has to be stepped.
  bool run_copies(std::uint64_t& left, CountedOutcome& outcome, bool first, bool& ended);
  void reset_code();

  // Of the accessed bytes, those that the instruction where the task stands reads or writes.
  std::optional<std::size_t> accessed_here();

  ReplaySession& session_;
  pid_t tid_;
  CountedSites sites_;
  process::Tracee* tracee_;
  process::RemoteMemory* memory_;
  std::unique_ptr<CountedCode> code_;
  std::uint64_t base_ = 0; // 0: nothing is mapped
  bool cannot_ = false;
  std::vector<process::ProcMapping> mappings_;
};

// The general registers in the order of their numbers in instructions.
std::array<std::uint64_t, 16> numbered_registers(const user_regs_struct& registers);

// Whether the instruction at which the current event's task stands is a string instruction that
// repeats itself: it may have been interrupted in the middle.
bool stands_at_repeating(ReplaySession& session);

// Executes one instruction natively; a string instruction as a whole. False: it is the one by which
// the event comes about, and was not executed.
bool step_natively(ReplaySession& session);

} // namespace rrpcp::replay
