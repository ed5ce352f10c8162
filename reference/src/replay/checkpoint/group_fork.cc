#include "replay/checkpoint/group_fork.h"

#include "base/page.h"
#include "container/kj_errors.h"
#include "process/proc_maps.h"
#include "process/remote_calls.h"
#include "process/remote_memory.h"
#include "process/restore/memory_objects.h"
#include "process/restore/page_copy.h"
#include "process/restore/process_builder.h"
#include "process/restore/state_checks.h"
#include "replay/checkpoint/thread_attributes.h"
#include "rrpcp/error.h"
#include "rrpcp/memory_view.h"

#include <algorithm>
#include <cstring>
#include <fcntl.h>
#include <sched.h>
#include <set>
#include <string>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <tuple>
#include <unistd.h>
#include <utility>

namespace rrpcp::replay {

namespace {

constexpr std::size_t kPiece = 64 << 10;

// What makes memory at one address the same kind of memory in two checkpoints.
struct PieceKind {
  std::uint32_t flags = 0;
  std::uint32_t advice = 0;
  std::uint16_t pkey = 0;
  std::string file;           // empty: anonymous
  std::uint64_t distance = 0; // of the address from the offset in the file

  bool operator==(const PieceKind&) const = default;
};

struct Piece {
  std::uint64_t start = 0;
  std::uint64_t end = 0;
  std::uint32_t protection = 0;
  PieceKind kind;
};

bool is_shared(schema::Mapping::Reader mapping) {
  return (mapping.getFlags() & MAP_SHARED) != 0;
}

// `which` tells shared objects of two checkpoints apart: a fork would go on sharing them, so they
// are always mapped anew.
std::string file_of(schema::State::Reader state, schema::Mapping::Reader mapping,
                    const char* which) {
  if (mapping.getObject() == schema::NO_INDEX) {
    return "";
  }
  if (is_shared(mapping)) {
    return which + std::to_string(mapping.getObject());
  }
  const schema::FileIdentity::Reader file = state.getMemoryObjects()[mapping.getObject()].getFile();
  return (file.getPathBase() == schema::PathBase::TRACE ? "trace:" : "") +
         std::string(reinterpret_cast<const char*>(file.getPath().begin()), file.getPath().size());
}

std::vector<Piece> pieces_of(schema::State::Reader state, schema::AddressSpace::Reader space,
                             const char* which) {
  std::vector<Piece> pieces;
  for (schema::Mapping::Reader mapping : space.getMappings()) {
    Piece& piece = pieces.emplace_back();
    piece.start = mapping.getStart();
    piece.end = mapping.getEnd();
    piece.protection = mapping.getProtection();
    piece.kind = {mapping.getFlags(), mapping.getAdvice(), mapping.getPkey(),
                  file_of(state, mapping, which), 0};
    if (!piece.kind.file.empty()) {
      piece.kind.distance = mapping.getStart() - mapping.getObjectOffset();
    }
  }
  return pieces;
}

const Piece* piece_at(const std::vector<Piece>& pieces, std::uint64_t address) {
  auto after =
      std::upper_bound(pieces.begin(), pieces.end(), address,
                       [](std::uint64_t a, const Piece& piece) { return a < piece.start; });
  if (after == pieces.begin() || (after - 1)->end <= address) {
    return nullptr;
  }
  return &*(after - 1);
}

// Only what a fork keeps apart and this file can make: private memory and mappings of files.
bool can_be_forked(schema::State::Reader state) {
  for (schema::AddressSpace::Reader space : state.getAddressSpaces()) {
    for (schema::Mapping::Reader mapping : space.getMappings()) {
      if (mapping.getRole() == schema::MappingRole::VSYSCALL) {
        continue; // the kernel's, in every process
      }
      const bool special = mapping.getRole() == schema::MappingRole::VDSO ||
                           mapping.getRole() == schema::MappingRole::VVAR;
      bool known = true;
      if (mapping.getObject() != schema::NO_INDEX) {
        const schema::MemoryObject::Reader object = state.getMemoryObjects()[mapping.getObject()];
        known = is_shared(mapping) ? object.isMemfd() || object.isAnonymous() : object.isFile();
      }
      constexpr std::uint32_t kNotForked = 3; // MADV_DONTFORK, MADV_WIPEONFORK
      for (schema::PageRun::Reader run : mapping.getRuns()) {
        known = known && (run.getKind() <= schema::RunKind::BACKING ||
                          run.getKind() == schema::RunKind::BASE);
      }
      if (special || !known || (mapping.getAdvice() & kNotForked) != 0) {
        return false;
      }
    }
  }
  std::set<std::uint32_t> spaces;
  for (std::uint32_t i = 0; i < state.getTasks().size(); ++i) {
    const schema::Task::Reader task = state.getTasks()[i];
    if (i == 0 || state.getTasks()[i - 1].getProcess() != task.getProcess()) {
      if (!spaces.insert(task.getAddressSpace()).second) {
        return false; // processes that share their memory
      }
    }
  }
  return true;
}

std::uint32_t space_of(schema::State::Reader state, std::uint32_t process) {
  for (schema::Task::Reader task : state.getTasks()) {
    if (task.getProcess() == process) {
      return task.getAddressSpace();
    }
  }
  return schema::NO_INDEX;
}

// Changes one process, a fresh fork, from what it was in one checkpoint to what it is in another.
class Change {
public:
  Change(const CheckpointReader& from, std::uint32_t from_space, const CheckpointReader& to,
         std::uint32_t to_space, process::Tracee& tracee,
         const process::restore::MemoryObjects& objects, const GroupRestoreOptions& options)
      : from_(from), to_(to), from_space_(from_space), to_space_(to_space), options_(options),
        objects_(objects), tracee_(tracee), memory_(tracee.tid()),
        old_(pieces_of(from.state(), from.state().getAddressSpaces()[from_space], "old object ")),
        new_(pieces_of(to.state(), to.state().getAddressSpaces()[to_space], "new object ")) {}

