/* -*- Mode: C++; tab-width: 8; c-basic-offset: 2; indent-tabs-mode: nil; -*- */

#include "PersistentCheckpoint.h"

#include <fcntl.h>
#include <rrpcp/rrpcp.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <type_traits>

using namespace std;

namespace rr {
namespace pcp {

namespace {

const size_t PIECE = 1 << 20;

/** Keeps the first failure: what follows it does nothing. */
class Status {
public:
  bool ok() const { return ok_; }
  void fail(const string& what) {
    if (ok_) {
      ok_ = false;
      text_ = what;
    }
  }
  /** Takes over what a function of the library says. */
  void take(rrpcp_error* error) {
    if (error) {
      fail(rrpcp_error_text(error));
      rrpcp_error_free(error);
    }
  }
  bool finish(string* error) const {
    if (!ok_ && error) {
      *error = text_;
    }
    return ok_;
  }

private:
  bool ok_ = true;
  string text_;
};

/**
 * Saver and Loader have the same functions, so that one description of a struct
 * (describe(), below) serves both directions: what is saved is what is loaded.
 */
class Saver {
public:
  Saver(rrpcp_node* node, Status& status) : node(node), status(status) {}

  template <typename T> void number(const char* name, T& value) {
    rrpcp_error* error = nullptr;
    if (!status.ok()) {
      return;
    }
    if (is_signed<T>::value) {
      rrpcp_set_i64(node, name, static_cast<int64_t>(value), &error);
    } else {
      rrpcp_set_u64(node, name, static_cast<uint64_t>(value), &error);
    }
    status.take(error);
  }
  template <typename T> void bytes(const char* name, T& value) {
    rrpcp_error* error = nullptr;
    if (status.ok() && !value.empty()) {
      rrpcp_set_bytes(node, name, value.data(), value.size(), &error);
      status.take(error);
    }
  }
  /** A struct that is always there, or the arm of a union. */
  template <typename T> void member(const char* name, T& value) {
    with_node(name, [&](rrpcp_node* child) {
      Saver saver(child, status);
      describe(saver, value);
    });
  }
  template <typename T> void maybe(const char* name, optional<T>& value) {
    if (value) {
      member(name, *value);
    }
  }
  template <typename T> void list(const char* name, vector<T>& values) {
    if (!begin_list(name, values.size())) {
      return;
    }
    for (size_t i = 0; i < values.size(); ++i) {
      member((string(name) + "[" + to_string(i) + "]").c_str(), values[i]);
    }
  }
  void numbers(const char* name, vector<uint64_t>& values) {
    if (!begin_list(name, values.size())) {
      return;
    }
    for (size_t i = 0; i < values.size(); ++i) {
      number((string(name) + "[" + to_string(i) + "]").c_str(), values[i]);
    }
  }
  /** Sets the arm of a union by its place in `names`. */
  template <typename T, size_t N>
  void which(T& value, const char* const (&names)[N]) {
    if (static_cast<size_t>(value) >= N) {
      status.fail("an arm that does not exist");
      return;
    }
    rrpcp_error* error = nullptr;
    if (status.ok()) {
      rrpcp_init(node, names[static_cast<size_t>(value)], &error);
      status.take(error);
    }
  }
  /** Where the pages are is set by save(), which stores them. */
  void contents(const char*, vector<Pages>&) {}

private:
  template <typename Use> void with_node(const char* name, Use use) {
    rrpcp_error* error = nullptr;
    rrpcp_node* child = nullptr;
    if (!status.ok()) {
      return;
    }
    rrpcp_get_node(node, name, &child, &error);
    status.take(error);
    if (child) {
      use(child);
      rrpcp_node_free(child);
    }
  }
  bool begin_list(const char* name, size_t size) {
    rrpcp_error* error = nullptr;
    if (!status.ok() || size == 0) {
      return false;
    }
    rrpcp_init_list(node, name, size, &error);
    status.take(error);
    return status.ok();
  }

  rrpcp_node* node;
  Status& status;
};

class Loader {
public:
  Loader(const rrpcp_node* node, Status& status) : node(node), status(status) {}

