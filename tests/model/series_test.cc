// Series of checkpoints: reading through bases, what is verified of them, and making one stand
// alone.

#include "base/bytes.h"
#include "base/hash.h"
#include "model/same_memory.h"
#include "rrpcp/memory_view.h"
#include "rrpcp/rewrite.h"
#include "rrpcp/series.h"
#include "rrpcp/store.h"
#include "rrpcp/validate.h"
#include "store/held_base.h"
#include "support/checkpoint_bytes.h"
#include "support/equal_hashes.h"
#include "support/syscall_fault.h"
#include "support/temp_dir.h"

#include <algorithm>
#include <atomic>
#include <capnp/message.h>
#include <chrono>
#include <cstring>
#include <filesystem>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <map>
#include <optional>
#include <random>
#include <set>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <thread>

namespace rrpcp {
namespace {

namespace fs = std::filesystem;
using test::TempDir;

constexpr std::size_t kPage = 4096;
constexpr std::uint64_t kStart = 0x10000;

// A process with one mapping, as it goes on and is saved again and again.
class Series : public testing::Test {
protected:
  Series() { pages_ = test::sample_pages(200, 1); }

  void change(std::size_t page, unsigned seed) {
    const auto fresh = test::sample_pages(1, seed);
    std::copy(fresh.begin(), fresh.end(),
              pages_.begin() + static_cast<std::ptrdiff_t>(page * kPage));
  }

  std::string path(const std::string& name) const { return dir_.file(name + ".pcp"); }

  // Saves the memory as it is now; `base`, where given, is the name of an earlier file.
  CheckpointId save(const std::string& name, const std::string& base = {},
                    const WriterOptions& options = {.profile = Profile::kFast, .threads = 1}) {
    capnp::MallocMessageBuilder message;
    auto state = message.initRoot<schema::Manifest>().initState();
    state.setMachine(62);
    state.setElfClass(2);
    state.setDataEncoding(1);
    state.setProducer("org.rrpcp.process");
    if (trace_ != 0) {
      auto uuid = state.initTrace().initUuid(16);
      std::fill(uuid.begin(), uuid.end(), trace_);
    }
    auto stream = state.initPageStream();
    stream.setPageSize(kPage);
    stream.setChunkPages(16);
    state.initProcesses(1)[0].setPid(100);
    auto task = state.initTasks(1)[0];
    task.setTid(100);
    auto set = task.initRegisters(1)[0];
    set.setNoteType(1);
    set.initData(216);
    std::optional<HeldBase> held;
    if (!base.empty()) {
      held.emplace(path(base));
    }
    CheckpointId id;
    write_file_atomically(path(name), true, [&](Output& output) {
      HeaderFields fields = header_fields(state.asReader());
      fields.base_runs = held.has_value();
      CheckpointWriter writer(output, fields, options);
      std::vector<PageRun> runs;
      const std::span<const std::byte> all(pages_);
      for (std::size_t at = 0; at < all.size(); at += kPage) {
        const auto page = all.subspan(at, kPage);
        const auto row = held ? held->memory().find(0, kStart + at) : std::nullopt;
        if (row) {
          writer.append(page, held->memory().page(row->source, row->first), runs);
        } else {
          writer.append(page, runs);
        }
      }
      auto mapping = state.initAddressSpaces(1)[0].initMappings(1)[0];
      mapping.setStart(kStart);
      mapping.setEnd(kStart + all.size());
      mapping.setProtection(3);
      mapping.setFlags(0x22);
      set_runs(mapping.initRuns(static_cast<unsigned>(runs.size())), runs);
      if (held) {
        held->memory().list_bases(state);
      }
      capnp::MallocMessageBuilder provenance;
      id = writer.finish(state, provenance.initRoot<schema::Provenance>().asReader());
    });
    return id;
  }

  std::vector<std::byte> memory_of(const std::string& name) const {
    const CheckpointReader reader = CheckpointReader::open(path(name));
    MemoryView view(reader, 0);
    std::vector<std::byte> bytes(pages_.size());
    EXPECT_EQ(view.read(kStart, bytes), bytes.size());
    return bytes;
  }

