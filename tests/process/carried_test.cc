// The table by which capture and restore judge a state, and what it is made from.

#include "process/carried.h"
#include "process/memory_policy.h"
#include "process/named_file.h"
#include "process/namespaces.h"
#include "process/proc_fdinfo.h"
#include "process/proc_status.h"
#include "support/temp_dir.h"

#include <capnp/message.h>
#include <fstream>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <memory>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

namespace rrpcp {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::SizeIs;

capnp::Data::Reader as_data(std::string_view text) {
  return {reinterpret_cast<const capnp::byte*>(text.data()), text.size()};
}

std::vector<std::string> names(const std::vector<process::Judgement>& judged) {
  std::vector<std::string> names;
  for (const process::Judgement& judgement : judged) {
    names.push_back(judgement.allow_name.empty() ? "never" : judgement.allow_name);
  }
  return names;
}

// A process with two threads and nothing that could not be carried.
class JudgedState : public testing::Test {
protected:
  JudgedState() {
    auto process = state_.initProcesses(1)[0];
    process.setPid(100);
    process.initCredentials();
    auto tasks = state_.initTasks(2);
    tasks[0].setTid(100);
    tasks[1].setTid(101);
  }

  std::vector<std::string> judge() { return names(process::judge_state(state_.asReader())); }

  std::unique_ptr<capnp::MallocMessageBuilder> message_ =
      std::make_unique<capnp::MallocMessageBuilder>();
  schema::State::Builder state_ = message_->initRoot<schema::State>();
};

TEST_F(JudgedState, NothingIsInTheWay) {
  EXPECT_THAT(judge(), IsEmpty());
}

TEST_F(JudgedState, ThreadsThatDoNotShare) {
  state_.getTasks()[1].setFileTable(1);
  EXPECT_THAT(judge(), ElementsAre("never"));
}

TEST_F(JudgedState, MainThreadThatEnded) {
  state_.getTasks()[0].setTid(99);
  EXPECT_THAT(judge(), ElementsAre("never"));
}

TEST_F(JudgedState, Confinement) {
  auto attributes = state_.getTasks()[0].initAttributes();
  attributes.setSeccompMode(2);
  attributes.setLandlocked(true);
  EXPECT_THAT(judge(), ElementsAre("seccomp", "landlock"));
}

TEST_F(JudgedState, ThreadsWithControlGroupsOfTheirOwnAreTold) {
  state_.getTasks()[0].initAttributes().setControlGroups(as_data("0::/service\n"));
  state_.getTasks()[1].initAttributes().setControlGroups(as_data("0::/service\n"));
  EXPECT_THAT(judge(), IsEmpty());
  state_.getTasks()[1].getAttributes().setControlGroups(as_data("0::/service/slow\n"));
  const std::vector<process::Judgement> judged = process::judge_state(state_.asReader());
  ASSERT_THAT(judged, SizeIs(1));
  EXPECT_TRUE(judged[0].told_only);
  EXPECT_THAT(judged[0].what, HasSubstr("thread 101 is in other control groups"));
}

TEST_F(JudgedState, WhatIsForLookingAtOnly) {
  state_.setInspectOnly(true);
  EXPECT_THAT(judge(), ElementsAre("never"));
}

TEST_F(JudgedState, NamespacesAreComparedWithOurs) {
  const process::NamespaceIds own = process::read_namespaces(0, 0);
  auto set = state_.initNamespaceSets(1)[0];
  auto user = set.initUser();
  user.setDevice(own[0].device);
  user.setInode(own[0].inode);
  const std::vector<std::byte> boot = process::read_boot_id();
  state_.initClocks().setBootId({reinterpret_cast<const capnp::byte*>(boot.data()), boot.size()});
  for (auto task : state_.getTasks()) {
    task.setNamespaces(0);
  }
  EXPECT_THAT(judge(), IsEmpty());
  EXPECT_FALSE(
      process::has_foreign_user_namespace(state_.asReader(), state_.getTasks()[0].asReader()));
  set.getUser().setInode(own[0].inode + 1);
  EXPECT_THAT(judge(), ElementsAre("namespaces"));
  EXPECT_TRUE(
      process::has_foreign_user_namespace(state_.asReader(), state_.getTasks()[0].asReader()));
}

TEST_F(JudgedState, AfterANewStartIdsMeanNothing) {
  auto user = state_.initNamespaceSets(1)[0].initUser();
  user.setDevice(1);
  user.setInode(2);
  state_.initClocks().setBootId(as_data("another start..."));
  EXPECT_THAT(judge(), IsEmpty());
  state_.getNamespaceSets()[0].getUser().setForeign(true);
  EXPECT_THAT(judge(), ElementsAre("namespaces"));
}

class JudgedFile : public testing::Test {
protected:
  std::vector<std::string> judge() {
    return names(process::judge_open_file(file_.asReader(), "descriptor 5", 100));
  }
  std::string first_text() {
    return process::judge_open_file(file_.asReader(), "descriptor 5", 100).front().what;
  }