  template <typename T> void number(const char* name, T& value) {
    rrpcp_error* error = nullptr;
    if (!status.ok()) {
      return;
    }
    if (is_signed<T>::value) {
      int64_t read = 0;
      rrpcp_get_i64(node, name, &read, &error);
      value = static_cast<T>(read);
    } else {
      uint64_t read = 0;
      rrpcp_get_u64(node, name, &read, &error);
      value = static_cast<T>(read);
    }
    status.take(error);
  }
  template <typename T> void bytes(const char* name, T& value) {
    rrpcp_error* error = nullptr;
    const void* data = nullptr;
    size_t size = 0;
    if (!status.ok()) {
      return;
    }
    rrpcp_get_bytes(node, name, &data, &size, &error);
    status.take(error);
    if (data) {
      const auto* first = static_cast<const typename T::value_type*>(data);
      value.assign(first, first + size);
    }
  }
  template <typename T> void member(const char* name, T& value) {
    rrpcp_error* error = nullptr;
    rrpcp_node* child = nullptr;
    if (!status.ok()) {
      return;
    }
    rrpcp_get_node(node, name, &child, &error);
    status.take(error);
    if (child) {
      Loader loader(child, status);
      describe(loader, value);
      rrpcp_node_free(child);
    }
  }
  template <typename T> void maybe(const char* name, optional<T>& value) {
    rrpcp_error* error = nullptr;
    int present = 0;
    if (!status.ok()) {
      return;
    }
    rrpcp_has(node, name, &present, &error);
    status.take(error);
    if (present) {
      value.emplace();
      member(name, *value);
    }
  }
  template <typename T> void list(const char* name, vector<T>& values) {
    values.resize(size_of(name));
    for (size_t i = 0; i < values.size(); ++i) {
      member((string(name) + "[" + to_string(i) + "]").c_str(), values[i]);
    }
  }
  void numbers(const char* name, vector<uint64_t>& values) {
    values.resize(size_of(name));
    for (size_t i = 0; i < values.size(); ++i) {
      number((string(name) + "[" + to_string(i) + "]").c_str(), values[i]);
    }
  }
  template <typename T, size_t N>
  void which(T& value, const char* const (&names)[N]) {
    rrpcp_error* error = nullptr;
    const char* name = nullptr;
    if (!status.ok()) {
      return;
    }
    rrpcp_get_name(node, "which", &name, &error);
    status.take(error);
    for (size_t i = 0; i < N; ++i) {
      if (name && strcmp(name, names[i]) == 0) {
        value = static_cast<T>(i);
        return;
      }
    }
    status.fail(string("rr does not know what ") + (name ? name : "it") + " is");
  }
  void contents(const char* name, vector<Pages>& rows) {
    const size_t count = size_of(name);
    for (size_t i = 0; i < count && status.ok(); ++i) {
      const string run = string(name) + "[" + to_string(i) + "].";
      uint16_t kind = 0;
      Pages row;
      number((run + "kind").c_str(), kind);
      number((run + "pages").c_str(), row.pages);
      row.kind = static_cast<Pages::Kind>(kind);
      if (kind > Pages::GUARD) {
        status.fail("rr does not know how pages are stored here");
      } else if (!rows.empty() && rows.back().kind == row.kind) {
        rows.back().pages += row.pages; // the place in the file is no matter
      } else {
        rows.push_back(row);
      }
    }
  }

private:
  size_t size_of(const char* name) {
    rrpcp_error* error = nullptr;
    size_t count = 0;
    if (status.ok()) {
      rrpcp_get_count(node, name, &count, &error);
      status.take(error);
    }
    return status.ok() ? count : 0;
  }

