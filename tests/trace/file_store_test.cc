// The files that a trace keeps.

#include "base/background.h"
#include "base/scoped_fd.h"
#include "model/backing_file.h"
#include "rrpcp/error.h"
#include "support/checkpoint_bytes.h"
#include "support/equal_hashes.h"
#include "support/temp_dir.h"
#include "trace/file_store.h"
#include "trace/sample_trace.h"
#include "trace/stand_ins.h"

#include <capnp/any.h>
#include <cstring>
#include <fcntl.h>
#include <filesystem>
#include <future>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sched.h>
#include <sys/stat.h>
#include <unistd.h>

namespace rrpcp {
namespace {

namespace fs = std::filesystem;

using test::file_text;
using test::put_text;

class FileStoreTest : public testing::Test {
protected:
  FileStoreTest() { fs::create_directory(trace_); }

  trace::KeptFile keep(trace::TraceFileStore& store, const std::string& path,
                       bool may_change = false) {
    const ScopedFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
    EXPECT_TRUE(fd) << path;
    return store.keep(fd.get(), path, may_change);
  }

  test::TempDir dir_;
  std::string trace_ = dir_.file("trace");
};

TEST_F(FileStoreTest, KeepsContentsUnderADigestAndRecordsIt) {
  const std::unique_ptr<TraceWriter> writer = test::begin_trace(trace_);
  trace::TraceFileStore store(*writer);
  put_text(dir_.file("a b.txt"), "contents");
  const trace::KeptFile kept = keep(store, dir_.file("a b.txt"));
  EXPECT_EQ(kept.number, 0u);
  EXPECT_THAT(kept.path, testing::MatchesRegex("files/[0-9a-f]{32}-a_b\\.txt"));
  EXPECT_EQ(file_text(trace_ + "/" + kept.path), "contents");
  writer->finish(0);

  const TraceReader reader = TraceReader::open(trace_);
  ASSERT_EQ(reader.files().size(), 1u);
  const auto file = reader.files()[0];
  const auto path = file.getPath();
  EXPECT_EQ(std::string(path.asChars().begin(), path.size()), dir_.file("a b.txt"));
  BackingFiles files;
  files.trace_directory = trace_;
  const ScopedFd copy = open_identity(file.getStored(), files, O_RDONLY);
  verify_identity(copy.get(), kept.path, file.getStored());
  ::chmod((trace_ + "/" + kept.path).c_str(), 0600);
  put_text(trace_ + "/" + kept.path, "contentz");
  const ScopedFd changed = open_identity(file.getStored(), files, O_RDONLY);
  EXPECT_THROW(verify_identity(changed.get(), kept.path, file.getStored()), Error);
}

TEST_F(FileStoreTest, UnchangedFileIsKeptOnceAndAChangedOneAgain) {
  const std::unique_ptr<TraceWriter> writer = test::begin_trace(trace_);
  trace::TraceFileStore store(*writer);
  const std::string path = dir_.file("data");
  put_text(path, "one");
  const trace::KeptFile first = keep(store, path);
  EXPECT_EQ(keep(store, path).number, first.number);
  // Same size, within the same tick of the clock perhaps: found by its content.
  put_text(path, "two");
  const trace::KeptFile second = keep(store, path);
  EXPECT_EQ(second.number, 1u);
  EXPECT_EQ(file_text(trace_ + "/" + second.path), "two");
  EXPECT_EQ(file_text(trace_ + "/" + first.path), "one") << "the old copy is left as it was";
  put_text(path, "one");
  const trace::KeptFile third = keep(store, path);
  EXPECT_EQ(third.path, first.path) << "equal contents lie there once";
  writer->finish(0);
}

TEST_F(FileStoreTest, SystemsFilesMayBeLinkedOthersNever) {
  const std::unique_ptr<TraceWriter> writer = test::begin_trace(trace_);
  trace::TraceFileStore store(*writer);
  const std::string own = dir_.file("program");
  put_text(own, "program");
  ::chmod(own.c_str(), 0755);
  keep(store, own);
  struct stat status = {};
  ASSERT_EQ(::stat(own.c_str(), &status), 0);
  EXPECT_EQ(status.st_nlink, 1u) << "whoever made it may write to it again";

  const std::string systems = "/usr/bin/env";
  const trace::KeptFile kept = keep(store, systems);
  EXPECT_EQ(keep(store, systems).number, kept.number) << "its new link is no change of it";
  const trace::KeptFile copied = keep(store, systems, true);
  struct stat copy = {};
  ASSERT_EQ(::stat((trace_ + "/" + copied.path).c_str(), &copy), 0);
  ASSERT_EQ(::stat(systems.c_str(), &status), 0);
  EXPECT_FALSE(copy.st_ino == status.st_ino && copy.st_dev == status.st_dev)
      << "tasks may write to it: a copy";
  EXPECT_EQ(file_text(trace_ + "/" + copied.path), file_text(systems));
  writer->finish(0);
}

TEST_F(FileStoreTest, HolesStayHolesAndEmptyFilesEmpty) {
  const std::unique_ptr<TraceWriter> writer = test::begin_trace(trace_);
  trace::TraceFileStore store(*writer);
  const std::string sparse = dir_.file("sparse");
  put_text(sparse, "begin");
  fs::resize_file(sparse, 64 << 20);
  ::chmod(sparse.c_str(), 0666);
  const trace::KeptFile kept = keep(store, sparse);
  struct stat status = {};
  ASSERT_EQ(::stat((trace_ + "/" + kept.path).c_str(), &status), 0);
  EXPECT_EQ(status.st_size, 64 << 20);
  EXPECT_LT(status.st_blocks, 4096) << "in units of 512 bytes";
  put_text(dir_.file("empty"), "");
  const trace::KeptFile empty = keep(store, dir_.file("empty"));
  EXPECT_EQ(fs::file_size(trace_ + "/" + empty.path), 0u);
  EXPECT_THROW(keep(store, dir_.path()), Error) << "a directory";
  writer->finish(0);
}

TEST_F(FileStoreTest, LeavesNothingBesideTheKeptFiles) {
  const std::unique_ptr<TraceWriter> writer = test::begin_trace(trace_);
  trace::TraceFileStore store(*writer);
  put_text(dir_.file("one"), "1");
  put_text(dir_.file("same"), "1");
  keep(store, dir_.file("one"));
  keep(store, dir_.file("same"));
  std::vector<std::string> names;
  for (const auto& entry : fs::directory_iterator(trace_ + "/files")) {
    names.push_back(entry.path().filename().string().substr(33));
  }
  EXPECT_THAT(names, testing::UnorderedElementsAre("one", "same"));
  writer->finish(0);
}

// Somebody has put a file under the name that a kept one would get.
TEST_F(FileStoreTest, AForgedFileUnderTheNameIsNotTakenForTheKeptOne) {
  const std::unique_ptr<TraceWriter> writer = test::begin_trace(trace_);
  trace::TraceFileStore store(*writer);
  put_text(dir_.file("data"), "contents");
  std::string name;
  {
    const std::string other = dir_.file("other");
    fs::create_directories(other + "/trace");
    const std::unique_ptr<TraceWriter> twin = test::begin_trace(other + "/trace");
    trace::TraceFileStore twins(*twin);
    name = keep(twins, dir_.file("data")).path;
    twin->finish(0);
  }
  put_text(trace_ + "/" + name, "forged!!");
  const trace::KeptFile kept = keep(store, dir_.file("data"));
  EXPECT_NE(kept.path, name);
  EXPECT_EQ(file_text(trace_ + "/" + kept.path), "contents");
  EXPECT_EQ(file_text(trace_ + "/" + name), "forged!!");
  writer->finish(0);
}

// Contents of the same size and XXH3: only the SHA-256 can tell.
TEST_F(FileStoreTest, ForgedContentsOfAKeptFileAreNoticed) {
  const std::unique_ptr<TraceWriter> writer = test::begin_trace(trace_);
  trace::TraceFileStore store(*writer);
  const auto [a, b] = test::pages_of_equal_hash();
  test::write_file(dir_.file("data"), a);
  const trace::KeptFile kept = keep(store, dir_.file("data"));
  test::write_file(dir_.file("data"), b);
  const trace::KeptFile other = keep(store, dir_.file("data"));
  EXPECT_NE(kept.path, other.path);
  EXPECT_EQ(test::read_file(trace_ + "/" + kept.path), a);
  EXPECT_EQ(test::read_file(trace_ + "/" + other.path), b);
  writer->finish(0);

  const TraceReader reader = TraceReader::open(trace_);
  const auto stored = reader.files()[0].getStored();
  BackingFiles files;
  files.trace_directory = trace_;
  const ScopedFd intact = open_identity(stored, files, O_RDONLY);
  EXPECT_NO_THROW(verify_identity(intact.get(), kept.path, stored));
  ::chmod((trace_ + "/" + kept.path).c_str(), 0600);
  test::write_file(trace_ + "/" + kept.path, b);
  const ScopedFd forged = open_identity(stored, files, O_RDONLY);
  EXPECT_THROW(verify_identity(forged.get(), kept.path, stored), Error);
}

// As a recorder does it: what is linked is digested meanwhile, and records that were appended
// before say the same as those that were appended after.
TEST_F(FileStoreTest, DigestsElsewhereWhatItLinks) {
  const std::vector<std::string> paths = {"/usr/bin/env", "/usr/bin/id", "/usr/bin/env",
                                          "/usr/bin/sort"};
  const std::string other = dir_.file("other");
  fs::create_directory(other);
  cpu_set_t processors;
  ASSERT_EQ(::sched_getaffinity(0, sizeof processors, &processors), 0);
  std::vector<std::string> named;
  {
    Background background(processors);
    trace::StandIns stand_ins;
    std::vector<std::future<void>> expected;
    TraceWriterOptions options;
    options.durable = false;
    options.elsewhere = [&](std::function<void()> work) { return background.run(std::move(work)); };
    options.amend = [&](std::span<std::byte> bytes) { stand_ins.replace(bytes); };
    const std::unique_ptr<TraceWriter> writer = test::begin_trace(trace_, options);
    trace::TraceFileStore store(*writer, {&background, &stand_ins, [&](std::future<void> work) {
                                            expected.push_back(std::move(work));
                                          }});
    for (const std::string& path : paths) {
      named.push_back(keep(store, path).path);
    }
    writer->finish(0);
    for (std::future<void>& work : expected) {
      work.get();
    }
    for (std::string& path : named) {
      path = stand_ins.replaced(path);
    }
  }
  const std::unique_ptr<TraceWriter> plain = test::begin_trace(other);
  trace::TraceFileStore store(*plain);
  for (std::size_t i = 0; i < paths.size(); ++i) {
    EXPECT_EQ(keep(store, paths[i]).path, named[i]);
  }
  plain->finish(0);

  const TraceReader one = TraceReader::open(trace_);
  const TraceReader two = TraceReader::open(other);
  ASSERT_EQ(one.files().size(), 3u);
  ASSERT_EQ(two.files().size(), 3u);
  for (unsigned i = 0; i < 3; ++i) {
    EXPECT_TRUE(capnp::AnyStruct::Reader(one.files()[i].getStored()) ==
                capnp::AnyStruct::Reader(two.files()[i].getStored()))
        << i;
    BackingFiles files;
    files.trace_directory = trace_;
    const ScopedFd copy = open_identity(one.files()[i].getStored(), files, O_RDONLY);
    verify_identity(copy.get(), "a kept file", one.files()[i].getStored());
  }
}

TEST(StandIns, AreReplacedWhereverTheyLie) {
  trace::StandIns stand_ins;
  const trace::StandIns::Mark first = stand_ins.stand_in();
  const trace::StandIns::Mark second = stand_ins.stand_in();
  trace::FileDigests digests;
  digests.xxh3 = {7, 9};
  digests.sha256.fill(0x5a);
  const std::string before = "files/" + first.name + "-a files/" + second.name + "-b";
  EXPECT_EQ(stand_ins.replaced(before), before); // nothing is known
  stand_ins.found(second.number, digests);
  EXPECT_EQ(stand_ins.replaced(before),
            "files/" + first.name + "-a files/" + trace::digest_text(digests.sha256) + "-b");

  std::vector<std::uint64_t> words = {1, second.digests.xxh3.high, second.digests.xxh3.low,
                                      first.digests.xxh3.high};
  words.resize(8);
  std::memcpy(&words[4], second.digests.sha256.data(), 32);
  stand_ins.replace(std::as_writable_bytes(std::span(words)));
  EXPECT_EQ(words[0], 1u);
  EXPECT_EQ(words[1], digests.xxh3.high);
  EXPECT_EQ(words[2], digests.xxh3.low);
  EXPECT_EQ(words[3], first.digests.xxh3.high);
  EXPECT_EQ(std::memcmp(&words[4], digests.sha256.data(), 32), 0);
}

} // namespace
} // namespace rrpcp