  std::set<std::string> codes_of(const std::string& name) const {
    std::set<std::string> codes;
    for (const Finding& finding : validate_file(path(name), {.threads = 1}).findings) {
      codes.emplace(finding.code);
    }
    return codes;
  }

  // The diagnostic with which reading memory fails.
  std::string failure_of(const std::string& name) const {
    try {
      const CheckpointReader reader = CheckpointReader::open(path(name));
      reader.open_bases();
      return "none";
    } catch (const Error& error) {
      EXPECT_THAT(error.what(), testing::HasSubstr(".pcp"));
      return error.diagnostic();
    }
  }

  // A full one and three that follow it.
  void save_four() {
    save("a");
    change(3, 10);
    save("b", "a");
    change(50, 11);
    save("c", "b");
    change(120, 12);
    save("d", "c");
  }

  TempDir dir_;
  std::vector<std::byte> pages_;
  std::uint8_t trace_ = 0; // of the next checkpoint; 0: none
};

TEST_F(Series, StoresWhatChangedAndReadsEverything) {
  save("a");
  const auto at_a = pages_;
  change(3, 10);
  save("b", "a");
  const auto at_b = pages_;
  change(3, 11);
  change(50, 12);
  save("c", "b");
  EXPECT_EQ(memory_of("a"), at_a);
  EXPECT_EQ(memory_of("b"), at_b);
  EXPECT_EQ(memory_of("c"), pages_);
  for (const char* name : {"a", "b", "c"}) {
    EXPECT_EQ(codes_of(name), std::set<std::string>{}) << name;
  }
  const CheckpointReader b = CheckpointReader::open(path("b"));
  const CheckpointReader c = CheckpointReader::open(path("c"));
  EXPECT_EQ(CheckpointReader::open(path("a")).header().minor, 0);
  EXPECT_EQ(b.header().minor, 1);
  EXPECT_EQ(b.footer().page_count, 1u);
  EXPECT_EQ(c.footer().page_count, 2u);
  EXPECT_LT(b.file_size() * 10, fs::file_size(path("a")));
  // Of b nothing is left in c: it is not needed.
  EXPECT_EQ(base_ids(c), std::vector{CheckpointReader::open(path("a")).id()});
}

TEST_F(Series, NamesTheFileInWhichBytesLie) {
  save_four();
  const CheckpointReader d = CheckpointReader::open(path("d"));
  ASSERT_EQ(d.base_count(), 3u);
  EXPECT_EQ(d.base(0).id(), CheckpointReader::open(path("a")).id());
  EXPECT_EQ(d.base(2).id(), CheckpointReader::open(path("c")).id());
  const SeriesCost cost = series_cost(d.state());
  EXPECT_EQ(cost.pages, 200u);
  EXPECT_EQ(cost.own_pages, 1u);
  EXPECT_GE(cost.decoded_pages, 200u);
  // What lies between is not needed to read what came before it.
  fs::remove(path("c"));
  EXPECT_EQ(failure_of("b"), "none");
  EXPECT_EQ(failure_of("d"), "base.missing");
}

TEST_F(Series, SaysWhatIsMissing) {
  save_four();
  fs::rename(path("b"), dir_.file("b.elsewhere"));
  EXPECT_EQ(codes_of("d"), std::set<std::string>{"base.missing"});
  EXPECT_EQ(codes_of("c"), std::set<std::string>{"base.missing"});
  EXPECT_EQ(codes_of("a"), std::set<std::string>{});
  try {
    memory_of("d");
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kNotFound);
    EXPECT_THAT(error.what(), testing::HasSubstr("is missing"));
    EXPECT_THAT(error.what(), testing::HasSubstr(path("d")));
  }
  // Any name will do.
  fs::rename(dir_.file("b.elsewhere"), path("another-name"));
  EXPECT_EQ(memory_of("d"), pages_);
  // A link to the checkpoint finds the bases where the file lies.
  const TempDir other;
  fs::create_symlink(path("d"), other.file("link.pcp"));
  CheckpointReader::open(other.file("link.pcp")).open_bases();
}

TEST_F(Series, BaseMayBeStoredInAnotherWayButNotRearranged) {
  save_four();
  const auto rewrite = [&](const std::string& name, const WriterOptions& options) {
    const CheckpointReader reader = CheckpointReader::open(path(name));
    write_file_atomically(path(name), true,
                          [&](Output& output) { rewrite_checkpoint(reader, output, options); });
  };
  rewrite("a", {.profile = Profile::kSmall, .threads = 1, .seal = true});
  rewrite("b", {.profile = Profile::kRaw, .threads = 1});
  EXPECT_EQ(memory_of("d"), pages_);
  EXPECT_EQ(codes_of("d"), std::set<std::string>{});
  // The same memory in another arrangement is another checkpoint.
  const CheckpointReader b = CheckpointReader::open(path("b"));
  write_file_atomically(path("b"), true, [&](Output& output) {
    flatten_checkpoint(b, output, {.profile = Profile::kFast, .threads = 1});
  });
  EXPECT_EQ(failure_of("d"), "base.missing");
}

TEST_F(Series, VerifiesBeforeAByteIsUsed) {
  save_four();
  auto bytes = test::read_file(path("b"));
  auto damaged = bytes;
  damaged[CheckpointReader::open(path("b")).find_section(format::kSectionManifest)->offset + 99] ^=
      std::byte{1};
  test::write_file(path("b"), damaged);
  EXPECT_THAT(failure_of("d"), testing::Not(testing::AnyOf("none", "base.missing")));
  EXPECT_EQ(codes_of("d"), std::set<std::string>{"base.unusable"});
  test::write_file(path("b"), bytes);
  EXPECT_EQ(failure_of("d"), "none");
  // A file that has the id and whose checksums are right, but not the content.
  auto forged = test::read_file(path("a"));
  const CheckpointId id = CheckpointReader::open(path("b")).id();
  const std::size_t footer = forged.size() - format::kFooterSize;
  std::memcpy(&forged[footer + format::kFooterCheckpointId], id.bytes.data(), id.bytes.size());
  store_le<std::uint64_t>(
      std::span(forged), forged.size() - format::kFooterEndSize + format::kFooterEndChecksum,
      xxh3_64(std::span<const std::byte>(forged).subspan(
          footer, format::kFooterSize - format::kFooterEndSize + format::kFooterEndChecksum)));
  test::write_file(path("b"), forged);
  EXPECT_EQ(failure_of("d"), "base.unusable");
}

TEST_F(Series, RefusesABaseOfAnotherTrace) {
  trace_ = 1;
  save("a");
  change(3, 10);
  save("b", "a");
  EXPECT_EQ(failure_of("b"), "none");
  trace_ = 2;
  save("c", "a");
  EXPECT_EQ(failure_of("c"), "base.unusable");
  EXPECT_TRUE(codes_of("c").contains("base.unusable"));
  try {
    memory_of("c");
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kForeignTrace);
  }
}