  // `pages` false: those of private memory are what they are to be.
  void carry_out(bool pages) {
    {
      const std::optional<std::uint64_t> instruction =
          process::find_syscall_instruction(tracee_.tid(), process::read_mappings(tracee_.tid()));
      process::RemoteCalls calls(tracee_, instruction);
      // Everything is mapped before anything is unmapped, but for what lies in the way: the code
      // through which calls are made is the same in both as a rule.
      change_heap(calls);
      change_mappings(calls);
      calls.finish();
    }
    if (pages) {
      write_pages();
    }
  }

private:
  void change_heap(process::RemoteCalls& calls) {
    const std::uint64_t before = from_.state().getAddressSpaces()[from_space_].getLayout().getBrk();
    const std::uint64_t after = to_.state().getAddressSpaces()[to_space_].getLayout().getBrk();
    if (before == after) {
      return;
    }
    if (calls.require("moving the end of the heap", SYS_brk, after) != after) {
      throw Error(ErrorCode::kSystem, "the end of the heap cannot be moved");
    }
    // What it made or removed is the heap's last piece.
    const std::uint64_t page = 4096;
    const std::uint64_t end = (after + page - 1) & ~(page - 1);
    for (const Piece& piece : new_) {
      if (piece.end == end && piece.kind.file.empty()) {
        grown_ = piece;
      }
    }
    const std::uint64_t old_end = (before + page - 1) & ~(page - 1);
    if (end < old_end) {
      cut(end, old_end);
    } else if (end > old_end && grown_) {
      old_.push_back({old_end, end, PROT_READ | PROT_WRITE, grown_->kind});
      std::sort(old_.begin(), old_.end(),
                [](const Piece& a, const Piece& b) { return a.start < b.start; });
    }
  }

  // Forgets that there was memory.
  void cut(std::uint64_t start, std::uint64_t end) {
    std::vector<Piece> rest;
    for (const Piece& piece : old_) {
      if (piece.end <= start || piece.start >= end) {
        rest.push_back(piece);
        continue;
      }
      if (piece.start < start) {
        rest.push_back(piece);
        rest.back().end = start;
      }
      if (piece.end > end) {
        rest.push_back(piece);
        rest.back().start = end;
      }
    }
    old_ = rest;
  }

  void change_mappings(process::RemoteCalls& calls) {
    std::set<std::uint64_t> bounds;
    for (const std::vector<Piece>* pieces : {&old_, &new_}) {
      for (const Piece& piece : *pieces) {
        bounds.insert(piece.start);
        bounds.insert(piece.end);
      }
    }
    std::vector<std::pair<std::uint64_t, std::uint64_t>> intervals;
    std::uint64_t previous = 0;
    for (std::uint64_t bound : bounds) {
      if (previous != 0) {
        intervals.emplace_back(previous, bound);
      }
      previous = bound;
    }
    for (bool removing : {false, true}) {
      for (const auto& [start, end] : intervals) {
        const Piece* before = piece_at(old_, start);
        const Piece* after = piece_at(new_, start);
        if (after == nullptr) {
          if (before != nullptr && removing) {
            calls.require("unmapping memory", SYS_munmap, start, end - start);
          }
        } else if (removing) {
          continue;
        } else if (before == nullptr || before->kind != after->kind) {
          map(calls, *after, start, end);
          fresh_.push_back({start, end, after->protection, after->kind});
        } else if (before->protection != after->protection) {
          calls.require("protecting memory", SYS_mprotect, start, end - start, after->protection);
        }
      }
    }
  }

