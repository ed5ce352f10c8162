// Restoring small states that were put together by hand: what no real process of this machine can
// show, and every way in which a restore is refused.

#include "process/sketch.h"
#include "rrpcp/error.h"
#include "rrpcp/process/restore.h"
#include "support/checkpoint_bytes.h"
#include "support/temp_dir.h"

#include <cpuid.h>
#include <csignal>
#include <cstring>
#include <dirent.h>
#include <elf.h>
#include <fcntl.h>
#include <fstream>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <unistd.h>

namespace rrpcp {
namespace {

using test::Sketch;
using test::TempDir;
using testing::HasSubstr;
using testing::IsEmpty;

int wait_for(pid_t pid) {
  int status = 0;
  while (::waitpid(pid, &status, 0) < 0 && errno == EINTR) {
  }
  return status;
}

int run_to_end(RestoredProcess& process) {
  process.detach_running();
  return wait_for(process.pid());
}

capnp::Data::Reader bytes_of(std::string_view text) {
  return {reinterpret_cast<const capnp::byte*>(text.data()), text.size()};
}

// Neither a child of this process nor the process `pid` is there.
void expect_nothing_left(pid_t pid) {
  EXPECT_EQ(::waitpid(-1, nullptr, WNOHANG | __WALL), -1);
  EXPECT_EQ(::kill(pid, 0), -1);
}

class RestoreSketch : public testing::Test {
protected:
  std::string path() const { return dir_.file("sketch.pcp"); }

  RestoredProcess restore(const RestoreOptions& options = {}, Profile profile = Profile::kDefault) {
    sketch_.write(path(), profile);
    CheckpointReader reader = CheckpointReader::open(path());
    return restore_process(reader, options);
  }

  // The error with which the restore is refused, and that nothing is left of it.
  Error refusal(const RestoreOptions& options = {}, Profile profile = Profile::kDefault) {
    try {
      restore(options, profile);
    } catch (const Error& error) {
      expect_nothing_left(sketch_.pid);
      return error;
    }
    ADD_FAILURE() << "it was restored";
    return Error(ErrorCode::kInternal, "none");
  }

  // Gives the program a file table with descriptor `fd`; the result is its open file.
  static schema::OpenFile::Builder add_descriptor(schema::State::Builder state, int fd) {
    auto table = state.initFileTables(1)[0];
    state.getTasks()[0].setFileTable(0);
    auto descriptor = table.initDescriptors(1)[0];
    descriptor.setFd(fd);
    descriptor.setOpenFile(0);
    return state.initOpenFiles(1)[0];
  }

  // Describes the file as it is.
  static void describe(schema::FileIdentity::Builder identity, const std::string& file) {
    struct stat status {};
    ASSERT_EQ(::stat(file.c_str(), &status), 0);
    identity.setPath(bytes_of(file));
    identity.setSize(static_cast<std::uint64_t>(status.st_size));
    identity.setModifiedAt(std::int64_t{status.st_mtim.tv_sec} * 1'000'000'000 +
                           status.st_mtim.tv_nsec);
    identity.setMode(status.st_mode);
  }