TEST_F(Series, HashesDoNotDecide) {
  const auto equal = test::pages_of_equal_hash();
  std::copy(equal[0].begin(), equal[0].end(), pages_.begin());
  save("a");
  change(20, 30);
  std::copy(equal[1].begin(), equal[1].end(), pages_.begin());
  save("b", "a");
  EXPECT_EQ(memory_of("b"), pages_);
  EXPECT_EQ(CheckpointReader::open(path("b")).footer().page_count, 2u);
}

TEST_F(Series, RefusesTwoFilesOfOneId) {
  pages_.resize(kPage);
  const auto equal = test::pages_of_equal_hash();
  pages_ = equal[0];
  const CheckpointId first = save("a");
  pages_ = equal[1];
  ASSERT_EQ(save("b"), first);
  pages_.resize(2 * kPage, std::byte{7});
  save("c", "b");
  EXPECT_EQ(failure_of("c"), "base.ambiguous");
  EXPECT_EQ(codes_of("c"), std::set<std::string>{"base.ambiguous"});
  fs::remove(path("a"));
  EXPECT_EQ(memory_of("c"), pages_);
  // A copy with the same pages harms nobody.
  fs::copy_file(path("b"), path("copy"));
  EXPECT_EQ(memory_of("c"), pages_);
}

