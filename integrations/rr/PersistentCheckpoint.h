/* -*- Mode: C++; tab-width: 8; c-basic-offset: 2; indent-tabs-mode: nil; -*- */

#ifndef RR_PERSISTENT_CHECKPOINT_H_
#define RR_PERSISTENT_CHECKPOINT_H_

#include <stddef.h>
#include <stdint.h>

#include <functional>
#include <optional>
#include <string>
#include <vector>

/**
 * What stands between a replay session and a persistent checkpoint on disk.
 *
 * A session fills a PersistentCheckpoint and save()s it; load() gives the same
 * one back. Nothing here knows ReplaySession, Cap'n Proto or the library that
 * writes the file: only PersistentCheckpoint.cc includes <rrpcp/rrpcp.h>.
 *
 * The fields are those of the format (spec/rr.md and spec/model.md of rrpcp say
 * what each means, in which unit); names are rr's where rr has one. A
 * std::optional is a thing that may be not recorded. C++17; no function throws
 * on purpose: those that can fail return false and set `error` to one sentence.
 */
namespace rr {
namespace pcp {

typedef std::vector<uint8_t> Bytes;

const uint32_t NO_INDEX = 0xffffffff;

struct TaskName {
  int32_t group_id = 0;
  uint32_t group_serial = 0;
  int32_t task_id = 0;
  uint32_t task_serial = 0;
};

/** As ptrace(PTRACE_GETREGSET) gives it for an ELF note type NT_*. */
struct RegisterSet {
  uint32_t note_type = 0;
  Bytes data;
};

struct MarkDetails {
  int32_t step_key = 0;
  std::vector<uint64_t> return_addresses;
  bool singlestep_to_next_mark_no_signal = false;
};

struct Mark {
  int64_t time = 0;
  int64_t ticks = 0;
  int64_t ticks_at_event_start = 0;
  int32_t task = 0;
  std::vector<RegisterSet> registers;
  uint16_t machine = 0; // 0: the checkpoint's
  typedef MarkDetails Details;
  std::optional<Details> details;
};

struct Position {
  enum Kind { AT_EVENT, FORWARD_TO, BETWEEN };
  Kind kind = AT_EVENT;
  Mark clone;
  Mark forward_to;           // FORWARD_TO
  uint32_t order = 0;        // BETWEEN
  uint64_t instructions = 0; // BETWEEN
};

struct StreamCursor {
  std::string stream;
  uint64_t block_offset = 0;
  uint64_t offset_in_block = 0;
  uint64_t decoded_offset = 0;
};

struct Trace {
  Bytes uuid; // 16 bytes
  std::string format = "org.rr-project.trace";
  uint32_t format_version = 0;
  std::vector<StreamCursor> cursor;
};

struct ReplayStep {
  uint16_t action = 0; // spec/rr.md, "ReplayStep"
  uint16_t machine = 0;
  int32_t syscall = -1;
  int64_t target_ticks = -1;
  int32_t signal = 0;
  uint64_t buffer_hook = 0;
  uint64_t flush_offset = 0;
  int64_t flush_ticks = 0;
};

/** siginfo_t taken apart; of the members behind `kind` those of its arm count. */
struct SignalInfo {
  enum Kind { NONE, KILL, QUEUE, TIMER, CHILD, FAULT, POLL, SYSTEM_CALL };
  int32_t signal = 0;
  int32_t error = 0;
  int32_t code = 0;
  Kind kind = NONE;
  int32_t pid = 0;
  uint32_t uid = 0;
  uint64_t value = 0;
  int32_t id = 0;
  int32_t overrun = 0;
  int32_t status = 0;
  int64_t user_time = 0;
  int64_t system_time = 0;
  uint64_t address = 0;
  int16_t address_lsb = 0;
  uint64_t lower = 0;
  uint64_t upper = 0;
  uint32_t pkey = 0;
  int64_t band = 0;
  int32_t fd = 0;
  uint64_t call_address = 0;
  int32_t number = 0;
  uint32_t arch = 0;
  Bytes raw; // the kernel's 128 bytes, where the members do not say all
};

struct Statistics {
  uint64_t bytes_written = 0;
  int64_t ticks_processed = 0;
  uint64_t syscalls_performed = 0;
};

struct MappedFile {
  uint64_t device = 0;
  uint64_t inode = 0;
  std::string path;
};

struct CpuidBugDetector {
  uint64_t recorded_ticks = 0;
  uint64_t actual_ticks = 0;
  bool detected = false;
};

struct SessionDetails {
  uint64_t checkpoint_id = 0;
  std::optional<ReplayStep> current_step;
  std::vector<MappedFile> mapped_files;
  std::optional<TaskName> last_task;
  bool skip_next_execution_event = false;
  std::optional<CpuidBugDetector> cpuid_bug_detector;
  bool has_pauth = false;
  bool has_tpidr = false;
};

struct Session {
  std::optional<Statistics> statistics;
  uint32_t next_serial = 0;
  std::optional<TaskName> last_continue_task;
  std::optional<SignalInfo> last_siginfo;
  std::string where;
  typedef SessionDetails Details;
  std::optional<Details> details;
};

struct ThreadGroupDetails {
  int32_t own_namespace_tgid = 0;
  int64_t first_run_event = 0;
  int32_t exit_status = 0;
  bool made_undumpable = false;
  bool executed = false;
  int32_t parent = 0;
};

struct ThreadGroup {
  int32_t tgid = 0;
  uint32_t serial = 0;
  typedef ThreadGroupDetails Details;
  std::optional<Details> details;
};

struct Rseq {
  uint64_t ptr = 0;
  uint32_t length = 0;
  uint32_t abort_prefix_signature = 0;
  uint32_t flags = 0;
};

/** struct user_desc taken apart. */
struct ThreadArea {
  uint32_t entry_number = 0;
  uint32_t base_addr = 0;
  uint32_t limit = 0;
  bool seg_32bit = false;
  uint8_t contents = 0;
  bool read_exec_only = false;
  bool limit_in_pages = false;
  bool seg_not_present = false;
  bool useable = false;
  bool lm = false;
  uint32_t reserved_bits = 0;
};

struct SyscallBuffer {
  uint64_t child = 0;
  uint64_t size = 0;
  uint64_t num_bytes = 0;
  int32_t desched_fd_child = -1;
  int32_t cloned_file_data_fd_child = -1;
  std::string cloned_file_data_fname;
  uint64_t cloned_file_data_offset = 0;
};

struct TaskReplay {
  int64_t ticks = 0;
  int32_t own_namespace_rec_tid = 0;
  int64_t first_run_event = 0;
};

struct TaskDetails {
  std::string name;
  int32_t wait_status = 0;
  uint64_t scratch_ptr = 0;
  uint64_t scratch_size = 0;
  uint64_t top_of_stack = 0;
  uint64_t tls_register = 0;
  Bytes thread_locals;
  std::optional<SyscallBuffer> syscallbuf;
  uint64_t preload_globals = 0;
  uint32_t restore_rank = 0; // 1: the clone leader
};

/** Task::CapturedState. */
struct Task {
  int32_t rec_tid = 0;
  uint32_t thread_group = 0;  // index
  uint32_t address_space = 0; // index
  uint32_t fd_table = NO_INDEX; // index
  std::string prname;           // at most 15 bytes; details.name has a longer one
  std::vector<RegisterSet> registers;
  std::optional<Rseq> rseq;
  std::vector<ThreadArea> thread_areas;
  uint32_t serial = 0;
  typedef TaskReplay Replay;
  std::optional<Replay> replay;
  typedef TaskDetails Details;
  std::optional<Details> details;
};

struct AuxvEntry {
  uint64_t type = 0;
  uint64_t value = 0;
};

/** A row of pages, in the order of a mapping or object. */
struct Pages {
  enum Kind {
    ZERO = 0,
    STORED = 1,  // the checkpoint has them
    BACKING = 2, // the same place of the object or file has them
    UNKNOWN = 3,
    GUARD = 4
  };
  Kind kind = STORED;
  uint64_t pages = 0;
};

struct MappingDetails {
  uint16_t use = 0; // spec/rr.md, "MappingState"
  uint64_t file_offset = 0;
  bool skip_monitoring_mapped_fd = false;
  std::string page_file;
};

struct Mapping {
  uint64_t start = 0;
  uint64_t end = 0;
  uint32_t prot = 0;
  uint32_t flags = 0;
  uint32_t advice = 0;
  uint16_t role = 0; // spec/model.md, "Roles"
  uint32_t object = NO_INDEX;
  uint64_t object_offset = 0;
  std::string fsname;
  uint64_t device = 0;
  uint64_t inode = 0;
  /** Empty: as the object, or zeros where there is none. */
  std::vector<Pages> contents;
  typedef MappingDetails Details;
  std::optional<Details> details;
};

struct SavedMemory {
  uint64_t start_address = 0;
  Bytes data;
};

struct AddressSpaceLayout {
  uint64_t start_code = 0, end_code = 0, start_data = 0, end_data = 0;
  uint64_t start_brk = 0, brk = 0, start_stack = 0;
  uint64_t arg_start = 0, arg_end = 0, env_start = 0, env_end = 0;
};

struct AddressSpaceDetails {
  bool uses_syscall_buffering = false;
  uint64_t breakpoint_fault_address = 0;
  std::vector<SavedMemory> captured_memory;
  int32_t replay_pid = 0;
  std::optional<TaskName> leader;
  uint32_t exec_count = 0;
  uint64_t traced_syscall_ip = 0;
  uint64_t privileged_traced_syscall_ip = 0;
  uint64_t vdso_start = 0;
  std::string interp_name;
  uint64_t interp_base = 0;
  std::optional<TaskName> thread_locals_tuid;
  bool aslr_disabled = false;
};

struct AddressSpace {
  std::vector<Mapping> mappings;
  std::vector<AuxvEntry> auxv;
  uint32_t executable = NO_INDEX;
  std::string exe;
  std::string original_exe;
  int64_t first_run_event = 0;
  uint16_t machine = 0; // 0: the checkpoint's
  uint8_t elf_class = 0;
  typedef AddressSpaceLayout Layout;
  std::optional<Layout> layout;
  typedef AddressSpaceDetails Details;
  std::optional<Details> details;
};

struct RangeDigest {
  uint64_t offset = 0;
  uint64_t length = 0;
  uint64_t high = 0;
  uint64_t low = 0;
  Bytes sha256;
};

struct MemoryObject {
  enum Kind { FILE, ANONYMOUS, MEMFD, SYSTEM_V };
  uint64_t length = 0;
  uint64_t device = 0;
  uint64_t inode = 0;
  std::vector<Pages> contents;
  Kind kind = FILE;
  struct File {
    std::string path;
    bool in_trace = false; // path is relative to the trace's directory
    uint64_t size = 0;
    int64_t modified_at = INT64_MIN; // ns; INT64_MIN: not recorded
    uint32_t mode = 0;
    Bytes build_id;
    std::vector<RangeDigest> digests;
    bool deleted = false;
    uint32_t uid = UINT32_MAX;
    uint32_t gid = UINT32_MAX;
  } file;
  struct Memfd {
    std::string name;
    uint32_t seals = 0;
    uint32_t mode = UINT32_MAX;
    uint32_t uid = UINT32_MAX;
    uint32_t gid = UINT32_MAX;
    int64_t modified_at = INT64_MIN;
    uint64_t huge_page_size = 0;
    bool secret = false;
  } memfd;
  struct SystemV {
    int32_t key = 0;
    int32_t id = -1;
    uint32_t mode = UINT32_MAX;
    uint32_t uid = UINT32_MAX, gid = UINT32_MAX;
    uint32_t creator_uid = UINT32_MAX, creator_gid = UINT32_MAX;
    uint64_t huge_page_size = 0;
  } system_v;
};

struct FileMonitor {
  enum Arm { PLAIN, MMAPPED, PROC_FD, PROC_MEM, STDIO, PROC_STAT, BPF_MAP, PID_FD,
             VIRTUAL_PERF_COUNTER };
  int32_t fd = 0;
  uint16_t type = 0;        // FileMonitor::Type as the format numbers it
  int32_t legacy_type = -1; // as rr numbered it; -1 none
  Arm arm = PLAIN;
  bool dead = false;
  uint64_t device = 0;
  uint64_t inode = 0;
  int32_t tid = 0;
  uint32_t serial = 0;
  uint32_t exec_count = 0;
  int32_t original_fd = 0;
  Bytes data;
  uint64_t key_size = 0;
  uint64_t value_size = 0;
  int64_t initial_ticks = 0;
  bool enabled = false;
  uint64_t sample_period = 0;
};

struct FdTableDetails {
  uint64_t identity = 0;
  std::vector<FileMonitor> monitors;
  bool monitors_unknown = false;
};

struct FdTable {
  bool contents_unknown = true;
  typedef FdTableDetails Details;
  std::optional<Details> details;
};

struct XsaveComponent {
  uint8_t number = 0;
  uint32_t offset = 0;
  uint32_t size = 0;
};

struct CpuidLeaf {
  uint32_t leaf = 0, subleaf = 0, eax = 0, ebx = 0, ecx = 0, edx = 0;
};

struct Cpu {
  uint64_t xsave_features = 0;
  std::vector<XsaveComponent> xsave_layout;
  std::vector<CpuidLeaf> cpuid;
  uint64_t hwcap = 0;
  uint64_t hwcap2 = 0;
};

/** State of another format that travels along, as it is. */
struct Extension {
  std::string id;
  uint32_t version = 0;
  bool critical = false;
  Bytes payload;
};

struct PersistentCheckpoint {
  uint16_t machine = 0; // ELF e_machine
  uint8_t elf_class = 0;
  uint8_t data_encoding = 1;
  uint32_t page_size = 4096;
  uint32_t chunk_pages = 0; // 0: as the library likes it
  std::string producer = "org.rr-project.rr";
  Position position;
  Trace trace;
  std::vector<ThreadGroup> thread_groups; // by tgid
  std::vector<Task> tasks;                // by (thread group, not leader, tid)
  std::vector<AddressSpace> address_spaces;
  std::vector<MemoryObject> objects;
  std::vector<FdTable> fd_tables;
  std::optional<Cpu> cpu;
  std::optional<Session> session;
  std::vector<Extension> extensions;
};

/** What a directory has. */
struct Listed {
  std::string path;
  std::string problem; // why it cannot be used; empty: it can
  int64_t event = 0;   // of the stored state
  int64_t ticks = 0;
  int64_t mark_event = 0; // of the position it stands for
  Bytes trace_uuid;
  Bytes id;
};

/**
 * Where saving gets the bytes of STORED pages. Each call asks for whole pages,
 * in order, and must fill all of `buffer`.
 */
struct PageSource {
  /** `offset` bytes behind the start of mapping `mapping` of space `space`. */
  std::function<bool(size_t space, size_t mapping, uint64_t offset,
                     void* buffer, size_t size)>
      read_mapping;
  std::function<bool(size_t object, uint64_t offset, void* buffer, size_t size)>
      read_object;
};

/**
 * Writes the checkpoint into `directory` under the name that its position and
 * content give it. It is judged by all rules of the format before anybody can
 * see it, and appears whole or not at all, whoever else writes there.
 */
bool save(const PersistentCheckpoint& checkpoint, const std::string& directory,
          const PageSource& pages, std::string* path, std::string* error);

/** An open checkpoint: its state, and its memory while it is open. */
class CheckpointFile {
public:
  CheckpointFile();
  ~CheckpointFile();
  CheckpointFile(const CheckpointFile&) = delete;
  CheckpointFile& operator=(const CheckpointFile&) = delete;