  TempDir dir_;
  Sketch sketch_;
};

TEST_F(RestoreSketch, RunsInEveryProfile) {
  for (Profile profile : {Profile::kRaw, Profile::kFast, Profile::kDefault, Profile::kSmall}) {
    for (bool lazy : {false, true}) {
      RestoreOptions options;
      options.lazy = lazy;
      RestoredProcess process = restore(options, profile);
      EXPECT_EQ(process.pid(), sketch_.pid);
      EXPECT_THAT(process.tids(), testing::ElementsAre(sketch_.pid));
      EXPECT_THAT(process.warnings(), IsEmpty());
      const int status = run_to_end(process);
      ASSERT_TRUE(WIFEXITED(status)) << status;
      EXPECT_EQ(WEXITSTATUS(status), 42);
    }
  }
}

TEST_F(RestoreSketch, IsKilledAndReapedUnlessLetGo) {
  { RestoredProcess process = restore(); }
  expect_nothing_left(sketch_.pid);
  RestoredProcess process = restore();
  process.kill();
  expect_nothing_left(sketch_.pid);
  EXPECT_THROW(process.detach_running(), Error);
}

TEST_F(RestoreSketch, StaysStoppedAndGoesOn) {
  RestoredProcess process = restore();
  process.detach_stopped();
  int status = 0;
  ASSERT_EQ(::waitpid(process.pid(), &status, WUNTRACED), process.pid());
  ASSERT_TRUE(WIFSTOPPED(status));
  EXPECT_EQ(WSTOPSIG(status), SIGSTOP);
  ::kill(process.pid(), SIGCONT);
  status = wait_for(process.pid());
  ASSERT_TRUE(WIFEXITED(status));
  EXPECT_EQ(WEXITSTATUS(status), 42);
}

TEST_F(RestoreSketch, RefusesAnotherArchitecture) {
  sketch_.edit = [](schema::State::Builder state) {
    state.setMachine(EM_AARCH64);
    state.setElfClass(2);
    state.setDataEncoding(1);
    state.disownCpu();
    std::vector<unsigned char> registers(272);
    state.getTasks()[0].getRegisters()[0].setData({registers.data(), registers.size()});
  };
  const Error error = refusal();
  EXPECT_EQ(error.code(), ErrorCode::kUnsupportedState);
  EXPECT_THAT(error.what(), HasSubstr("AArch64"));
  EXPECT_THAT(error.what(), HasSubstr("x86-64"));
}

TEST_F(RestoreSketch, RefusesAnotherPageSize) {
  sketch_.page_size = 16384;
  const Error error = refusal();
  EXPECT_EQ(error.code(), ErrorCode::kUnsupportedState);
  EXPECT_THAT(error.what(), HasSubstr("16384"));
}

TEST_F(RestoreSketch, RefusesRegistersThatTheProcessorLacks) {
  // Components that Linux gives to no program: certainly not in XCR0.
  constexpr std::uint64_t kUnknown = std::uint64_t{1} << 50;
  sketch_.edit = [](schema::State::Builder state) {
    auto cpu = state.initCpu();
    cpu.setXsaveFeatures(kUnknown);
    auto component = cpu.initXsaveLayout(1)[0];
    component.setNumber(50);
    component.setOffset(2688);
    component.setSize(64);
  };
  const Error error = refusal();
  EXPECT_EQ(error.code(), ErrorCode::kUnsupportedState);
  EXPECT_THAT(error.what(), HasSubstr("component 50"));
}

TEST_F(RestoreSketch, NamesRegistersThatTheProcessorLacks) {
  unsigned eax = 0, ebx = 0, ecx = 0, edx = 0;
  __get_cpuid_count(0xd, 0, &eax, &ebx, &ecx, &edx);
  struct Feature {
    unsigned first, last;
    const char* name;
  };
  constexpr Feature kFeatures[] = {{5, 7, "AVX-512 (components 5-7)"},
                                   {9, 9, "PKRU (component 9)"},
                                   {17, 18, "AMX (components 17-18)"},
                                   {19, 19, "APX (component 19)"}};
  int tested = 0;
  for (const Feature& feature : kFeatures) {
    std::uint64_t bits = 0;
    for (unsigned i = feature.first; i <= feature.last; ++i) {
      bits |= std::uint64_t{1} << i;
    }
    if ((eax & bits) != 0) {
      continue; // this processor has it
    }
    ++tested;
    sketch_.edit = [&](schema::State::Builder state) {
      auto cpu = state.initCpu();
      cpu.setXsaveFeatures(bits);
      auto layout = cpu.initXsaveLayout(feature.last - feature.first + 1);
      for (unsigned i = feature.first; i <= feature.last; ++i) {
        auto component = layout[i - feature.first];
        component.setNumber(static_cast<std::uint8_t>(i));
        component.setOffset(576 + 64 * i);
        component.setSize(64);
      }
    };
    const Error error = refusal();
    EXPECT_EQ(error.code(), ErrorCode::kUnsupportedState);
    EXPECT_THAT(error.what(), HasSubstr(feature.name));
  }
  EXPECT_GT(tested, 0) << "this processor has everything";
}

TEST_F(RestoreSketch, RefusesInstructionsThatTheProcessorLacks) {
  unsigned eax = 0, ebx = 0, ecx = 0, edx = 0;
  __get_cpuid_count(0x80000001, 0, &eax, &ebx, &ecx, &edx);
  constexpr unsigned kFma4 = 1u << 16;
  if ((ecx & kFma4) != 0) {
    GTEST_SKIP() << "this processor has FMA4";
  }
  sketch_.edit = [](schema::State::Builder state) {
    auto leaf = state.getCpu().initCpuid(1)[0];
    leaf.setLeaf(0x80000001);
    leaf.setEcx(kFma4);
  };
  const Error error = refusal();
  EXPECT_EQ(error.code(), ErrorCode::kUnsupportedState);
  EXPECT_THAT(error.what(), HasSubstr("FMA4"));
}

TEST_F(RestoreSketch, RefusesCode32) {
  sketch_.edit = [](schema::State::Builder state) {
    auto set = state.getTasks()[0].getRegisters()[0];
    std::vector<unsigned char> registers(set.getData().begin(), set.getData().end());
    registers[17 * 8] = 0x23; // cs
    set.setData({registers.data(), registers.size()});
  };
  const Error error = refusal();
  EXPECT_EQ(error.code(), ErrorCode::kUnsupportedState);
  EXPECT_THAT(error.what(), HasSubstr("64-bit"));
}

TEST_F(RestoreSketch, RefusesUnknownCriticalExtensionOnly) {
  for (bool critical : {true, false}) {
    sketch_.edit = [&](schema::State::Builder state) {
      auto extension = state.initExtensions(1)[0];
      extension.setId("com.example.unheard-of");
      extension.setVersion(3);
      extension.setCritical(critical);
    };
    if (critical) {
      const Error error = refusal();
      EXPECT_EQ(error.code(), ErrorCode::kUnsupportedState);
      EXPECT_THAT(error.what(), HasSubstr("com.example.unheard-of"));
    } else {
      RestoredProcess process = restore();
      EXPECT_EQ(WEXITSTATUS(run_to_end(process)), 42);
    }
  }
}

TEST_F(RestoreSketch, RefusesStatesOfReplays) {
  sketch_.edit = [](schema::State::Builder state) { state.initSession(); };
  EXPECT_EQ(refusal().code(), ErrorCode::kUnsupportedState);
}

TEST_F(RestoreSketch, RefusesRulesBroken) {
  sketch_.edit = [](schema::State::Builder state) {
    state.getAddressSpaces()[0].getMappings()[1].setStart(Sketch::kData + 1);
  };
  const Error error = refusal();
  EXPECT_EQ(error.code(), ErrorCode::kDamaged);
  EXPECT_EQ(error.diagnostic(), "mapping.range");
}

TEST_F(RestoreSketch, RefusesAnIdInUse) {
  sketch_.pid = ::getpid();
  sketch_.write(path());
  CheckpointReader reader = CheckpointReader::open(path());
  try {
    restore_process(reader);
    FAIL() << "it was restored";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kIdInUse);
    EXPECT_THAT(error.what(), HasSubstr(std::to_string(::getpid())));
    EXPECT_THAT(error.what(), HasSubstr("restore_test"));
    EXPECT_THAT(error.what(), HasSubstr("new-ids"));
  }
  RestoreOptions options;
  options.allow = {"new-ids"};
  RestoredProcess process = restore_process(reader, options);
  EXPECT_NE(process.pid(), ::getpid());
  EXPECT_THAT(process.warnings(), testing::ElementsAre(HasSubstr(std::to_string(process.pid()))));
  EXPECT_EQ(WEXITSTATUS(run_to_end(process)), 42);
}

TEST_F(RestoreSketch, RefusesAnIdAboveTheLimit) {
  sketch_.pid = INT32_MAX - 1;
  const Error error = refusal();
  EXPECT_EQ(error.code(), ErrorCode::kIdInUse);
  EXPECT_THAT(error.what(), HasSubstr("pid_max"));
}

// Runs `body` in a child without privileges; true where it returned true.
bool as_nobody(const std::function<bool()>& body) {
  const pid_t child = ::fork();
  if (child == 0) {
    bool good = false;
    if (::setgid(65534) == 0 && ::setuid(65534) == 0) {
      try {
        good = body();
      } catch (const std::exception& error) {
        std::fprintf(stderr, "%s\n", error.what());
      }
    }
    ::_exit(good ? 0 : 1);
  }
  return wait_for(child) == 0;
}

TEST_F(RestoreSketch, NeedsPermissionForIds) {
  if (::geteuid() != 0) {
    GTEST_SKIP() << "only root can become somebody else";
  }
  ASSERT_EQ(::chmod(dir_.path().c_str(), 0755), 0);
  sketch_.write(path());
  ASSERT_EQ(::chmod(path().c_str(), 0644), 0);
  EXPECT_TRUE(as_nobody([&] {
    CheckpointReader reader = CheckpointReader::open(path());
    try {
      restore_process(reader);
    } catch (const Error& error) {
      return error.code() == ErrorCode::kPermission &&
             std::strstr(error.what(), "CAP_CHECKPOINT_RESTORE") != nullptr &&
             std::strstr(error.what(), "new-ids") != nullptr;
    }
    return false;
  }));
  EXPECT_TRUE(as_nobody([&] { // this process is not dumpable: it changed its user
    CheckpointReader reader = CheckpointReader::open(path());
    RestoreOptions options;
    options.allow = {"new-ids"};
    RestoredProcess process = restore_process(reader, options);
    return WEXITSTATUS(run_to_end(process)) == 42;
  }));
}

TEST_F(RestoreSketch, NeedsPermissionForAnotherUser) {
  if (::geteuid() != 0) {
    GTEST_SKIP() << "only root can become somebody else";
  }
  ASSERT_EQ(::chmod(dir_.path().c_str(), 0755), 0);
  sketch_.edit = [](schema::State::Builder state) {
    auto credentials = state.getProcesses()[0].initCredentials();
    credentials.setRealUid(1);
    credentials.setEffectiveUid(1);
    credentials.setSavedUid(1);
  };
  sketch_.write(path());
  ASSERT_EQ(::chmod(path().c_str(), 0644), 0);
  EXPECT_TRUE(as_nobody([&] {
    CheckpointReader reader = CheckpointReader::open(path());
    RestoreOptions options;
    options.allow = {"new-ids"};
    try {
      restore_process(reader, options);
    } catch (const Error& error) {
      return error.code() == ErrorCode::kPermission &&
             std::strstr(error.what(), "user 1") != nullptr;
    }
    return false;
  }));
}

TEST_F(RestoreSketch, RefusesADamagedChunk) {
  for (Profile profile : {Profile::kRaw, Profile::kSmall}) {
    sketch_.data.assign(4096, std::byte{7});
    sketch_.write(path(), profile);
    const std::uint64_t at = [&] {
      CheckpointReader reader = CheckpointReader::open(path());
      return reader.chunk(0).offset + reader.chunk(0).stored_length / 2;
    }();
    std::vector<std::byte> bytes = test::read_file(path());
    bytes[at] ^= std::byte{1};
    test::write_file(path(), bytes);
    CheckpointReader reader = CheckpointReader::open(path());
    RestoreOptions options;
    try {
      restore_process(reader, options);
      ADD_FAILURE() << "it was restored";
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::kDamaged);
      EXPECT_EQ(error.file(), path());
      EXPECT_TRUE(error.offset().has_value());
    }
    expect_nothing_left(sketch_.pid);
  }
}