TEST_F(Series, FlattenedNeedsNoOtherFile) {
  save_four();
  const CheckpointReader d = CheckpointReader::open(path("d"));
  const TempDir other;
  const PublishedCheckpoint flat =
      publish_flattened(d, other.path(), {.profile = Profile::kDefault, .threads = 1});
  const CheckpointReader reader = CheckpointReader::open(flat.path);
  EXPECT_EQ(reader.base_count(), 0u);
  EXPECT_EQ(reader.header().minor, 0);
  EXPECT_NE(reader.id(), d.id());
  EXPECT_EQ(different_content(reader, d), std::nullopt);
  EXPECT_TRUE(validate_file(flat.path).findings.empty());
  MemoryView view(reader, 0);
  std::vector<std::byte> bytes(pages_.size());
  view.read(kStart, bytes);
  EXPECT_EQ(bytes, pages_);
  change(7, 99);
  save("e");
  EXPECT_NE(different_content(reader, CheckpointReader::open(path("e"))), std::nullopt);
}

TEST_F(Series, WritesNoMoreBasesThanReadersTake) {
  save("0");
  unsigned depth = 0;
  for (; depth < format::kMaxBases; ++depth) {
    change(depth, 1000 + depth);
    save(std::to_string(depth + 1), std::to_string(depth));
  }
  EXPECT_EQ(CheckpointReader::open(path(std::to_string(depth))).base_count(), format::kMaxBases);
  EXPECT_EQ(memory_of(std::to_string(depth)), pages_);
  change(depth, 5000);
  save("beyond", std::to_string(depth));
  EXPECT_EQ(codes_of("beyond"), std::set<std::string>{"base.count"});
  EXPECT_EQ(failure_of("beyond"), "base.count");
}

// Removing.

std::map<std::string, PruneEntry::Fate> fates(const std::vector<PruneEntry>& entries) {
  std::map<std::string, PruneEntry::Fate> fates;
  for (const PruneEntry& entry : entries) {
    fates[fs::path(entry.path).stem().string()] = entry.fate;
  }
  return fates;
}

void make_old(const std::string& path) {
  fs::last_write_time(path, fs::file_time_type::clock::now() - std::chrono::hours(48));
}

using Fate = PruneEntry::Fate;
using testing::Pair;
using testing::UnorderedElementsAre;

TEST_F(Series, PruningKeepsWhatIsNeeded) {
  save_four();
  make_old(path("a"));
  make_old(path("b"));
  make_old(path("c"));
  const PruneOptions aged{.max_age = 24 * 3600};
  EXPECT_THAT(fates(prune_checkpoints(dir_.path(), aged)),
              UnorderedElementsAre(Pair("a", Fate::kNeeded), Pair("b", Fate::kNeeded),
                                   Pair("c", Fate::kNeeded), Pair("d", Fate::kKept)));
  EXPECT_EQ(memory_of("d"), pages_);
  make_old(path("d"));
  PruneOptions dry = aged;
  dry.dry_run = true;
  EXPECT_THAT(
      fates(prune_checkpoints(dir_.path(), dry)),
      testing::Each(testing::Field(&std::pair<const std::string, Fate>::second, Fate::kRemoved)));
  EXPECT_TRUE(fs::exists(path("a")));
  prune_checkpoints(dir_.path(), aged);
  EXPECT_TRUE(fs::is_empty(dir_.path()));
}