  /** `trace_directory`: where files of the trace are. */
  bool open(const std::string& path, const std::string& trace_directory,
            std::string* error);
  const PersistentCheckpoint& checkpoint() const;
  /**
   * Bytes at `address` of an address space. Fails where they are not stored, or
   * a file they are backed by is not what it was.
   */
  bool read_memory(size_t space, uint64_t address, void* buffer, size_t size,
                   std::string* error);
  /** STORED pages, as save() asks for them. */
  PageSource page_source();

private:
  struct Impl;
  Impl* impl;
};

/** Reads headers alone. A directory that is not there is an empty one. */
bool list(const std::string& directory, std::vector<Listed>* out,
          std::string* error);

/**
 * The last usable one at or before `event`, of the trace with that uuid; null
 * where there is none.
 */
const Listed* choose(const std::vector<Listed>& listed, int64_t event,
                     const Bytes& trace_uuid);

/**
 * Digests of the parts of files of the trace that BACKING pages refer to, by
 * which a restore notices that a file is another one. To be called before
 * save(), once all contents are set.
 */
bool digest_backing_files(PersistentCheckpoint* checkpoint,
                          const std::string& trace_directory,
                          std::string* error);

} // namespace pcp
} // namespace rr

#endif /* RR_PERSISTENT_CHECKPOINT_H_ */
