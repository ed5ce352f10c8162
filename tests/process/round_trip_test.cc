// The two worlds: a process before it is captured and after it is restored.

#include "process/remote_calls.h"
#include "process/remote_memory.h"
#include "process/subject_process.h"
#include "process/world.h"
#include "rrpcp/process/capture.h"
#include "rrpcp/process/restore.h"

#include <capnp/message.h>
#include <capnp/pretty-print.h>
#include <csignal>
#include <cstring>
#include <elf.h>
#include <filesystem>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <map>
#include <optional>
#include <span>
#include <sstream>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>
#include <utility>

namespace rrpcp {
namespace {

using test::differences;
using test::read_all;
using test::SubjectProcess;
using test::TempDir;
using test::World;
using testing::IsEmpty;

struct Case {
  const char* kind;
  Profile profile;
  bool lazy;
};

void PrintTo(const Case& test_case, std::ostream* out) {
  *out << test_case.kind << " " << profile_name(test_case.profile)
       << (test_case.lazy ? " lazy" : "");
}

std::string case_name(const testing::TestParamInfo<Case>& info) {
  return std::string(info.param.kind) + "_" + std::string(profile_name(info.param.profile)) +
         (info.param.lazy ? "_lazy" : "");
}

class RoundTrip : public testing::TestWithParam<Case> {
protected:
  TempDir dir_;
  const std::string checkpoint_ = dir_.file("subject.pcp");
};

TEST_P(RoundTrip, WorldsAreEqual) {
  const Case& test_case = GetParam();
  SubjectProcess subject(test_case.kind, dir_.path());
  if (!subject.there()) {
    GTEST_SKIP() << "this processor has no registers of " << test_case.kind;
  }
  subject.stop();
  const World before = test::look_at(subject.pid());
  CaptureOptions capture;
  capture.profile = test_case.profile;
  const CaptureResult captured = capture_process(subject.pid(), checkpoint_, capture);
  EXPECT_THAT(captured.warnings, IsEmpty());
  const pid_t pid = subject.pid();
  subject.kill();

  RestoreOptions options;
  options.lazy = test_case.lazy;
  CheckpointReader reader = CheckpointReader::open(checkpoint_);
  RestoredProcess process = restore_process(reader, options);
  EXPECT_EQ(process.pid(), pid);
  EXPECT_THAT(process.warnings(), IsEmpty());
  test::WorldOptions look;
  look.checkpoint = checkpoint_;
  const World after = test::read_world(pid, look);
  EXPECT_THAT(differences(before, after), IsEmpty());

  process.detach_running();
  SubjectProcess::tell_to_go(dir_.path());
  EXPECT_EQ(SubjectProcess::wait_for_end(pid), 0) << read_all(dir_.file("errors"));
  EXPECT_EQ(read_all(dir_.file("result")), SubjectProcess::undisturbed_result(test_case.kind));
}

std::vector<Case> all_cases() {
  std::vector<Case> cases;
  for (const char* kind : {"single", "threads", "avx", "avx512", "fragmented", "gigabyte",
                           "signals", "shared", "files", "sleeper"}) {
    for (Profile profile : {Profile::kRaw, Profile::kFast, Profile::kDefault, Profile::kSmall}) {
      cases.push_back({kind, profile, false});
    }
    cases.push_back({kind, Profile::kRaw, true});
  }
  return cases;
}

INSTANTIATE_TEST_SUITE_P(AllKinds, RoundTrip, testing::ValuesIn(all_cases()), case_name);

// The kernel leaves private memory of files out of core files, and memory that is mapped from the
// checkpoint is such.
TEST(LazyRestore, HasItsMemoryInCoreFiles) {
  const TempDir dir;
  SubjectProcess subject("fragmented", dir.path());
  ASSERT_TRUE(subject.there());
  subject.stop();
  CaptureOptions capture;
  capture.profile = Profile::kRaw;
  capture_process(subject.pid(), dir.file("c.pcp"), capture);
  const std::string filter =
      read_all("/proc/" + std::to_string(subject.pid()) + "/coredump_filter");
  subject.kill();
  for (const bool lazy : {false, true}) {
    RestoreOptions options;
    options.lazy = lazy;
    const CheckpointReader reader = CheckpointReader::open(dir.file("c.pcp"));
    RestoredProcess process = restore_process(reader, options);
    const std::string own = "/proc/" + std::to_string(process.pid());
    EXPECT_EQ(read_all(own + "/maps").find("c.pcp") != std::string::npos, lazy);
    const unsigned long expected = std::stoul(filter, nullptr, 16) | (lazy ? 4u : 0u);
    EXPECT_EQ(std::stoul(read_all(own + "/coredump_filter"), nullptr, 16), expected);
    process.kill();
  }
}

// User and group of every pipe that a process has, by descriptor: who may open it again.
std::map<std::string, std::pair<uid_t, gid_t>> owners_of_pipes(pid_t pid) {
  std::map<std::string, std::pair<uid_t, gid_t>> owners;
  const std::string folder = "/proc/" + std::to_string(pid) + "/fd";
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    struct stat status {};
    if (::stat(entry.path().c_str(), &status) == 0 && S_ISFIFO(status.st_mode)) {
      owners[entry.path().filename()] = {status.st_uid, status.st_gid};
    }
  }
  return owners;
}

TEST(RestoredPipes, BelongToTheUserOfTheProcess) {
  if (::geteuid() != 0) {
    GTEST_SKIP() << "only root can become another user";
  }
  const TempDir dir;
  const TempDir checkpoints; // the subject has the other one open
  SubjectProcess subject("files", dir.path(), true);
  subject.stop();
  const auto owners = owners_of_pipes(subject.pid());
  ASSERT_FALSE(owners.empty());
  ASSERT_NE(owners.begin()->second.first, ::geteuid());
  capture_process(subject.pid(), checkpoints.file("c.pcp"), {});
  subject.kill();
  const CheckpointReader reader = CheckpointReader::open(checkpoints.file("c.pcp"));
  RestoredProcess process = restore_process(reader, {});
  EXPECT_EQ(owners_of_pipes(process.pid()), owners);
  process.kill();
}

class SeriesRoundTrip : public RoundTrip {};

// A process that goes on between captures, of which only what changed is stored, comes back as from
// a full checkpoint.
TEST_P(SeriesRoundTrip, WorldsAreEqual) {
  const Case& test_case = GetParam();
  SubjectProcess subject(test_case.kind, dir_.path());
  ASSERT_TRUE(subject.there());
  subject.stop();
  CaptureOptions capture;
  capture.profile = test_case.profile;
  const TempDir series; // the subject has the other one open
  std::uint64_t full = 0;
  for (const char* name : {"first.pcp", "second.pcp", "third.pcp"}) {
    const CaptureResult result = capture_process(subject.pid(), series.file(name), capture);
    EXPECT_THAT(result.warnings, IsEmpty());
    EXPECT_EQ(result.bases == 0, capture.base.empty());
    full = full == 0 ? result.file_bytes : full;
    EXPECT_TRUE(capture.base.empty() || result.file_bytes < full) << result.file_bytes;
    capture.base = series.file(name);
  }
  const World before = test::look_at(subject.pid());
  const pid_t pid = subject.pid();
  subject.kill();
  RestoreOptions options;
  options.lazy = test_case.lazy;
  const CheckpointReader reader = CheckpointReader::open(series.file("third.pcp"));
  RestoredProcess process = restore_process(reader, options);
  if (!test_case.lazy) { // what is mapped from several files looks different
    EXPECT_THAT(differences(before, test::read_world(pid, {})), IsEmpty());
  }
  process.detach_running();
  SubjectProcess::tell_to_go(dir_.path());
  EXPECT_EQ(SubjectProcess::wait_for_end(pid), 0) << read_all(dir_.file("errors"));
  EXPECT_EQ(read_all(dir_.file("result")), SubjectProcess::undisturbed_result(test_case.kind));
}

INSTANTIATE_TEST_SUITE_P(Kinds, SeriesRoundTrip,
                         testing::Values(Case{"threads", Profile::kRaw, true},
                                         Case{"threads", Profile::kDefault, false},
                                         Case{"fragmented", Profile::kRaw, true},
                                         Case{"shared", Profile::kFast, false}),
                         case_name);

// What a capture says of a process that is stopped, as text, without what cannot be the same twice:
// numbers that the system gives to things that have no name, and time that passes.
std::string state_text(const std::string& checkpoint) {
  const CheckpointReader reader = CheckpointReader::open(checkpoint);
  capnp::MallocMessageBuilder message;
  message.setRoot(reader.state());
  auto state = message.getRoot<schema::State>();
  for (auto object : state.getMemoryObjects()) {
    if (!object.isFile()) {
      object.setDevice(0);
      object.setInode(0);
    }
    if (object.isSystemV()) {
      object.getSystemV().setId(0);
    }
  }
  state.disownClocks();
  for (auto space : state.getAddressSpaces()) {
    for (auto mapping : space.getMappings()) {
      if (mapping.getObject() != schema::NO_INDEX &&
          !state.getMemoryObjects()[mapping.getObject()].isFile()) {
        mapping.setDevice(0);
        mapping.setInode(0);
      }
    }
  }
  std::map<std::uint64_t, std::uint64_t> pipes;
  for (auto file : state.getOpenFiles()) {
    if (file.isPipe()) {
      auto number = pipes.try_emplace(file.getPipe().getId(), pipes.size()).first;
      file.getPipe().setId(number->second);
    }
  }
  for (auto process : state.getProcesses()) {
    for (auto timer : process.getIntervalTimers()) {
      timer.setValue(1);
    }
  }
  for (auto task : state.getTasks()) {
    // Calls that are to be restarted are told so in another way after the hand-over.
    auto general = task.getRegisters()[0].getData();
    constexpr std::size_t kRax = 10 * 8;
    std::int64_t rax = 0;
    std::memcpy(&rax, general.begin() + kRax, sizeof rax);
    if (rax == -516) {
      rax = -514;
      std::memcpy(general.begin() + kRax, &rax, sizeof rax);
    }
  }
  return std::string(kj::str(capnp::prettyPrint(state.asReader())).cStr());
}

std::vector<std::string> lines_of(const std::string& text) {
  std::vector<std::string> lines;
  std::istringstream in(text);
  for (std::string line; std::getline(in, line);) {
    lines.push_back(line);
  }
  return lines;
}

class CapturedAgain : public testing::TestWithParam<const char*> {};

TEST_P(CapturedAgain, StateIsEqual) {
  TempDir dir;
  TempDir checkpoints; // not in the other one, which the subject has open
  SubjectProcess subject(GetParam(), dir.path());
  if (!subject.there()) {
    GTEST_SKIP() << "this processor has no registers of " << GetParam();
  }
  subject.stop();
  CaptureOptions capture;
  capture.profile = Profile::kFast;
  capture_process(subject.pid(), checkpoints.file("first.pcp"), capture);
  const pid_t pid = subject.pid();
  subject.kill();
  const CheckpointReader reader = CheckpointReader::open(checkpoints.file("first.pcp"));
  RestoreOptions options;
  RestoredProcess process = restore_process(reader, options);
  process.detach_stopped();
  capture_process(pid, checkpoints.file("second.pcp"), capture);
  ::kill(pid, SIGKILL);
  SubjectProcess::wait_for_end(pid);

  const std::vector<std::string> first = lines_of(state_text(checkpoints.file("first.pcp")));
  const std::vector<std::string> second = lines_of(state_text(checkpoints.file("second.pcp")));
  EXPECT_EQ(first.size(), second.size());
  int shown = 0;
  for (std::size_t i = 0; i < std::min(first.size(), second.size()); ++i) {
    if (first[i] != second[i] && ++shown <= 10) {
      ADD_FAILURE() << "line " << i << ": " << first[i] << " vs " << second[i];
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Kinds, CapturedAgain,
                         testing::Values("single", "threads", "avx", "avx512", "fragmented",
                                         "signals", "shared", "files", "sleeper"),
                         [](const auto& kind) { return std::string(kind.param); });

// --- the comparison itself ---------------------------------------------------------------------

// A restored process that can be spoilt in many ways.
class ComparisonCanFail : public testing::Test {
protected:
  ComparisonCanFail() : subject_("files", dir_.path()) {
    subject_.stop();
    capture_process(subject_.pid(), dir_.file("subject.pcp"));
    pid_ = subject_.pid();
    subject_.kill();
    process_.emplace(restore_process(CheckpointReader::open(dir_.file("subject.pcp"))));
    before_ = look();
  }

  World look() const {
    test::WorldOptions options;
    options.checkpoint = dir_.file("subject.pcp");
    return test::read_world(pid_, options);
  }

  // The one difference to what was there before.
  std::string difference() const {
    const std::vector<std::string> found = differences(before_, look());
    EXPECT_EQ(found.size(), 1u) << testing::PrintToString(found);
    return found.empty() ? "" : found.front();
  }

  // The threads of the process, without detaching them at the end.
  template <typename Function> void with_thread(Function function) const {
    process::Tracee tracee = process::Tracee::adopt(pid_, true);
    function(tracee);
    tracee.release();
  }

  std::int64_t call_inside(long number, std::uint64_t a, std::uint64_t b = 0, std::uint64_t c = 0,
                           std::uint64_t d = 0) const {
    std::int64_t result = 0;
    with_thread([&](process::Tracee& tracee) {
      tracee.set_options(PTRACE_O_TRACESYSGOOD);
      process::RemoteCalls calls(
          tracee, process::find_syscall_instruction(pid_, process::read_mappings(pid_)));
      result = calls.call(number, a, b, c, d);
    });
    return result;
  }

  const test::WorldMapping& mapping_of(const std::string& name) const {
    for (const test::WorldMapping& mapping : before_.mappings) {
      if (mapping.name == name && mapping.permissions.starts_with("rw")) {
        return mapping;
      }
    }
    throw std::runtime_error("no mapping " + name);
  }

  TempDir dir_;
  SubjectProcess subject_;
  pid_t pid_ = 0;
  std::optional<RestoredProcess> process_;
  World before_;
};

TEST_F(ComparisonCanFail, NothingChanged) {
  EXPECT_THAT(differences(before_, look()), IsEmpty());
}

TEST_F(ComparisonCanFail, OneBit) {
  const std::uint64_t address = mapping_of("[stack]").end - 4096 + 100;
  process::RemoteMemory memory(pid_);
  const auto byte = memory.read_value<std::uint8_t>(address) ^ 1;
  const std::byte changed{static_cast<unsigned char>(byte)};
  memory.write(address, std::span(&changed, 1));
  EXPECT_THAT(difference(), testing::StartsWith("page at 0x"));
}

TEST_F(ComparisonCanFail, OneRegister) {
  with_thread([](process::Tracee& tracee) {
    user_regs_struct registers = tracee.registers();
    registers.r12 ^= 1;
    tracee.set_registers(registers);
  });
  EXPECT_THAT(difference(), testing::HasSubstr("r12: 0x"));
}

TEST_F(ComparisonCanFail, OneVectorRegister) {
  with_thread([](process::Tracee& tracee) {
    std::vector<std::byte> area = tracee.register_set(NT_PRFPREG).value();
    area[160 + 5] ^= std::byte{4}; // xmm0
    tracee.set_register_set(NT_PRFPREG, area);
  });
  // Both views of the vector registers show it, and that they are in use at all.
  EXPECT_THAT(differences(before_, look()),
              testing::Contains(testing::HasSubstr("register set 0x202 byte 160")));
}

TEST_F(ComparisonCanFail, OneOffset) {
  const int process = static_cast<int>(::syscall(SYS_pidfd_open, pid_, 0));
  const int file = static_cast<int>(::syscall(SYS_pidfd_getfd, process, 500, 0));
  ASSERT_GE(file, 0);
  ::lseek(file, 1, SEEK_SET);
  ::close(file);
  ::close(process);
  EXPECT_THAT(difference(), testing::StartsWith("descriptor 500: "));
}

TEST_F(ComparisonCanFail, OneBlockedSignal) {
  with_thread([](process::Tracee& tracee) { tracee.set_signal_mask(tracee.signal_mask() | 1); });
  EXPECT_THAT(differences(before_, look()),
              testing::Contains(testing::HasSubstr("signal mask: 0x")));
}

TEST_F(ComparisonCanFail, OnePendingSignal) {
  with_thread([](process::Tracee& tracee) { tracee.set_signal_mask(~std::uint64_t{0}); });
  before_ = look();
  ::kill(pid_, SIGUSR1);
  EXPECT_THAT(differences(before_, look()),
              testing::Contains(testing::StartsWith("pending signal 0: (none) vs")));
}

TEST_F(ComparisonCanFail, OneProtection) {
  EXPECT_EQ(call_inside(SYS_mprotect, mapping_of("[heap]").start, 4096, PROT_READ), 0);
  EXPECT_THAT(differences(before_, look()),
              testing::Contains(testing::AllOf(testing::StartsWith("mapping at 0x"),
                                               testing::HasSubstr("r--p"))));
}

TEST_F(ComparisonCanFail, OneDisposition) {
  struct {
    std::uint64_t handler = 1, flags = 0, restorer = 0, mask = 0;
  } ignore;
  process::RemoteMemory memory(pid_);
  const std::uint64_t scratch = mapping_of("[heap]").start;
  memory.write(scratch, std::as_bytes(std::span(&ignore, 1)));
  before_ = look();
  EXPECT_EQ(call_inside(SYS_rt_sigaction, SIGUSR2, scratch, 0, 8), 0);
  EXPECT_THAT(differences(before_, look()), testing::Contains(testing::StartsWith("action 12: ")));
}

TEST_F(ComparisonCanFail, OneLimit) {
  rlimit limit{};
  ASSERT_EQ(::prlimit(pid_, RLIMIT_STACK, nullptr, &limit), 0);
  limit.rlim_cur -= 4096;
  ASSERT_EQ(::prlimit(pid_, RLIMIT_STACK, &limit, nullptr), 0);
  EXPECT_THAT(difference(), testing::StartsWith("limits: "));
}

TEST_F(ComparisonCanFail, OneUmask) {
  EXPECT_GE(call_inside(SYS_umask, 0111), 0);
  EXPECT_THAT(difference(), testing::HasSubstr("Umask: "));
}

} // namespace
} // namespace rrpcp