TEST_F(Series, PruningBySizeRemovesTheOldestThatNobodyNeeds) {
  save("old");
  make_old(path("old"));
  change(180, 77); // else it would have the id of what follows, and do as well as a base
  save_four();
  make_old(path("d"));
  const std::uint64_t all =
      fs::file_size(path("a")) + fs::file_size(path("b")) + fs::file_size(path("c"));
  EXPECT_THAT(fates(prune_checkpoints(dir_.path(), {.max_bytes = all})),
              UnorderedElementsAre(Pair("a", Fate::kKept), Pair("b", Fate::kKept),
                                   Pair("c", Fate::kKept), Pair("d", Fate::kRemoved),
                                   Pair("old", Fate::kRemoved)));
  EXPECT_FALSE(fs::exists(path("d")));
}

// Not the whole of it, though all but the last file is older than what is needed.
TEST_F(Series, PruningBySizeLeavesTheBeginningOfASeries) {
  save_four();
  std::uint64_t all = 0;
  for (const char* name : {"a", "b", "c", "d"}) {
    all += fs::file_size(path(name));
  }
  EXPECT_THAT(fates(prune_checkpoints(dir_.path(), {.max_bytes = all - 1})),
              UnorderedElementsAre(Pair("a", Fate::kKept), Pair("b", Fate::kKept),
                                   Pair("c", Fate::kKept), Pair("d", Fate::kRemoved)));
  EXPECT_EQ(failure_of("c"), "none");
}

// Bases of any shape, limits of any kind.
class RandomSeries : public Series, public testing::WithParamInterface<unsigned> {
protected:
  RandomSeries() : random_(GetParam()) { pages_.resize(24 * kPage); }

  std::size_t below(std::size_t n) { return random_() % n; }

  // Of older and younger files, with bases among those before them.
  void make_some() {
    const std::size_t count = 3 + below(10);
    for (std::size_t i = 0; i < count; ++i) {
      change(below(24), static_cast<unsigned>(1000 * GetParam() + i));
      const bool full = i == 0 || below(5) == 0;
      save(std::to_string(i),
           full ? "" : std::to_string(i - 1 - below(std::min<std::size_t>(i, 3))));
      fs::last_write_time(path(std::to_string(i)),
                          fs::file_time_type::clock::now() - std::chrono::hours(below(40)));
      bytes_ += fs::file_size(path(std::to_string(i)));
    }
  }

  PruneOptions some_options() {
    PruneOptions options;
    options.max_age = below(2) == 0 ? 0 : static_cast<std::int64_t>(3600 * (1 + below(40)));
    options.max_bytes = below(3) == 0 ? 0 : 1 + below(bytes_);
    return options;
  }

  // Every file that is there can be read with all it needs.
  void expect_whole(const std::string& when) const {
    for (const fs::directory_entry& file : fs::directory_iterator(dir_.path())) {
      const CheckpointReader reader = CheckpointReader::open(file.path().string());
      EXPECT_NO_THROW(reader.open_bases()) << when << ": " << file.path();
    }
  }

  std::mt19937 random_;
  std::uint64_t bytes_ = 0;
};

TEST_P(RandomSeries, PruningLeavesWhatCanBeRead) {
  make_some();
  const PruneOptions options = some_options();
  const std::vector<PruneEntry> entries = prune_checkpoints(dir_.path(), options);
  std::uint64_t left = 0;
  bool may_go = false;
  std::set<CheckpointId> needed;
  for (const PruneEntry& entry : entries) {
    EXPECT_EQ(fs::exists(entry.path), entry.fate != Fate::kRemoved) << entry.path;
    if (entry.fate != Fate::kRemoved) {
      left += entry.bytes;
      const auto bases = base_ids(CheckpointReader::open(entry.path));
      needed.insert(bases.begin(), bases.end());
    }
  }
  for (const PruneEntry& entry : entries) {
    may_go = may_go || (entry.fate != Fate::kRemoved && !needed.contains(*entry.id));
    // Nobody stays for the sake of nobody.
    EXPECT_TRUE(entry.fate != Fate::kNeeded || needed.contains(*entry.id)) << entry.path;
  }
  EXPECT_TRUE(options.max_bytes == 0 || left <= options.max_bytes || !may_go);
  expect_whole("at the end");
}