  void map(process::RemoteCalls& calls, const Piece& piece, std::uint64_t start,
           std::uint64_t end) {
    if (piece.kind.file.empty()) {
      calls.require("mapping memory", SYS_mmap, start, end - start, piece.protection,
                    (piece.kind.flags & ~std::uint32_t{MAP_LOCKED}) | MAP_FIXED | MAP_ANONYMOUS,
                    ~std::uint64_t{0}, 0);
      return;
    }
    const schema::State::Reader state = to_.state();
    for (schema::Mapping::Reader mapping : state.getAddressSpaces()[to_space_].getMappings()) {
      if (mapping.getStart() > start || mapping.getEnd() <= start) {
        continue;
      }
      // Files were verified with the objects.
      const bool writable =
          is_shared(mapping) &&
          ((mapping.getProtection() | mapping.getMaximumProtection()) & PROT_WRITE) != 0;
      const std::string path = "/proc/" + std::to_string(::getpid()) + "/fd/" +
                               std::to_string(objects_.descriptor(mapping.getObject(), writable));
      const std::uint64_t place =
          calls.require("mapping memory", SYS_mmap, 0, 4096, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS, ~std::uint64_t{0}, 0);
      memory_.write(place, std::as_bytes(std::span(path.c_str(), path.size() + 1)));
      const std::int64_t fd =
          calls.call(SYS_openat, AT_FDCWD, place, (writable ? O_RDWR : O_RDONLY) | O_CLOEXEC, 0);
      calls.require("unmapping memory", SYS_munmap, place, 4096);
      if (fd < 0) {
        throw system_error(static_cast<int>(-fd), "cannot open a mapped file").in_file(path);
      }
      calls.require("mapping a file", SYS_mmap, start, end - start, piece.protection,
                    (piece.kind.flags & ~std::uint32_t{MAP_LOCKED}) | MAP_FIXED, fd,
                    start - piece.kind.distance);
      calls.require("closing a file", SYS_close, fd);
      return;
    }
  }

  bool is_fresh(std::uint64_t address) const {
    return std::any_of(fresh_.begin(), fresh_.end(), [&](const Piece& piece) {
      return piece.start <= address && address < piece.end;
    });
  }

  // Writes the pages that are not what the fork has.
  void write_pages() {
    const BackingFiles files{options_.trace_directory, false};
    MemoryView before(from_, from_space_, files);
    MemoryView after(to_, to_space_, files);
    std::vector<std::byte> wanted(kPiece);
    std::vector<std::byte> there(kPiece);
    const schema::AddressSpace::Reader space = to_.state().getAddressSpaces()[to_space_];
    for (schema::Mapping::Reader mapping : space.getMappings()) {
      if (mapping.getRole() == schema::MappingRole::VSYSCALL || is_shared(mapping)) {
        continue;
      }
      const bool plain = mapping.getRuns().size() == 0 && mapping.getObject() == schema::NO_INDEX;
      for (std::uint64_t at = mapping.getStart(); at < mapping.getEnd(); at += kPiece) {
        const std::size_t size = std::min<std::uint64_t>(kPiece, mapping.getEnd() - at);
        const std::size_t readable =
            plain ? size : after.read(at, std::span(wanted).first(size)) / kPage * kPage;
        if (plain) {
          std::fill(wanted.begin(), wanted.end(), std::byte{0});
        }
        for (std::size_t page = 0; page < readable; page += kPage) {
          const std::uint64_t address = at + page;
          const std::span<std::byte> have = std::span(there).first(kPage);
          if (is_fresh(address) && mapping.getObject() == schema::NO_INDEX) {
            std::fill(have.begin(), have.end(), std::byte{0});
          } else if (is_fresh(address)) {
            memory_.read(address, have);
          } else if (before.read(address, have) != kPage) {
            std::fill(have.begin(), have.end(), std::byte{0}); // the heap has grown by it
          }
          if (std::memcmp(have.data(), wanted.data() + page, kPage) != 0) {
            memory_.write(address, std::span(wanted).subspan(page, kPage));
          }
        }
      }
    }
  }