  std::unique_ptr<capnp::MallocMessageBuilder> message_ =
      std::make_unique<capnp::MallocMessageBuilder>();
  schema::OpenFile::Builder file_ = message_->initRoot<schema::OpenFile>();
};

TEST_F(JudgedFile, Regular) {
  file_.initRegular().setPath(as_data("/tmp/file"));
  EXPECT_THAT(judge(), IsEmpty());
  file_.getRegular().setDeleted(true);
  EXPECT_THAT(judge(), ElementsAre("deleted-file"));
}

TEST_F(JudgedFile, FilesOfProc) {
  auto identity = file_.initRegular();
  identity.setPath(as_data("/proc/100/maps"));
  EXPECT_THAT(judge(), IsEmpty());
  identity.setPath(as_data("/proc/meminfo"));
  EXPECT_THAT(judge(), IsEmpty());
  identity.setPath(as_data("/proc/101/maps"));
  EXPECT_THAT(judge(), ElementsAre("never"));
  identity.setPath(as_data("/proc/100/task/102/stat"));
  EXPECT_THAT(judge(), ElementsAre("never"));
  EXPECT_THAT(first_text(), HasSubstr("descriptor 5: /proc/100/task/102/stat"));
}

TEST_F(JudgedFile, PathsThatNobodyCanOpen) {
  file_.initRegular().setPath(as_data("/" + std::string(5000, 'a')));
  EXPECT_THAT(judge(), ElementsAre("never"));
}

TEST_F(JudgedFile, DirectoriesAndFifosWithoutANameAreLost) {
  file_.initDirectory().setPath(as_data("/tmp/x"));
  file_.getDirectory().setDeleted(true);
  EXPECT_THAT(judge(), ElementsAre("never"));
  file_.initFifo().setPath(as_data("/tmp/x"));
  file_.getFifo().setDeleted(true);
  EXPECT_THAT(judge(), ElementsAre("never"));
}

TEST_F(JudgedFile, WhatIsConnectedToOthers) {
  file_.initTerminal();
  EXPECT_THAT(judge(), ElementsAre("terminal"));
  file_.initPipe().setExternal(true);
  EXPECT_THAT(judge(), ElementsAre("pipe"));
  file_.initSocket();
  EXPECT_THAT(judge(), ElementsAre("socket"));
  file_.initOther().setDescription("anon_inode:[io_uring]");
  EXPECT_THAT(judge(), ElementsAre("never"));
}

TEST_F(JudgedFile, WhatTheKernelKeepsForADescriptor) {
  file_.initTimerfd();
  EXPECT_THAT(judge(), IsEmpty());
  file_.initSignalfd();
  EXPECT_THAT(judge(), IsEmpty());
  auto watch = file_.initInotify().initWatches(1)[0];
  EXPECT_THAT(judge(), ElementsAre("other-fd")); // nobody knows what it watches
  watch.setPath(as_data("/tmp"));
  EXPECT_THAT(judge(), IsEmpty());
  file_.initPidfd().setPid(-1); // of a process that is gone
  EXPECT_THAT(judge(), IsEmpty());
  file_.getPidfd().setPid(12345);
  EXPECT_THAT(judge(), ElementsAre("other-fd"));
}

TEST_F(JudgedFile, PairsOfSockets) {
  auto end = file_.initSocketEnd();
  end.setDomain(AF_UNIX);
  end.setType(SOCK_STREAM);
  EXPECT_THAT(judge(), IsEmpty());
  auto message = end.initReceived(1)[0];
  EXPECT_THAT(judge(), IsEmpty());
  message.setOpenFiles({0});
  EXPECT_THAT(judge(), ElementsAre("socket"));
  end.initReceived(0);
  end.setAddress(as_data("name"));
  EXPECT_THAT(judge(), ElementsAre("socket"));
  end.setAddress(as_data(""));
  end.setDomain(AF_INET);
  EXPECT_THAT(judge(), ElementsAre("socket"));
}

TEST_F(JudgedFile, LeaseThatSomebodyWaitsFor) {
  file_.initRegular().setPath(as_data("/tmp/file"));
  auto lock = file_.initLocks(1)[0];
  lock.setKind(schema::FileLock::Kind::LEASE);
  EXPECT_THAT(judge(), IsEmpty());
  lock.setBreaking(schema::FileLock::LeaseBreak::TO_NONE);
  EXPECT_THAT(judge(), ElementsAre("never"));
}

TEST(MemoryPolicy, LinesOfNumaMaps) {
  EXPECT_EQ(process::parse_memory_policy("default anon=1 N0=1"), process::MemoryPolicy{});
  EXPECT_EQ(process::parse_memory_policy("bind:0-1,9 file=/x"),
            (process::MemoryPolicy{2, {std::byte{3}, std::byte{2}}}));
  EXPECT_EQ(process::parse_memory_policy("bind=static:0 anon=1"),
            (process::MemoryPolicy{2 | 1 << 15, {std::byte{1}}}));
  EXPECT_EQ(process::parse_memory_policy("prefer (many):0"),
            (process::MemoryPolicy{5, {std::byte{1}}}));
  EXPECT_EQ(process::parse_memory_policy("local"), (process::MemoryPolicy{4, {}}));
  EXPECT_ANY_THROW(process::parse_memory_policy("better:0"));
  EXPECT_ANY_THROW(process::parse_memory_policy("bind:99999"));
}

TEST(FdInfo, LeaseThatSomebodyWaitsFor) {
  const process::FdInfo info =
      process::FdInfo::parse("lock:\t1: LEASE  BREAKING  UNLCK 12 08:01:55 0 EOF\n"
                             "lock:\t2: LEASE  ACTIVE    WRITE 12 08:01:55 0 EOF\n");
  ASSERT_EQ(info.locks.size(), 2u);
  EXPECT_TRUE(info.locks[0].breaking);
  EXPECT_FALSE(info.locks[0].is_read);
  EXPECT_FALSE(info.locks[1].breaking);
  EXPECT_TRUE(info.locks[1].exclusive);
}

TEST(ProcStatus, RightsAndTags) {
  const process::ProcStatus status =
      process::ProcStatus::parse("NSpid:\t500\t7\n"
                                 "CapBnd:\t00000000000000ff\nCapAmb:\t0000000000000001\n"
                                 "untag_mask:\t0x7fffffffffffffff\n"
                                 "SpeculationIndirectBranch:\tconditional disabled\n");
  EXPECT_THAT(status.thread_ids, ElementsAre(500, 7));
  EXPECT_EQ(status.bounding, 0xffu);
  EXPECT_EQ(status.ambient, 1u);
  EXPECT_EQ(status.address_mask, 0x7fffffffffffffffu);
  EXPECT_EQ(status.indirect_branch, "conditional disabled");
}

TEST(NamedFile, FindsWhatThePathNames) {
  test::TempDir dir;
  const std::string path = dir.file("file");
  std::ofstream(path) << "x";
  struct stat status {};
  ASSERT_EQ(::stat(path.c_str(), &status), 0);
  EXPECT_EQ(process::find_named_file(::getpid(), path, status, true), path);
  status.st_ino += 1;
  EXPECT_EQ(process::find_named_file(::getpid(), path, status, true), "");
}

} // namespace
} // namespace rrpcp