TEST_P(RandomSeries, PruningMayBeKilledAtAnyMoment) {
  if (GetParam() > 3) {
    return;
  }
  make_some();
  const TempDir kept;
  fs::copy(dir_.path(), kept.path(), fs::copy_options::overwrite_existing);
  const PruneOptions options{.max_bytes = 1}; // everything goes
  for (std::uint64_t nth = 0;; ++nth) {
    fs::copy(kept.path(), dir_.path(), fs::copy_options::overwrite_existing);
    std::uint64_t seen = 0;
    const test::FaultRun run = test::run_with_faults(
        [&] {
          prune_checkpoints(dir_.path(), options);
          return 0;
        },
        [&](const test::SyscallEntry& call) -> test::Fault {
          const bool changes =
              call.number == SYS_unlinkat || call.number == SYS_fsync || call.number == SYS_flock;
          return {changes && seen++ == nth ? test::Fault::kKill : test::Fault::kNone, 0};
        });
    expect_whole("killed at call " + std::to_string(nth));
    if (WIFEXITED(run.status)) {
      EXPECT_EQ(WEXITSTATUS(run.status), 0);
      EXPECT_GT(nth, 3u);
      EXPECT_TRUE(fs::is_empty(dir_.path()));
      return;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Seeds, RandomSeries, testing::Range(1u, 25u));

// Writers go on from whatever is there while others remove; what is there in the end can be read.
TEST_F(Series, PruningBesideWriters) {
  pages_.resize(24 * kPage);
  save("0");
  std::atomic<bool> done = false;
  std::thread pruner([&] {
    while (!done) {
      prune_checkpoints(dir_.path(), {.max_bytes = 400'000});
    }
  });
  unsigned made = 0;
  std::string last = "0";
  for (unsigned i = 1; i <= 50; ++i) {
    change(i % 24, i);
    const std::string name = std::to_string(i);
    try {
      save(name, last);
      ++made;
      last = name;
      const CheckpointReader reader = CheckpointReader::open(path(name));
      if (reader.base_count() > 8) {
        save(last = name + "-full");
      }
    } catch (const Error&) {
      save(last = name + "-full"); // the base is gone: so is what it was
    }
  }
  done = true;
  pruner.join();
  EXPECT_GT(made, 0u);
  for (const fs::directory_entry& file : fs::directory_iterator(dir_.path())) {
    EXPECT_NO_THROW(CheckpointReader::open(file.path().string()).open_bases()) << file.path();
  }
}

TEST_F(Series, PruningSparesTheBaseOfACheckpointThatIsBeingMade) {
  save("a");
  make_old(path("a"));
  {
    const HeldBase held(path("a"));
    EXPECT_THAT(fates(prune_checkpoints(dir_.path(), {.max_age = 1})),
                UnorderedElementsAre(Pair("a", Fate::kInUse)));
    EXPECT_TRUE(fs::exists(path("a")));
  }
  EXPECT_THAT(fates(prune_checkpoints(dir_.path(), {.max_age = 1})),
              UnorderedElementsAre(Pair("a", Fate::kRemoved)));
  EXPECT_THROW(HeldBase{path("a")}, Error);
}

TEST_F(Series, PruningRemovesNothingWhileThereIsWhatItCannotRead) {
  save("a");
  make_old(path("a"));
  auto newer = test::read_file(path("a"));
  std::span<std::byte> bytes(newer);
  store_le<std::uint64_t>(bytes, format::kHeaderIncompatible, std::uint64_t{1} << 40);
  store_le<std::uint64_t>(bytes, format::kHeaderChecksum,
                          xxh3_64(bytes.first(format::kHeaderChecksum)));
  test::write_file(path("newer"), newer);
  EXPECT_THAT(fates(prune_checkpoints(dir_.path(), {.max_age = 1})),
              UnorderedElementsAre(Pair("a", Fate::kNeeded), Pair("newer", Fate::kUnknown)));
  EXPECT_TRUE(fs::exists(path("a")));
}

} // namespace
} // namespace rrpcp