TEST_F(RestoreSketch, RefusesMissingAndChangedFiles) {
  const std::string file = dir_.file("open.txt");
  std::ofstream(file) << "contents";
  sketch_.edit = [&](schema::State::Builder state) {
    auto open_file = add_descriptor(state, 5);
    open_file.setFlags(O_RDONLY);
    describe(open_file.initRegular(), file);
  };
  sketch_.write(path());
  CheckpointReader reader = CheckpointReader::open(path());
  { RestoredProcess unchanged = restore_process(reader); }

  std::ofstream(file) << "other contents";
  auto error_now = [&](const AllowList& allow) -> std::optional<Error> {
    RestoreOptions options;
    options.allow = allow;
    try {
      RestoredProcess process = restore_process(reader, options);
      EXPECT_THAT(process.warnings(), testing::ElementsAre(HasSubstr(file)));
      return std::nullopt;
    } catch (const Error& error) {
      return error;
    }
  };
  std::optional<Error> changed = error_now({});
  ASSERT_TRUE(changed);
  EXPECT_EQ(changed->code(), ErrorCode::kBackingFile);
  EXPECT_THAT(changed->what(), HasSubstr(file));
  EXPECT_THAT(changed->what(), HasSubstr("descriptor 5"));
  EXPECT_THAT(changed->what(), HasSubstr("changed-file"));
  EXPECT_FALSE(error_now({"changed-file"}));
  ASSERT_EQ(::unlink(file.c_str()), 0);
  std::optional<Error> missing = error_now({"changed-file"});
  ASSERT_TRUE(missing);
  EXPECT_EQ(missing->code(), ErrorCode::kBackingFile);
  EXPECT_THAT(missing->what(), HasSubstr(file));
  expect_nothing_left(sketch_.pid);
}