  const rrpcp_node* node;
  Status& status;
};

/* What each struct is in the format. The names are those of the schema. */

template <typename A> void describe(A& a, TaskName& v) {
  a.number("pid", v.group_id);
  a.number("processSerial", v.group_serial);
  a.number("tid", v.task_id);
  a.number("taskSerial", v.task_serial);
}

template <typename A> void describe(A& a, RegisterSet& v) {
  a.number("noteType", v.note_type);
  a.bytes("data", v.data);
}

template <typename A> void describe(A& a, Mark::Details& v) {
  a.number("stepKey", v.step_key);
  a.numbers("returnAddresses", v.return_addresses);
  a.number("singleStepsWithoutSignal", v.singlestep_to_next_mark_no_signal);
}

template <typename A> void describe(A& a, Mark& v) {
  a.number("event", v.time);
  a.number("ticks", v.ticks);
  a.number("ticksAtEventStart", v.ticks_at_event_start);
  a.number("task", v.task);
  a.list("registers", v.registers);
  a.number("machine", v.machine);
  a.maybe("rr", v.details);
}

template <typename A> void describe(A& a, Position& v) {
  static const char* const ARMS[] = { "atEvent", "forwardTo", "between" };
  a.member("clone", v.clone);
  a.which(v.kind, ARMS);
  if (v.kind == Position::FORWARD_TO) {
    a.member("forwardTo", v.forward_to);
  } else if (v.kind == Position::BETWEEN) {
    a.number("between.order", v.order);
    a.number("between.instructions", v.instructions);
  }
}

template <typename A> void describe(A& a, StreamCursor& v) {
  a.bytes("stream", v.stream);
  a.number("blockOffset", v.block_offset);
  a.number("offsetInBlock", v.offset_in_block);
  a.number("decodedOffset", v.decoded_offset);
}

template <typename A> void describe(A& a, Trace& v) {
  a.bytes("uuid", v.uuid);
  a.bytes("format", v.format);
  a.number("formatVersion", v.format_version);
  a.list("cursor", v.cursor);
}

template <typename A> void describe(A& a, ReplayStep& v) {
  a.number("action", v.action);
  a.number("machine", v.machine);
  a.number("systemCall", v.syscall);
  a.number("targetTicks", v.target_ticks);
  a.number("signal", v.signal);
  a.number("bufferHook", v.buffer_hook);
  a.number("flushOffset", v.flush_offset);
  a.number("flushTicks", v.flush_ticks);
}

template <typename A> void describe(A& a, SignalInfo& v) {
  static const char* const ARMS[] = { "none",  "kill",  "queue", "timer",
                                      "child", "fault", "poll",  "systemCall" };
  a.number("signal", v.signal);
  a.number("error", v.error);
  a.number("code", v.code);
  a.bytes("raw", v.raw);
  a.which(v.kind, ARMS);
  switch (v.kind) {
    case SignalInfo::NONE:
      break;
    case SignalInfo::KILL:
      a.number("kill.pid", v.pid);
      a.number("kill.uid", v.uid);
      break;
    case SignalInfo::QUEUE:
      a.number("queue.pid", v.pid);
      a.number("queue.uid", v.uid);
      a.number("queue.value", v.value);
      break;
    case SignalInfo::TIMER:
      a.number("timer.id", v.id);
      a.number("timer.overrun", v.overrun);
      a.number("timer.value", v.value);
      break;
    case SignalInfo::CHILD:
      a.number("child.pid", v.pid);
      a.number("child.uid", v.uid);
      a.number("child.status", v.status);
      a.number("child.userTime", v.user_time);
      a.number("child.systemTime", v.system_time);
      break;
    case SignalInfo::FAULT:
      a.number("fault.address", v.address);
      a.number("fault.addressLsb", v.address_lsb);
      a.number("fault.lower", v.lower);
      a.number("fault.upper", v.upper);
      a.number("fault.pkey", v.pkey);
      break;
    case SignalInfo::POLL:
      a.number("poll.band", v.band);
      a.number("poll.fd", v.fd);
      break;
    case SignalInfo::SYSTEM_CALL:
      a.number("systemCall.callAddress", v.call_address);
      a.number("systemCall.number", v.number);
      a.number("systemCall.arch", v.arch);
      break;
  }
}

template <typename A> void describe(A& a, Statistics& v) {
  a.number("bytesWritten", v.bytes_written);
  a.number("ticksProcessed", v.ticks_processed);
  a.number("systemCallsPerformed", v.syscalls_performed);
}

template <typename A> void describe(A& a, MappedFile& v) {
  a.number("device", v.device);
  a.number("inode", v.inode);
  a.bytes("path", v.path);
}

template <typename A> void describe(A& a, CpuidBugDetector& v) {
  a.number("recordedTicks", v.recorded_ticks);
  a.number("actualTicks", v.actual_ticks);
  a.number("detected", v.detected);
}

template <typename A> void describe(A& a, Session::Details& v) {
  a.number("checkpointNumber", v.checkpoint_id);
  a.maybe("currentStep", v.current_step);
  a.list("mappedFiles", v.mapped_files);
  a.maybe("lastTask", v.last_task);
  a.number("skipNextExecutionEvent", v.skip_next_execution_event);
  a.maybe("cpuidBugDetector", v.cpuid_bug_detector);
  a.number("hasPointerAuthentication", v.has_pauth);
  a.number("hasTpidr", v.has_tpidr);
}

template <typename A> void describe(A& a, Session& v) {
  a.maybe("statistics", v.statistics);
  a.number("nextTaskSerial", v.next_serial);
  a.maybe("lastContinuedTask", v.last_continue_task);
  a.maybe("lastSignal", v.last_siginfo);
  a.bytes("where", v.where);
  a.maybe("rr", v.details);
}

template <typename A> void describe(A& a, ThreadGroup::Details& v) {
  a.number("ownNamespacePid", v.own_namespace_tgid);
  a.number("firstRunEvent", v.first_run_event);
  a.number("waitStatus", v.exit_status);
  a.number("madeUndumpable", v.made_undumpable);
  a.number("executed", v.executed);
  a.number("parent", v.parent);
}

template <typename A> void describe(A& a, ThreadGroup& v) {
  a.number("pid", v.tgid);
  a.number("serial", v.serial);
  a.maybe("rr", v.details);
}

template <typename A> void describe(A& a, Rseq& v) {
  a.number("address", v.ptr);
  a.number("length", v.length);
  a.number("signature", v.abort_prefix_signature);
  a.number("flags", v.flags);
}

template <typename A> void describe(A& a, ThreadArea& v) {
  a.number("entryNumber", v.entry_number);
  a.number("baseAddress", v.base_addr);
  a.number("limit", v.limit);
  a.number("segment32Bit", v.seg_32bit);
  a.number("contents", v.contents);
  a.number("readExecuteOnly", v.read_exec_only);
  a.number("limitInPages", v.limit_in_pages);
  a.number("segmentNotPresent", v.seg_not_present);
  a.number("useable", v.useable);
  a.number("longMode", v.lm);
  a.number("reservedBits", v.reserved_bits);
}

template <typename A> void describe(A& a, SyscallBuffer& v) {
  a.number("address", v.child);
  a.number("size", v.size);
  a.number("usedBytes", v.num_bytes);
  a.number("deschedFd", v.desched_fd_child);
  a.number("clonedFileDataFd", v.cloned_file_data_fd_child);
  a.bytes("clonedFileDataPath", v.cloned_file_data_fname);
  a.number("clonedFileDataOffset", v.cloned_file_data_offset);
}

template <typename A> void describe(A& a, Task::Replay& v) {
  a.number("ticks", v.ticks);
  a.number("ownNamespaceTid", v.own_namespace_rec_tid);
  a.number("firstRunEvent", v.first_run_event);
}

template <typename A> void describe(A& a, Task::Details& v) {
  a.bytes("name", v.name);
  a.number("waitStatus", v.wait_status);
  a.number("scratchAddress", v.scratch_ptr);
  a.number("scratchSize", v.scratch_size);
  a.number("topOfStack", v.top_of_stack);
  a.number("tlsRegister", v.tls_register);
  a.bytes("threadLocals", v.thread_locals);
  a.maybe("syscallBuffer", v.syscallbuf);
  a.number("preloadGlobals", v.preload_globals);
  a.number("restoreRank", v.restore_rank);
}

template <typename A> void describe(A& a, Task& v) {
  a.number("tid", v.rec_tid);
  a.number("process", v.thread_group);
  a.number("addressSpace", v.address_space);
  a.number("fileTable", v.fd_table);
  a.bytes("name", v.prname);
  a.list("registers", v.registers);
  a.maybe("rseq", v.rseq);
  a.list("threadAreas", v.thread_areas);
  a.number("serial", v.serial);
  a.maybe("replay", v.replay);
  a.maybe("rr", v.details);
}

template <typename A> void describe(A& a, AuxvEntry& v) {
  a.number("type", v.type);
  a.number("value", v.value);
}

template <typename A> void describe(A& a, Mapping::Details& v) {
  a.number("use", v.use);
  a.number("fileOffset", v.file_offset);
  a.number("monitoringSkipped", v.skip_monitoring_mapped_fd);
  a.bytes("pageFile", v.page_file);
}

template <typename A> void describe(A& a, Mapping& v) {
  a.number("start", v.start);
  a.number("end", v.end);
  a.number("protection", v.prot);
  a.number("flags", v.flags);
  a.number("advice", v.advice);
  a.number("role", v.role);
  a.number("object", v.object);
  a.number("objectOffset", v.object_offset);
  a.bytes("name", v.fsname);
  a.number("device", v.device);
  a.number("inode", v.inode);
  a.contents("runs", v.contents);
  a.maybe("rr", v.details);
}

template <typename A> void describe(A& a, SavedMemory& v) {
  a.number("address", v.start_address);
  a.bytes("data", v.data);
}

template <typename A> void describe(A& a, AddressSpace::Layout& v) {
  a.number("startCode", v.start_code);
  a.number("endCode", v.end_code);
  a.number("startData", v.start_data);
  a.number("endData", v.end_data);
  a.number("startBrk", v.start_brk);
  a.number("brk", v.brk);
  a.number("startStack", v.start_stack);
  a.number("argStart", v.arg_start);
  a.number("argEnd", v.arg_end);
  a.number("envStart", v.env_start);
  a.number("envEnd", v.env_end);
}

template <typename A> void describe(A& a, AddressSpace::Details& v) {
  a.number("syscallBuffering", v.uses_syscall_buffering);
  a.number("breakpointFaultAddress", v.breakpoint_fault_address);
  a.list("savedMemory", v.captured_memory);
  a.number("replayPid", v.replay_pid);
  a.maybe("leader", v.leader);
  a.number("execCount", v.exec_count);
  a.number("tracedSystemCallAddress", v.traced_syscall_ip);
  a.number("privilegedSystemCallAddress", v.privileged_traced_syscall_ip);
  a.number("vdsoStart", v.vdso_start);
  a.bytes("interpreterPath", v.interp_name);
  a.number("interpreterBase", v.interp_base);
  a.maybe("threadLocalsTask", v.thread_locals_tuid);
  a.number("layoutRandomizationDisabled", v.aslr_disabled);
}

template <typename A> void describe(A& a, AddressSpace& v) {
  a.list("mappings", v.mappings);
  a.maybe("layout", v.layout);
  a.list("auxv", v.auxv);
  a.number("executable", v.executable);
  a.bytes("originalExecutable", v.original_exe);
  a.bytes("executablePath", v.exe);
  a.number("firstRunEvent", v.first_run_event);
  a.number("machine", v.machine);
  a.number("elfClass", v.elf_class);
  a.maybe("rr", v.details);
}

template <typename A> void describe(A& a, RangeDigest& v) {
  a.number("offset", v.offset);
  a.number("length", v.length);
  a.number("high", v.high);
  a.number("low", v.low);
  a.bytes("sha256", v.sha256);
}

template <typename A> void describe(A& a, MemoryObject::File& v) {
  a.bytes("path", v.path);
  uint16_t base = v.in_trace ? 1 : 0;
  a.number("pathBase", base);
  v.in_trace = base == 1;
  a.number("size", v.size);
  a.number("modifiedAt", v.modified_at);
  a.number("mode", v.mode);
  a.bytes("buildId", v.build_id);
  a.list("digests", v.digests);
  a.number("deleted", v.deleted);
  a.number("uid", v.uid);
  a.number("gid", v.gid);
}

template <typename A> void describe(A& a, MemoryObject::Memfd& v) {
  a.bytes("name", v.name);
  a.number("seals", v.seals);
  a.number("mode", v.mode);
  a.number("uid", v.uid);
  a.number("gid", v.gid);
  a.number("modifiedAt", v.modified_at);
  a.number("hugePageSize", v.huge_page_size);
  a.number("secret", v.secret);
}

template <typename A> void describe(A& a, MemoryObject::SystemV& v) {
  a.number("key", v.key);
  a.number("id", v.id);
  a.number("mode", v.mode);
  a.number("uid", v.uid);
  a.number("gid", v.gid);
  a.number("creatorUid", v.creator_uid);
  a.number("creatorGid", v.creator_gid);
  a.number("hugePageSize", v.huge_page_size);
}

template <typename A> void describe(A& a, MemoryObject& v) {
  static const char* const ARMS[] = { "file", "anonymous", "memfd", "systemV" };
  a.number("length", v.length);
  a.number("device", v.device);
  a.number("inode", v.inode);
  a.contents("runs", v.contents);
  a.which(v.kind, ARMS);
  switch (v.kind) {
    case MemoryObject::FILE:
      a.member("file", v.file);
      break;
    case MemoryObject::ANONYMOUS:
      break;
    case MemoryObject::MEMFD:
      a.member("memfd", v.memfd);
      break;
    case MemoryObject::SYSTEM_V:
      a.member("systemV", v.system_v);
      break;
  }
}

template <typename A> void describe(A& a, FileMonitor& v) {
  static const char* const ARMS[] = { "plain",    "mmapped", "procFd",
                                      "procMem",  "stdio",   "procStat",
                                      "bpfMap",   "pidFd",   "virtualPerfCounter" };
  a.number("fd", v.fd);
  a.number("kind", v.type);
  a.number("legacyType", v.legacy_type);
  a.which(v.arm, ARMS);
  switch (v.arm) {
    case FileMonitor::PLAIN:
      break;
    case FileMonitor::MMAPPED:
      a.number("mmapped.dead", v.dead);
      a.number("mmapped.device", v.device);
      a.number("mmapped.inode", v.inode);
      break;
    case FileMonitor::PROC_FD:
      a.number("procFd.tid", v.tid);
      a.number("procFd.serial", v.serial);
      break;
    case FileMonitor::PROC_MEM:
      a.number("procMem.tid", v.tid);
      a.number("procMem.serial", v.serial);
      a.number("procMem.execCount", v.exec_count);
      break;
    case FileMonitor::STDIO:
      a.number("stdio.originalFd", v.original_fd);
      break;
    case FileMonitor::PROC_STAT:
      a.bytes("procStat.data", v.data);
      break;
    case FileMonitor::BPF_MAP:
      a.number("bpfMap.keySize", v.key_size);
      a.number("bpfMap.valueSize", v.value_size);
      break;
    case FileMonitor::PID_FD:
      a.number("pidFd.tid", v.tid);
      a.number("pidFd.serial", v.serial);
      break;
    case FileMonitor::VIRTUAL_PERF_COUNTER:
      a.number("virtualPerfCounter.target", v.tid);
      a.number("virtualPerfCounter.targetSerial", v.serial);
      a.number("virtualPerfCounter.initialTicks", v.initial_ticks);
      a.number("virtualPerfCounter.enabled", v.enabled);
      a.number("virtualPerfCounter.samplePeriod", v.sample_period);
      break;
  }
}

template <typename A> void describe(A& a, FdTable::Details& v) {
  a.number("identity", v.identity);
  a.list("monitors", v.monitors);
  a.number("monitorsUnknown", v.monitors_unknown);
}

template <typename A> void describe(A& a, FdTable& v) {
  a.number("contentsUnknown", v.contents_unknown);
  a.maybe("rr", v.details);
}

template <typename A> void describe(A& a, XsaveComponent& v) {
  a.number("number", v.number);
  a.number("offset", v.offset);
  a.number("size", v.size);
}

template <typename A> void describe(A& a, CpuidLeaf& v) {
  a.number("leaf", v.leaf);
  a.number("subleaf", v.subleaf);
  a.number("eax", v.eax);
  a.number("ebx", v.ebx);
  a.number("ecx", v.ecx);
  a.number("edx", v.edx);
}

template <typename A> void describe(A& a, Cpu& v) {
  a.number("xsaveFeatures", v.xsave_features);
  a.list("xsaveLayout", v.xsave_layout);
  a.list("cpuid", v.cpuid);
  a.number("hwcap", v.hwcap);
  a.number("hwcap2", v.hwcap2);
}

template <typename A> void describe(A& a, Extension& v) {
  a.bytes("id", v.id);
  a.number("version", v.version);
  a.number("critical", v.critical);
  a.bytes("payload", v.payload);
}

template <typename A> void describe(A& a, PersistentCheckpoint& v) {
  a.number("machine", v.machine);
  a.number("elfClass", v.elf_class);
  a.number("dataEncoding", v.data_encoding);
  a.number("pageStream.pageSize", v.page_size);
  a.number("pageStream.chunkPages", v.chunk_pages);
  a.bytes("producer", v.producer);
  a.member("position", v.position);
  a.member("trace", v.trace);
  a.list("processes", v.thread_groups);
  a.list("tasks", v.tasks);
  a.list("addressSpaces", v.address_spaces);
  a.list("memoryObjects", v.objects);
  a.list("fileTables", v.fd_tables);
  a.maybe("cpu", v.cpu);
  a.maybe("session", v.session);
  a.list("extensions", v.extensions);
}

/** Frees a handle of the library at the end of a scope. */
template <typename Handle> class Owned {
public:
  explicit Owned(void (*release)(Handle*)) : release(release) {}
  ~Owned() { release(handle); }
  Owned(const Owned&) = delete;
  Owned& operator=(const Owned&) = delete;
  Handle** out() { return &handle; }
  Handle* get() const { return handle; }

private:
  Handle* handle = nullptr;
  void (*release)(Handle*);
};

/** Stores rows of pages and sets the list of runs at `path`. */
template <typename Read>
void store(rrpcp_writer* writer, rrpcp_node* state, const string& path,
           const vector<Pages>& rows, uint32_t page_size, Bytes& buffer,
           Read read, Status& status) {
  if (rows.empty() || !status.ok()) {
    return;
  }
  rrpcp_error* error = nullptr;
  Owned<rrpcp_runs> runs(rrpcp_runs_free);
  rrpcp_runs_new(runs.out(), &error);
  status.take(error);
  uint64_t offset = 0;
  for (const Pages& row : rows) {
    if (row.kind != Pages::STORED) {
      if (status.ok()) {
        rrpcp_runs_add(runs.get(), row.kind, row.pages, &error);
        status.take(error);
      }
      offset += row.pages * page_size;
      continue;
    }
    for (uint64_t left = row.pages * page_size; left > 0 && status.ok();) {
      const size_t size = static_cast<size_t>(min<uint64_t>(left, PIECE));
      buffer.resize(size);
      if (!read(offset, buffer.data(), size)) {
        status.fail("cannot read the contents of " + path);
        return;
      }
      rrpcp_writer_append(writer, buffer.data(), size, runs.get(), &error);
      status.take(error);
      offset += size;
      left -= size;
    }
  }
  if (status.ok()) {
    rrpcp_set_runs(state, path.c_str(), runs.get(), &error);
    status.take(error);
  }
}

} // namespace

bool save(const PersistentCheckpoint& checkpoint, const string& directory,
          const PageSource& pages, string* path, string* error_text) {
  Status status;
  rrpcp_error* error = nullptr;
  Owned<rrpcp_draft> draft(rrpcp_draft_free);
  rrpcp_draft_new(draft.out(), &error);
  status.take(error);
  if (!status.ok()) {
    return status.finish(error_text);
  }
  Owned<rrpcp_node> state(rrpcp_node_free);
  rrpcp_get_node(rrpcp_draft_root(draft.get()), "state", state.out(), &error);
  status.take(error);
  if (!status.ok()) {
    return status.finish(error_text);
  }
  Saver saver(state.get(), status);
  describe(saver, const_cast<PersistentCheckpoint&>(checkpoint)); // a Saver only reads
  if (!status.ok()) {
    return status.finish(error_text);
  }

  rrpcp_write_options options = {};
  options.size = sizeof options;
  options.validate = 1;
  Owned<rrpcp_writer> writer(rrpcp_writer_free);
  rrpcp_write_directory(directory.c_str(), draft.get(), &options, writer.out(),
                        &error);
  status.take(error);
  Bytes buffer;
  for (size_t o = 0; o < checkpoint.objects.size() && status.ok(); ++o) {
    store(
        writer.get(), state.get(), "memoryObjects[" + to_string(o) + "].runs",
        checkpoint.objects[o].contents, checkpoint.page_size, buffer,
        [&](uint64_t offset, void* to, size_t size) {
          return pages.read_object(o, offset, to, size);
        },
        status);
  }
  for (size_t s = 0; s < checkpoint.address_spaces.size(); ++s) {
    const vector<Mapping>& mappings = checkpoint.address_spaces[s].mappings;
    for (size_t m = 0; m < mappings.size() && status.ok(); ++m) {
      store(
          writer.get(), state.get(),
          "addressSpaces[" + to_string(s) + "].mappings[" + to_string(m) +
              "].runs",
          mappings[m].contents, checkpoint.page_size, buffer,
          [&](uint64_t offset, void* to, size_t size) {
            return pages.read_mapping(s, m, offset, to, size);
          },
          status);
    }
  }
  char* name = nullptr;
  if (status.ok()) {
    rrpcp_writer_finish(writer.get(), nullptr, &name, &error);
    status.take(error);
  }
  if (status.ok() && path) {
    *path = name;
  }
  rrpcp_free(name);
  return status.finish(error_text);
}

struct CheckpointFile::Impl {
  rrpcp_checkpoint* file = nullptr;
  PersistentCheckpoint checkpoint;
  string trace_directory;
  vector<rrpcp_memory*> memory; // by address space, opened when first read

