// The directory as an index: choosing, publishing, damage, concurrency.

#include "rrpcp/store.h"
#include "support/checkpoint_bytes.h"
#include "support/figure.h"
#include "support/temp_dir.h"

#include <capnp/message.h>
#include <fcntl.h>
#include <filesystem>
#include <gtest/gtest.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

namespace rrpcp {
namespace {

using test::TempDir;

// Publishes an almost empty checkpoint at `event` and returns its path.
std::string publish_at(const Store& store, std::int64_t event, std::uint64_t instructions = 0,
                       std::uint8_t trace = 7) {
  capnp::MallocMessageBuilder message;
  auto state = message.initRoot<schema::State>();
  state.setMachine(62);
  state.setElfClass(2);
  state.setDataEncoding(1);
  state.initPageStream().setPageSize(4096);
  state.setProducer("org.rrpcp.process");
  auto uuid = state.initTrace().initUuid(16);
  std::fill(uuid.begin(), uuid.end(), trace);
  auto position = state.initPosition();
  position.initClone().setEvent(event);
  if (instructions != 0) {
    auto between = position.initBetween();
    between.setInstructions(instructions);
    between.setOrder(static_cast<std::uint32_t>(instructions));
  } else {
    position.setAtEvent();
  }
  HeaderFields fields = header_fields(state.asReader());
  return store.publish(fields, [&](Output& output) {
    CheckpointWriter writer(output, fields, {.threads = 1});
    capnp::MallocMessageBuilder provenance;
    return writer.finish(state, provenance.initRoot<schema::Provenance>().asReader());
  });
}

std::size_t files_in(const std::string& directory) {
  std::size_t count = 0;
  for ([[maybe_unused]] const auto& entry : std::filesystem::directory_iterator(directory)) {
    ++count;
  }
  return count;
}

TEST(Store, MissingDirectoryIsEmptyAndMadeOnPublish) {
  TempDir dir;
  Store store(dir.file("a/b"));
  EXPECT_TRUE(store.list().empty());
  publish_at(store, 5);
  EXPECT_EQ(store.list().size(), 1u);
}

TEST(Store, ChoosesTheLastAtOrBeforeTheTarget) {
  TempDir dir;
  Store store(dir.path());
  for (std::int64_t event : {300, 100, 200}) {
    publish_at(store, event);
  }
  std::string inside = publish_at(store, 200, 2);
  publish_at(store, 200, 1);
  std::vector<StoreEntry> entries = store.list();
  ASSERT_EQ(entries.size(), 5u);
  EXPECT_EQ(Store::choose_best(entries, {.event = 99, .trace = {}}), nullptr);
  EXPECT_EQ(Store::choose_best(entries, {.event = 100, .trace = {}})->header.event, 100);
  EXPECT_EQ(Store::choose_best(entries, {.event = 299, .trace = {}})->path, inside);
  EXPECT_EQ(Store::choose_best(entries, {.event = INT64_MAX, .trace = {}})->header.event, 300);
}

TEST(Store, PassesOverOtherTracesAndBadFiles) {
  TempDir dir;
  Store store(dir.path());
  publish_at(store, 100, 0, 1);
  std::string foreign = publish_at(store, 200, 0, 2);
  std::string cut = publish_at(store, 300, 0, 1);
  std::filesystem::resize_file(cut, 300);
  test::write_file(dir.file("rubbish.pcp"), {});
  std::vector<StoreEntry> entries = store.list();
  EXPECT_EQ(entries.size(), 4u);
  Target target{.event = 1000, .trace = {}};
  target.trace.bytes.fill(1);
  EXPECT_EQ(Store::choose_best(entries, target)->header.event, 100);
  for (const StoreEntry& entry : entries) {
    EXPECT_EQ(entry.problem.has_value(), entry.path == cut || entry.path == dir.file("rubbish.pcp"))
        << entry.path;
  }
}

TEST(Store, PublishingTheSameTwiceKeepsOneFile) {
  TempDir dir;
  Store store(dir.path());
  std::string first = publish_at(store, 10);
  auto inode = [&] {
    struct stat status;
    ::stat(first.c_str(), &status);
    return status.st_ino;
  };
  auto before = inode();
  EXPECT_EQ(publish_at(store, 10), first);
  EXPECT_EQ(inode(), before);
  EXPECT_EQ(files_in(dir.path()), 1u);
}

TEST(Store, PublishingReplacesADamagedFileOfTheSameName) {
  TempDir dir;
  Store store(dir.path());
  std::string path = publish_at(store, 10);
  std::filesystem::resize_file(path, 100);
  EXPECT_EQ(publish_at(store, 10), path);
  EXPECT_FALSE(store.list().at(0).problem);
  EXPECT_EQ(files_in(dir.path()), 1u);
}

TEST(Store, FailedWriteLeavesNothing) {
  TempDir dir;
  Store store(dir.path());
  EXPECT_THROW(store.publish({},
                             [](Output& output) -> CheckpointId {
                               output.write(std::vector<std::byte>(100000));
                               throw Error(ErrorCode::kNoSpace, "full");
                             }),
               Error);
  EXPECT_EQ(files_in(dir.path()), 0u);
}

TEST(Store, RemoveTellsWhetherItWasThere) {
  TempDir dir;
  Store store(dir.path());
  std::string name = std::filesystem::path(publish_at(store, 1)).filename();
  EXPECT_TRUE(store.remove(name));
  EXPECT_FALSE(store.remove(name));
  EXPECT_THROW(store.remove("../" + name), Error);
}

TEST(Store, ManyProcessesPublishAndReadAtOnce) {
  TempDir dir;
  Store store(dir.path());
  std::vector<pid_t> children;
  for (int i = 0; i < 50; ++i) {
    pid_t child = ::fork();
    ASSERT_GE(child, 0);
    if (child == 0) {
      int status = 0;
      try {
        for (int round = 0; round < 4; ++round) {
          // Every event is written by ten processes.
          publish_at(store, i / 10 * 4 + round);
          for (const StoreEntry& entry : store.list()) {
            status |= entry.problem ? 1 : 0;
          }
        }
      } catch (...) {
        status = 2;
      }
      ::_exit(status);
    }
    children.push_back(child);
  }
  for (pid_t child : children) {
    int status = -1;
    ASSERT_EQ(::waitpid(child, &status, 0), child);
    EXPECT_EQ(status, 0);
  }
  EXPECT_EQ(store.list().size(), 20u);
  EXPECT_EQ(files_in(dir.path()), 20u);
  test::print_figure("processes that wrote and read one directory at once", children.size());
}

TEST(WriteFileAtomically, KeepsTheOldFileOnFailureAndReplacesOnSuccess) {
  TempDir dir;
  std::string path = dir.file("x.pcp");
  auto bytes = [](char c, std::size_t n) { return std::vector<std::byte>(n, std::byte(c)); };
  write_file_atomically(path, true, [&](Output& out) { out.write(bytes('a', 10)); });
  EXPECT_THROW(write_file_atomically(path, true,
                                     [&](Output& out) {
                                       out.write(bytes('b', 5));
                                       throw Error(ErrorCode::kSystem, "fails");
                                     }),
               Error);
  EXPECT_EQ(test::read_file(path), bytes('a', 10));
  write_file_atomically(path, true, [&](Output& out) { out.write(bytes('c', 7)); });
  EXPECT_EQ(test::read_file(path), bytes('c', 7));
  EXPECT_THROW(write_file_atomically(path, false, [](Output&) {}), Error);
  EXPECT_EQ(files_in(dir.path()), 1u);
}

void write_something(const std::string& path) {
  write_file_atomically(
      path, true, [](Output& output) { output.write(std::as_bytes(std::span("something"))); });
}

TEST(WriteFileAtomically, FileIsItsOwnersAlone) {
  TempDir dir;
  const std::string path = dir.file("secret");
  for (mode_t mask : {0000, 0777}) {
    const mode_t before = ::umask(mask);
    write_something(path);
    ::umask(before);
    struct stat status;
    ASSERT_EQ(::stat(path.c_str(), &status), 0);
    EXPECT_EQ(status.st_mode & 07777, 0600u);
  }
}

TEST(WriteFileAtomically, FollowsNoLinkThatSomebodyElseHasPutThere) {
  if (::geteuid() != 0) {
    GTEST_SKIP() << "only root makes links of others";
  }
  TempDir dir;
  const std::string shared = dir.file("shared");
  const std::string target = dir.file("target");
  std::filesystem::create_directory(shared);
  std::filesystem::create_directory(target);
  ASSERT_EQ(::chmod(shared.c_str(), 01777), 0);
  const std::string link = shared + "/link";
  std::filesystem::create_directory_symlink("../target", link);
  write_something(link + "/own"); // one of our own leads where we want
  EXPECT_TRUE(std::filesystem::exists(target + "/own"));
  constexpr uid_t kSomebody = 1234;
  ASSERT_EQ(::lchown(link.c_str(), kSomebody, kSomebody), 0);
  try {
    write_something(link + "/foreign");
    FAIL() << "a link of somebody else was followed";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kPermission) << error.what();
  }
  EXPECT_FALSE(std::filesystem::exists(target + "/foreign"));
  // Where not everybody may write, only those put links who may do everything anyway.
  ASSERT_EQ(::chmod(shared.c_str(), 0755), 0);
  write_something(link + "/foreign");
  EXPECT_TRUE(std::filesystem::exists(target + "/foreign"));
}

TEST(CheckpointReader, WhatIsNoFileIsNotOpened) {
  TempDir dir;
  const std::string path = dir.file("fifo.pcp");
  ASSERT_EQ(::mkfifo(path.c_str(), 0600), 0);
  const int watch = ::inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
  ASSERT_GE(::inotify_add_watch(watch, path.c_str(), IN_OPEN), 0);
  EXPECT_THROW(CheckpointReader::open(path), Error);
  EXPECT_EQ(Store(dir.path()).list().size(), 1u);
  char event[256];
  EXPECT_EQ(::read(watch, event, sizeof event), -1) << "it was opened";
  ::close(::open(path.c_str(), O_RDWR | O_NONBLOCK));
  EXPECT_GT(::read(watch, event, sizeof event), 0); // that would have been noticed
  ::close(watch);
}

} // namespace
} // namespace rrpcp