TEST_F(RestoreSketch, ListsEverythingThatCannotBeCarried) {
  sketch_.edit = [&](schema::State::Builder state) {
    state.getTasks()[0].setFileTable(0);
    auto descriptors = state.initFileTables(1)[0].initDescriptors(6);
    auto files = state.initOpenFiles(6);
    for (unsigned i = 0; i < 6; ++i) {
      descriptors[i].setFd(static_cast<int>(10 + i));
      descriptors[i].setOpenFile(i);
      files[i].setFlags(O_RDWR);
    }
    files[0].initSocket().setDescription("tcp 127.0.0.1:80");
    files[1].initTerminal().setPath(bytes_of("/dev/pts/77"));
    files[2].initPipe().setExternal(true);
    files[2].getPipe().setCapacity(65536);
    files[3].initOther().setDescription("anon_inode:inotify");
    files[4].initDevice().setPath(bytes_of("/dev/kmsg"));
    files[4].getDevice().setNumber(makedev(1, 11));
    auto deleted = files[5].initRegular();
    deleted.setPath(bytes_of("/tmp/gone"));
    deleted.setSize(100);
    deleted.setDeleted(true);
  };
  const Error error = refusal();
  EXPECT_EQ(error.code(), ErrorCode::kUnsupportedState);
  for (const char* part :
       {"descriptor 10: a socket (tcp 127.0.0.1:80)", "descriptor 11: the terminal /dev/pts/77",
        "descriptor 12: the read end of a pipe", "descriptor 13: anon_inode:inotify",
        "descriptor 14: the device /dev/kmsg", "descriptor 15: the file /tmp/gone",
        "deleted-file,device,other-fd,pipe,socket,terminal"}) {
    EXPECT_THAT(error.what(), HasSubstr(part));
  }
  RestoreOptions options;
  options.allow = {"socket", "terminal", "pipe", "other-fd", "device", "deleted-file"};
  RestoredProcess process = restore(options);
  EXPECT_EQ(process.warnings().size(), 6u);
  EXPECT_EQ(WEXITSTATUS(run_to_end(process)), 42);
}