  ~Impl() {
    for (rrpcp_memory* view : memory) {
      rrpcp_memory_close(view);
    }
    rrpcp_close(file);
  }

  /** Pages of a list of runs, from the page stream. */
  bool read_runs(const string& path, uint64_t offset, void* buffer, size_t size) {
    const rrpcp_node* root = rrpcp_manifest(file);
    const uint64_t page_size = checkpoint.page_size;
    size_t count = 0;
    if (rrpcp_get_count(root, path.c_str(), &count, nullptr) != RRPCP_OK) {
      return false;
    }
    uint64_t page = offset / page_size;
    uint64_t left = size / page_size;
    auto* to = static_cast<uint8_t*>(buffer);
    uint64_t at = 0; // first page of the run
    for (size_t i = 0; i < count && left > 0; ++i) {
      const string run = path + "[" + to_string(i) + "].";
      uint64_t kind = 0, pages = 0, first = 0;
      if (rrpcp_get_u64(root, (run + "kind").c_str(), &kind, nullptr) != RRPCP_OK ||
          rrpcp_get_u64(root, (run + "pages").c_str(), &pages, nullptr) != RRPCP_OK ||
          rrpcp_get_u64(root, (run + "first").c_str(), &first, nullptr) != RRPCP_OK) {
        return false;
      }
      if (page < at + pages) {
        const uint64_t here = min(left, at + pages - page);
        if (kind == Pages::STORED) {
          if (rrpcp_read_pages(file, first + (page - at), here, to, nullptr) != RRPCP_OK) {
            return false;
          }
        } else if (kind == Pages::ZERO) {
          memset(to, 0, here * page_size);
        } else {
          return false;
        }
        page += here;
        left -= here;
        to += here * page_size;
      }
      at += pages;
    }
    return left == 0;
  }
};

CheckpointFile::CheckpointFile() : impl(nullptr) {}

CheckpointFile::~CheckpointFile() { delete impl; }

bool CheckpointFile::open(const string& path, const string& trace_directory,
                          string* error_text) {
  delete impl;
  impl = new Impl;
  impl->trace_directory = trace_directory;
  Status status;
  rrpcp_error* error = nullptr;
  rrpcp_open(path.c_str(), &impl->file, &error);
  status.take(error);
  if (!status.ok()) {
    return status.finish(error_text);
  }
  Owned<rrpcp_node> state(rrpcp_node_free);
  rrpcp_get_node(rrpcp_manifest(impl->file), "state", state.out(), &error);
  status.take(error);
  if (status.ok()) {
    Loader loader(state.get(), status);
    describe(loader, impl->checkpoint);
  }
  impl->memory.resize(impl->checkpoint.address_spaces.size());
  return status.finish(error_text);
}

const PersistentCheckpoint& CheckpointFile::checkpoint() const {
  return impl->checkpoint;
}

bool CheckpointFile::read_memory(size_t space, uint64_t address, void* buffer,
                                 size_t size, string* error_text) {
  Status status;
  rrpcp_error* error = nullptr;
  if (space >= impl->memory.size()) {
    status.fail("there is no such address space");
    return status.finish(error_text);
  }
  if (!impl->memory[space]) {
    rrpcp_memory_open(impl->file, space, impl->trace_directory.c_str(), 1,
                      &impl->memory[space], &error);
    status.take(error);
  }
  size_t done = 0;
  if (status.ok()) {
    rrpcp_memory_read(impl->memory[space], address, buffer, size, &done, &error);
    status.take(error);
  }
  if (status.ok() && done != size) {
    status.fail("memory is not stored");
  }
  return status.finish(error_text);
}

PageSource CheckpointFile::page_source() {
  PageSource source;
  Impl* from = impl;
  source.read_mapping = [from](size_t space, size_t mapping, uint64_t offset,
                               void* buffer, size_t size) {
    return from->read_runs("state.addressSpaces[" + to_string(space) +
                               "].mappings[" + to_string(mapping) + "].runs",
                           offset, buffer, size);
  };
  source.read_object = [from](size_t object, uint64_t offset, void* buffer,
                              size_t size) {
    return from->read_runs("state.memoryObjects[" + to_string(object) + "].runs",
                           offset, buffer, size);
  };
  return source;
}

bool list(const string& directory, vector<Listed>* out, string* error_text) {
  Status status;
  rrpcp_error* error = nullptr;
  Owned<rrpcp_listing> listing(rrpcp_listing_free);
  rrpcp_list(directory.c_str(), listing.out(), &error);
  status.take(error);
  out->clear();
  for (size_t i = 0; status.ok() && i < rrpcp_listing_count(listing.get()); ++i) {
    Listed entry;
    entry.path = rrpcp_listing_path(listing.get(), i);
    if (const rrpcp_error* problem = rrpcp_listing_problem(listing.get(), i)) {
      entry.problem = rrpcp_error_text(problem);
    }
    rrpcp_header header;
    rrpcp_listing_header(listing.get(), i, &header, sizeof header);
    entry.event = header.event;
    entry.ticks = header.ticks;
    entry.mark_event = header.mark_event;
    entry.trace_uuid.assign(header.trace_uuid, header.trace_uuid + 16);
    entry.id.assign(header.id, header.id + 16);
    out->push_back(entry);
  }
  return status.finish(error_text);
}

const Listed* choose(const vector<Listed>& listed, int64_t event,
                     const Bytes& trace_uuid) {
  const Listed* best = nullptr;
  for (const Listed& entry : listed) {
    if (entry.problem.empty() && entry.event <= event &&
        entry.trace_uuid == trace_uuid) {
      best = &entry; // they are ordered by position
    }
  }
  return best;
}

namespace {

/** Marks the pages of a file that rows of a mapping or object refer to. */
void mark_used(const vector<Pages>& rows, uint64_t first_page, vector<bool>& used) {
  uint64_t page = first_page;
  for (const Pages& row : rows) {
    for (uint64_t i = 0; i < row.pages; ++i, ++page) {
      if (row.kind == Pages::BACKING && page < used.size()) {
        used[page] = true;
      }
    }
  }
}

} // namespace

bool digest_backing_files(PersistentCheckpoint* checkpoint,
                          const string& trace_directory, string* error_text) {
  Status status;
  for (size_t o = 0; o < checkpoint->objects.size() && status.ok(); ++o) {
    MemoryObject& object = checkpoint->objects[o];
    if (object.kind != MemoryObject::FILE || !object.file.in_trace) {
      continue;
    }
    const string path = trace_directory + "/" + object.file.path;
    const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
    struct stat info;
    if (fd < 0 || fstat(fd, &info) != 0) {
      status.fail(path + ": cannot be read");
      if (fd >= 0) {
        close(fd);
      }
      break;
    }
    const uint64_t size = static_cast<uint64_t>(info.st_size);
    object.file.size = size;
    object.file.digests.clear();
    void* bytes = size ? mmap(nullptr, size, PROT_READ, MAP_PRIVATE, fd, 0) : nullptr;
    close(fd);
    if (bytes == MAP_FAILED) {
      status.fail(path + ": cannot be mapped");
      break;
    }
    const uint64_t page_size = checkpoint->page_size;
    vector<bool> used((size + page_size - 1) / page_size);
    mark_used(object.contents, 0, used);
    for (AddressSpace& space : checkpoint->address_spaces) {
      for (Mapping& mapping : space.mappings) {
        if (mapping.object != o) {
          continue;
        }
        vector<Pages> rows = mapping.contents;
        if (rows.empty() && object.contents.empty()) {
          rows.push_back({ Pages::BACKING, (mapping.end - mapping.start) / page_size });
        }
        mark_used(rows, mapping.object_offset / page_size, used);
      }
    }
    for (size_t first = 0; first < used.size();) {
      if (!used[first]) {
        ++first;
        continue;
      }
      size_t end = first;
      while (end < used.size() && used[end]) {
        ++end;
      }
      RangeDigest range;
      range.offset = first * page_size;
      range.length = min<uint64_t>(end * page_size, size) - range.offset;
      rrpcp_digest(static_cast<const uint8_t*>(bytes) + range.offset,
                   static_cast<size_t>(range.length), &range.high, &range.low);
      object.file.digests.push_back(range);
      first = end;
    }
    if (bytes) {
      munmap(bytes, size);
    }
  }
  return status.finish(error_text);
}

} // namespace pcp
} // namespace rr