  const CheckpointReader& from_;
  const CheckpointReader& to_;
  const std::uint32_t from_space_;
  const std::uint32_t to_space_;
  const GroupRestoreOptions& options_;
  const process::restore::MemoryObjects& objects_;
  process::Tracee& tracee_;
  process::RemoteMemory memory_;
  std::vector<Piece> old_;
  std::vector<Piece> new_;
  std::vector<Piece> fresh_;
  std::optional<Piece> grown_;
};

// A task that the thread makes by clone(2) with `flags`, in an event stop.
process::Tracee make_task(process::Tracee& maker, std::uint64_t flags, std::uintptr_t options) {
  const std::optional<std::uint64_t> instruction =
      process::find_syscall_instruction(maker.tid(), process::read_mappings(maker.tid()));
  maker.set_options(options | PTRACE_O_TRACECLONE);
  std::optional<process::Tracee> made;
  {
    process::RemoteCalls calls(maker, instruction);
    calls.require("making a task", SYS_clone, flags, 0, 0, 0, 0);
    const std::optional<pid_t> tid = calls.take_new_thread();
    if (!tid) {
      throw Error(ErrorCode::kInternal, "a new task was not reported");
    }
    made = process::Tracee::adopt(*tid, false);
    made->wait_stop();
    calls.finish();
  }
  maker.set_options(options);
  made->set_options(options);
  return std::move(*made);
}

} // namespace

std::optional<RestoredGroup> fork_group(const CheckpointReader& reader, RestoredGroup& previous,
                                        const CheckpointReader& next,
                                        const GroupRestoreOptions& options) {
  return with_kj_errors(next.name(), [&]() -> std::optional<RestoredGroup> {
    process::restore::check_machine(next);
    process::restore::check_rules(next);
    const schema::State::Reader before = reader.state();
    const schema::State::Reader after = next.state();
    if (!can_be_forked(before) || !can_be_forked(after)) {
      return std::nullopt;
    }
    // For each process of `next` the one that it is forked from.
    std::vector<std::size_t> sources;
    for (std::uint32_t i = 0; i < after.getProcesses().size(); ++i) {
      bool found = false;
      for (std::uint32_t k = 0; k < before.getProcesses().size() && !found; ++k) {
        const auto old_space = before.getAddressSpaces()[space_of(before, k)];
        const auto new_space = after.getAddressSpaces()[space_of(after, i)];
        found = before.getProcesses()[k].getPid() == after.getProcesses()[i].getPid() &&
                before.getProcesses()[k].getSerial() == after.getProcesses()[i].getSerial() &&
                old_space.getFirstRunEvent() == new_space.getFirstRunEvent();
        if (found) {
          sources.push_back(k);
        }
      }
      if (!found) {
        return std::nullopt;
      }
    }
    const std::uintptr_t trace_options =
        options.trace_options | PTRACE_O_TRACESYSGOOD | PTRACE_O_EXITKILL;
    RestoreOptions restore_options;
    restore_options.files = {options.trace_directory, options.verify_files};
    restore_options.threads = options.threads;
    process::restore::Obstacles obstacles(restore_options.allow, next.name());
    process::restore::MemoryObjects objects(next, restore_options, obstacles);
    obstacles.throw_if_any();
    objects.acquire(obstacles);
    obstacles.throw_if_any();
    process::restore::copy_pages(objects.contents(), ::getpid(), options.threads);
    RestoredGroup group;
    group.objects = keep_descriptors(objects);
    try {
      for (std::uint32_t i = 0; i < sources.size(); ++i) {
        RestoredProcess& process = group.processes.emplace_back();
        process.logical_pid = after.getProcesses()[i].getPid();
        process::Tracee& source = previous.processes[sources[i]].threads.front().tracee;
        process::Tracee leader = make_task(source, CLONE_PARENT | SIGCHLD, trace_options);
        process.pid = leader.tid();
        std::vector<std::uint32_t> tasks;
        for (std::uint32_t t = 0; t < after.getTasks().size(); ++t) {
          if (after.getTasks()[t].getProcess() == i) {
            tasks.push_back(t);
          }
        }
        process.threads.push_back(
            {after.getTasks()[tasks.front()].getTid(), tasks.front(), std::move(leader)});
        Change(reader, space_of(before, static_cast<std::uint32_t>(sources[i])), next,
               space_of(after, i), process.threads.front().tracee, objects, options)
            .carry_out(&next != &reader);
        for (std::size_t t = 1; t < tasks.size(); ++t) {
          constexpr std::uint64_t kThread =
              CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD | CLONE_SYSVSEM;
          process::Tracee thread =
              make_task(process.threads.front().tracee, kThread, trace_options);
          process.threads.push_back(
              {after.getTasks()[tasks[t]].getTid(), tasks[t], std::move(thread)});
        }
        const std::optional<std::uint64_t> instruction =
            process::find_syscall_instruction(process.pid, process::read_mappings(process.pid));
        for (std::size_t t = tasks.size(); t-- > 0;) {
          set_stored_thread(process.threads[t].tracee, next, tasks[t], instruction, t == 0);
        }
      }
    } catch (...) {
      kill_group(group.processes);
      throw;
    }
    return group;
  });
}

} // namespace rrpcp::replay
