// Saving whole trees of stopped processes and making them again, without a replay.

#include "process/child_process.h"
#include "process/proc_tasks.h"
#include "process/remote_memory.h"
#include "process/world.h"
#include "replay/checkpoint/process_group.h"
#include "rrpcp/error.h"
#include "rrpcp/validate.h"
#include "support/temp_dir.h"

#include <atomic>
#include <csignal>
#include <cstring>
#include <functional>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <map>
#include <new>
#include <sched.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <thread>
#include <unistd.h>

namespace rrpcp::replay {
namespace {

using test::ChildProcess;
using test::TempDir;
using test::World;

// What the processes of a tree share with each other and with the test.
struct Shared {
  std::atomic<int> ready;
  std::atomic<int> go;
  std::atomic<int> sum;
  std::atomic<pid_t> child;
};

void work(Shared& shared, int value) {
  shared.ready.fetch_add(1);
  while (shared.go.load() == 0) {
  }
  shared.sum.fetch_add(value);
}

// A parent with two threads and its child, all of them spinning until `go`.
int run_tree(Shared& shared) {
  std::vector<int> heap(100'000, 3);
  const pid_t child = ::fork();
  if (child == 0) {
    heap[5] = 40;
    work(shared, heap[5]);
    ::_exit(7);
  }
  shared.child = child;
  std::thread thread([&] { work(shared, heap[99'999]); });
  work(shared, 100);
  while (shared.sum.load() != 143) {
  }
  thread.detach();
  return 43;
}

// The stack of a child that shares its parent's memory.
alignas(16) std::byte clone_stack[64 << 10];

int run_sharer(void* argument) {
  ::signal(SIGUSR1, SIG_IGN); // its own: signal handlers are not shared
  work(*static_cast<Shared*>(argument), 1000);
  ::syscall(SYS_exit, 9);
  return 0;
}

// A process and a child that shares its memory.
int run_sharing_tree(Shared& shared) {
  shared.child = ::clone(run_sharer, clone_stack + sizeof clone_stack, CLONE_VM | SIGCHLD, &shared);
  work(shared, 1);
  while (shared.sum.load() != 1001) {
  }
  return 44;
}

// A process whose main thread has ended.
int run_headless(Shared& shared) {
  std::thread thread([&] {
    while (::kill(::getpid(), 0) != 0 || shared.ready.load() == 0) {
    }
    work(shared, 5);
    ::syscall(SYS_exit_group, 45);
  });
  shared.ready = 1;
  ::syscall(SYS_exit, 0);
  return 1;
}

class ProcessGroup : public testing::Test {
protected:
  ProcessGroup()
      : shared_(new (::mmap(nullptr, sizeof(Shared), PROT_READ | PROT_WRITE,
                            MAP_SHARED | MAP_ANONYMOUS, -1, 0)) Shared{}) {}
  ~ProcessGroup() override {
    for (pid_t pid : extra_) {
      ::kill(pid, SIGKILL);
    }
    ::munmap(shared_, sizeof(Shared));
  }

  // Starts a tree and stops it as soon as `ready` threads say so.
  void start(int (*body)(Shared&), int ready) {
    root_ = std::make_unique<ChildProcess>([=, this] {
      ChildProcess::announce_ready();
      return body(*shared_);
    });
    while (shared_->ready.load() < ready) {
      ::sched_yield();
    }
    add(root_->pid());
    if (shared_->child != 0) {
      extra_.push_back(shared_->child);
      add(shared_->child);
    }
  }

  void add(pid_t pid) {
    // Logical ids are others than those of the kernel, and in another order.
    GroupProcess process{1000 - static_cast<pid_t>(group_.size()) * 100, pid, {}};
    pid_t logical = process.logical_pid;
    for (pid_t tid : process::read_thread_ids(pid)) {
      try {
        tracees_.push_back(
            std::make_unique<process::Tracee>(process::Tracee::seize(tid, PTRACE_O_TRACESYSGOOD)));
      } catch (const Error&) {
        ++logical; // the main thread has ended
        continue;
      }
      tracees_.back()->stop();
      process.threads.push_back({logical++, tracees_.back().get()});
    }
    group_.push_back(process);
  }

  std::string save() {
    GroupCapture capture(group_, {});
    describe(capture.state());
    return capture.publish(Store(dir_.file("checkpoints")));
  }

  static void describe(schema::State::Builder state) {
    static const unsigned char uuid[16] = {1, 2, 3};
    state.setProducer("org.rrpcp.rr");
    auto clone = state.initPosition().initClone();
    clone.setEvent(17);
    state.getPosition().setAtEvent();
    state.initTrace().setUuid({uuid, sizeof uuid});
    state.getTrace().setFormat("org.rrpcp.trace");
    state.initSession();
  }

  void kill_tree() {
    for (const GroupProcess& process : group_) {
      ::kill(process.pid, SIGKILL);
    }
    for (std::size_t i = tracees_.size(); i-- > 0;) { // main threads after the others
      while (tracees_[i]->tid() != root_->pid() && !tracees_[i]->wait().gone()) {
      }
      tracees_[i]->release();
    }
    tracees_.clear();
    extra_.clear();
    root_.reset();
  }

  // The world of a process by logical ids, without what a replay does not have.
  static World world_of(pid_t pid, const std::map<pid_t, pid_t>& logical) {
    World world = test::read_world(pid);
    std::map<pid_t, test::WorldThread> threads;
    for (auto& [tid, thread] : world.threads) {
      if (logical.count(tid) != 0) {
        for (const char* foreign :
             {"Tgid", "Ngid", "NSpid", "parent-death signal", "Umask", "Seccomp", "Threads"}) {
          thread.facts.erase(foreign);
        }
        threads[logical.at(tid)] = thread;
      }
    }
    world.threads = threads;
    std::erase_if(world.facts, [](const auto& fact) {
      return fact.first.starts_with("descriptor") || fact.first == "cwd" || fact.first == "root" ||
             fact.first == "process group" || fact.first == "limits";
    });
    return world;
  }

  std::vector<World> worlds() {
    std::vector<World> found;
    for (const GroupProcess& process : group_) {
      std::map<pid_t, pid_t> logical;
      for (const GroupThread& thread : process.threads) {
        logical[thread.tracee->tid()] = thread.logical_tid;
      }
      found.push_back(world_of(process.pid, logical));
    }
    return found;
  }

  static std::vector<World> worlds(const std::vector<RestoredProcess>& group) {
    std::vector<World> found;
    for (std::size_t i = group.size(); i-- > 0;) { // of the highest logical id first
      std::map<pid_t, pid_t> logical;
      for (const RestoredThread& thread : group[i].threads) {
        logical[thread.tracee.tid()] = thread.logical_tid;
      }
      found.push_back(world_of(group[i].pid, logical));
    }
    return found;
  }

  static void expect_equal(const std::vector<World>& a, const std::vector<World>& b) {
    ASSERT_EQ(a.size(), b.size());
    for (std::size_t i = 0; i < a.size(); ++i) {
      EXPECT_THAT(test::differences(a[i], b[i]), testing::IsEmpty()) << "process " << i;
    }
  }

  // Lets restored processes run on and returns their exit statuses, by logical id.
  std::map<pid_t, int> finish(std::vector<RestoredProcess>& group) {
    const int go = 1;
    process::RemoteMemory(group.back().pid)
        .write(reinterpret_cast<std::uint64_t>(&shared_->go), std::as_bytes(std::span(&go, 1)));
    std::map<pid_t, int> statuses;
    for (RestoredProcess& process : group) {
      for (RestoredThread& thread : process.threads) {
        thread.tracee.detach();
      }
    }
    for (RestoredProcess& process : group) {
      int status = 0;
      EXPECT_EQ(::waitpid(process.pid, &status, __WALL), process.pid);
      statuses[process.logical_pid] = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
    }
    return statuses;
  }

  TempDir dir_;
  Shared* shared_;
  std::unique_ptr<ChildProcess> root_;
  std::vector<pid_t> extra_;
  std::vector<std::unique_ptr<process::Tracee>> tracees_;
  std::vector<GroupProcess> group_;
};

TEST_F(ProcessGroup, TreeIsTheSameAndRunsOn) {
  start(run_tree, 3);
  const std::vector<World> before = worlds();
  const std::string path = save();
  expect_equal(before, worlds()); // it was not disturbed
  const ValidationReport report = validate_file(path);
  EXPECT_TRUE(report.valid()) << report.findings.front().message;
  EXPECT_THAT(report.findings, testing::IsEmpty())
      << report.findings.front().code << " " << report.findings.front().message;
  kill_tree();

  const CheckpointReader reader = CheckpointReader::open(path);
  ASSERT_EQ(reader.state().getProcesses().size(), 2u);
  EXPECT_EQ(reader.state().getProcesses()[0].getPid(), 900);
  EXPECT_EQ(reader.state().getTasks()[1].getTid(), 1000);
  std::vector<RestoredProcess> group = restore_group(reader, {}).processes;
  ASSERT_EQ(group.size(), 2u);
  expect_equal(before, worlds(group));
  EXPECT_EQ(finish(group), (std::map<pid_t, int>{{900, 7}, {1000, 43}}));
}

TEST_F(ProcessGroup, RestoredTreeIsSavedAsItIs) {
  start(run_tree, 3);
  const std::string first = save();
  kill_tree();
  const CheckpointReader reader = CheckpointReader::open(first);
  for (int i = 0; i < 3; ++i) {
    std::vector<RestoredProcess> group = restore_group(reader, {}).processes;
    std::vector<GroupProcess> again;
    for (RestoredProcess& process : group) {
      again.push_back({process.logical_pid, process.pid, {}});
      for (RestoredThread& thread : process.threads) {
        again.back().threads.push_back({thread.logical_tid, &thread.tracee});
      }
    }
    GroupCapture capture(again, {});
    describe(capture.state());
    const CheckpointReader second =
        CheckpointReader::open(capture.publish(Store(dir_.file("again"))));
    EXPECT_EQ(second.state().getTasks().size(), 3u);
    const std::vector<World> once = worlds(group);
    kill_group(group);
    group = restore_group(second, {}).processes;
    expect_equal(once, worlds(group));
    kill_group(group);
  }
  EXPECT_EQ(::waitpid(-1, nullptr, WNOHANG | __WALL), -1) << "a process is left";
}

TEST_F(ProcessGroup, ProcessesThatShareTheirMemory) {
  start(run_sharing_tree, 2);
  std::vector<World> before = worlds();
  const std::string path = save();
  kill_tree();
  const CheckpointReader reader = CheckpointReader::open(path);
  EXPECT_EQ(reader.state().getAddressSpaces().size(), 1u);
  std::vector<RestoredProcess> group = restore_group(reader, {}).processes;
  ASSERT_EQ(group.size(), 2u);
  std::vector<World> after = worlds(group);
  // The memory is that of the first process, whose rseq area (read_world masks it there) tells on
  // which processor it last ran.
  before[1].pages.clear();
  after[1].pages.clear();
  expect_equal(before, after);
  EXPECT_EQ(finish(group), (std::map<pid_t, int>{{900, 9}, {1000, 44}}));
}

TEST_F(ProcessGroup, ProcessWhoseMainThreadHasEnded) {
  start(run_headless, 2);
  const std::string path = save();
  kill_tree();
  const CheckpointReader reader = CheckpointReader::open(path);
  ASSERT_EQ(reader.state().getTasks().size(), 1u);
  EXPECT_NE(reader.state().getTasks()[0].getTid(), reader.state().getProcesses()[0].getPid());
  std::vector<RestoredProcess> group = restore_group(reader, {}).processes;
  EXPECT_EQ(finish(group), (std::map<pid_t, int>{{1000, 45}}));
}

TEST_F(ProcessGroup, NothingIsLeftOfARestoreThatFails) {
  start(run_tree, 3);
  const std::string path = save();
  kill_tree();
  const CheckpointReader reader = CheckpointReader::open(path);
  GroupRestoreOptions options;
  options.trace_options = std::uintptr_t{1} << 40; // no such option
  EXPECT_THROW(restore_group(reader, options), Error);
  EXPECT_EQ(::waitpid(-1, nullptr, WNOHANG | __WALL), -1);
}

} // namespace
} // namespace rrpcp::replay