TEST_F(RestoreSketch, RefusesAForeignVdso) {
  sketch_.edit = [](schema::State::Builder state) {
    auto space = state.getAddressSpaces()[0];
    auto old = space.disownMappings();
    auto mappings = space.initMappings(4);
    for (unsigned i = 0; i < 3; ++i) {
      mappings.setWithCaveats(i < 2 ? i : 3, old.getReader()[i]);
    }
    mappings[2].setStart(0x7f0000000000);
    mappings[2].setEnd(0x7f0000002000);
    mappings[2].setProtection(PROT_READ | PROT_EXEC);
    mappings[2].setFlags(MAP_PRIVATE | MAP_ANONYMOUS);
    mappings[2].setRole(schema::MappingRole::VDSO);
    mappings[2].setName(bytes_of("[vdso]"));
  };
  const Error error = refusal();
  EXPECT_EQ(error.code(), ErrorCode::kUnsupportedState);
  EXPECT_THAT(error.what(), HasSubstr("vDSO"));
}

// The restorer itself fails in the middle: the kernel refuses a mapping above the address space.
TEST_F(RestoreSketch, SaysWhichStepFailed) {
  sketch_.edit = [](schema::State::Builder state) {
    auto mapping = state.getAddressSpaces()[0].getMappings()[2];
    mapping.setStart(0x7fffffffffff000);
    mapping.setEnd(0x800000000000000);
    mapping.setRole(schema::MappingRole::ORDINARY);
  };
  const Error error = refusal();
  EXPECT_THAT(error.what(), HasSubstr("0x7fffffffffff000"));
}

} // namespace
} // namespace rrpcp
