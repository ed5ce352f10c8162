// How a process is made: its address space, descriptors, threads and everything else.
#pragma once

#include "process/restore/arena.h"
#include "process/restore/confinement.h"
#include "process/restore/credentials.h"
#include "process/restore/descriptor_set.h"
#include "process/restore/memory_objects.h"
#include "process/restore/obstacles.h"
#include "process/restore/op_list.h"
#include "process/restore/open_files.h"
#include "process/restore/space_plan.h"
#include "rrpcp/process/restore.h"
#include "rrpcp/reader.h"

#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace rrpcp::process::restore {

// What of a process is made again besides memory, threads and their registers. A replayer, which
// answers the system calls itself, needs little of it.
struct ProcessParts {
  // Process and thread ids. Needs CAP_CHECKPOINT_RESTORE.
  bool ids = true;
  // Descriptors, locks, working and root directory, umask.
  bool files = true;
  // Dispositions and pending signals.
  bool signals = true;
  bool timers = true;
  // Session and process group, user and capabilities, limits, personality and the attributes of
  // prctl(2).
  bool attributes = true;
  // Refuse a process that shares its memory with another one. Else the caller sees to those.
  bool own_memory = true;
};

// The work of the restorer for one process, compiled. Valid for one child.
struct CompiledProcess {
  std::unique_ptr<Arena> arena;
  restorer::Control* control = nullptr;
  // The leader's first, then one for each other task in the order of ProcessPlan::tasks().
  std::deque<OpList> lists;
  restorer::Thread* leader = nullptr;
  // In the leader's list: the operation that ends the rseq registration that it was born with. The
  // library fills it in once it can see the registration.
  std::size_t rseq_operation = 0;
  // In the leader's list: operations whose first argument is to become the id of the process.
  std::vector<std::size_t> own_id_operations;
  // In the leader's list: where each other task is created.
  std::vector<std::size_t> clone_operations;
  // For each task: how it is confined (seccomp(2)), which the library has it do at the end.
  std::vector<Confinement> confinements;
  // In the list of each task: the operation that reads the pointer to the critical section of its
  // rseq area before the registration clears it; nothing where it has none.
  std::vector<std::optional<std::size_t>> critical_sections;
};

// Offset of rseq_cs in struct rseq (linux/rseq.h).
inline constexpr std::uint64_t kRseqCriticalSection = 8;

// Stages of Control::permitted_stage and Control::stage.
enum ProcessStage : std::uint32_t {
  kStageReady = 1,  // reached: the process lets itself be traced
  kStageTraced = 1, // permitted: the library traces it
  kStageMapped = 2, // reached: all mappings are there
  kStageFilled = 2, // permitted: the library has copied everything
};

class ProcessPlan {
public:
  // Plans process `process` of the checkpoint, without touching anything but to read it; what
  // cannot be done is added to `obstacles`. All
  // references must outlive the plan. `files` may be null where parts.files is false.
  // `outlives_restorer`: the process is to live on after this one has ended: it gets a session of
  // its own, and no signal for its parent's death.
  ProcessPlan(const CheckpointReader& reader, std::uint32_t process, const MemoryObjects& objects,
              const OpenFiles* files, const RestoreOptions& options, const ProcessParts& parts,
              bool outlives_restorer, Obstacles& obstacles);

  // Indices into State.tasks: the leader first. Where the main thread has ended and ids do not
  // matter, another thread is the leader for the kernel.
  const std::vector<std::uint32_t>& tasks() const { return tasks_; }
  schema::Process::Reader process() const { return process_; }
  schema::Task::Reader task(std::size_t i) const { return state_.getTasks()[tasks_[i]]; }
  const ProcessParts& parts() const { return parts_; }
  const SpacePlan& space() const { return *space_; }

  // Lets the process and its threads have any ids.
  void give_up_ids() { parts_.ids = false; }

  // Takes the descriptors of what was opened and made: after MemoryObjects::acquire() and
  // OpenFiles::acquire(). The second call does nothing.
  void place_descriptors();
  // Writes the work down, for one child; after place_descriptors().
  CompiledProcess compile() const;

private:
  void find_tasks();
  void check_tasks(Obstacles& obstacles) const;
  void check_confinement(Obstacles& obstacles);
  void check_rseq(schema::Task::Reader task) const;
  void plan_credentials(Obstacles& obstacles);
  void open_directories(Obstacles& obstacles);
  void check_descriptor_limit(Obstacles& obstacles) const;
  std::uint64_t arena_size() const;
  void add_descriptor_moving_ops(OpList& ops) const;
  void add_directory_ops(OpList& ops) const;
  void add_disposition_ops(OpList& ops) const;
  void add_attribute_ops(OpList& ops) const;
  void add_limit_ops(OpList& ops) const;
  void add_timer_ops(OpList& ops) const;
  std::optional<std::size_t> add_thread_ops(OpList& ops, std::size_t index) const;
  void add_signal_ops(OpList& ops, capnp::List<schema::SignalInfo>::Reader signals,
                      bool process) const;

  const CheckpointReader& reader_;
  schema::State::Reader state_;
  schema::Process::Reader process_;
  const MemoryObjects& objects_;
  const OpenFiles* files_;
  const RestoreOptions& options_;
  ProcessParts parts_;
  bool outlives_restorer_;
  std::uint32_t process_index_;
  std::vector<std::uint32_t> tasks_;
  std::optional<SpacePlan> space_;
  std::vector<CredentialsPlan> credentials_; // by task; empty: those of the restorer stay
  ScopedFd working_directory_;
  ScopedFd root_directory_;
  std::optional<std::size_t> working_directory_index_;
  std::optional<std::size_t> root_directory_index_;
  DescriptorSet descriptors_;
  TableFiles table_files_;
  bool placed_ = false;
  bool confines_ = false; // threads are confined as they were
};

} // namespace rrpcp::process::restore
