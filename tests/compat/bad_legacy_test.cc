// Broken checkpoints of rr's: a clear finding for each, and nothing is touched.

#include "compat/golden.h"
#include "legacy/legacy_message.h"
#include "legacy/packed_message.h"
#include "rrpcp/compat/legacy.h"
#include "support/checkpoint_bytes.h"

#include <algorithm>
#include <capnp/serialize-packed.h>
#include <filesystem>
#include <functional>
#include <gtest/gtest.h>
#include <random>
#include <utility>

namespace rrpcp {
namespace {

namespace fs = std::filesystem;
using compat::as_data;

using Change2025 = std::function<void(legacy::rr2025::CheckpointInfo::Builder)>;

class BadLegacy : public testing::Test {
protected:
  std::string directory() const { return golden_.trace() + "/checkpoint-840"; }
  std::string metadata() const { return directory() + "/metadata"; }

  // Writes the metadata again with a change.
  void change(const Change2025& change_message) const {
    test::change_packed<legacy::rr2025::CheckpointInfo>(metadata(), change_message);
  }

  static legacy::rr2024::KernelMapping::Builder
  mapping(legacy::rr2025::CheckpointInfo::Builder info, unsigned index) {
    return info.getCloneCompletion()
        .getAddressSpaces()[0]
        .getProcessSpace()
        .getVirtualAddressSpace()[index];
  }

  // The code under which the checkpoint at 840 is refused; empty where it is not.
  std::string refusal() const {
    const LegacyTrace trace = LegacyTrace::open(golden_.trace());
    for (const LegacyEntry& entry : trace.entries()) {
      if (entry.name != "checkpoint-840") {
        EXPECT_FALSE(entry.problem) << "the other checkpoint suffers";
        continue;
      }
      if (entry.problem) {
        EXPECT_THROW(static_cast<void>(trace.load(entry)), Error);
        return entry.problem->diagnostic();
      }
      const LegacyCheckpoint legacy = trace.load(entry);
      for (const Finding& finding : legacy.findings()) {
        if (finding.severity == Severity::kError) {
          EXPECT_FALSE(legacy.importable());
          EXPECT_THROW(publish_import(legacy, golden_.file("store")), Error);
          EXPECT_TRUE(!fs::exists(golden_.file("store")) || fs::is_empty(golden_.file("store")));
          return std::string(finding.code);
        }
      }
    }
    return {};
  }

  test::Golden golden_{"rr-2025/tiny_ticks"};
};

TEST_F(BadLegacy, GoodOneIsNotRefused) {
  EXPECT_EQ(refusal(), "");
}

TEST_F(BadLegacy, EmptyMetadata) {
  test::write_file(metadata(), {});
  EXPECT_EQ(refusal(), "legacy.incomplete");
}

TEST_F(BadLegacy, NoMetadata) {
  fs::remove(metadata());
  EXPECT_EQ(refusal(), "legacy.incomplete");
}

TEST_F(BadLegacy, CutAnywhere) {
  const auto bytes = test::read_file(metadata());
  for (std::size_t length = 1; length < bytes.size(); length += 97) {
    test::write_file(metadata(), std::span(bytes).first(length));
    EXPECT_EQ(refusal(), "legacy.message") << length;
  }
}

TEST_F(BadLegacy, TrailingBytes) {
  auto bytes = test::read_file(metadata());
  bytes.resize(bytes.size() + 5);
  test::write_file(metadata(), bytes);
  EXPECT_EQ(refusal(), "legacy.message");
}

TEST_F(BadLegacy, RandomBytesNeverCrash) {
  const auto bytes = test::read_file(metadata());
  std::mt19937 random(7);
  for (int round = 0; round < 60; ++round) {
    auto changed = bytes;
    for (int i = 0; i < 4; ++i) {
      changed[random() % changed.size()] = static_cast<std::byte>(random());
    }
    test::write_file(metadata(), changed);
    const LegacyTrace trace = LegacyTrace::open(golden_.trace());
    for (const LegacyEntry& entry : trace.entries()) {
      if (!entry.problem) {
        static_cast<void>(trace.load(entry));
      }
    }
  }
}

TEST_F(BadLegacy, MissingPageFile) {
  fs::remove(*std::find_if(
      fs::directory_iterator(directory()), fs::directory_iterator(),
      [](const fs::directory_entry& entry) { return entry.path().filename() != "metadata"; }));
  EXPECT_EQ(refusal(), "legacy.page-missing");
}

class BadPageFile : public BadLegacy {
protected:
  fs::path page_file() const {
    for (const fs::directory_entry& entry : fs::directory_iterator(directory())) {
      if (entry.path().filename() != "metadata") {
        return entry.path();
      }
    }
    return {};
  }
};

TEST_F(BadPageFile, TooShort) {
  fs::resize_file(page_file(), fs::file_size(page_file()) - 1);
  EXPECT_EQ(refusal(), "legacy.page-size");
}

TEST_F(BadPageFile, TooLong) {
  fs::resize_file(page_file(), fs::file_size(page_file()) + 4096);
  EXPECT_EQ(refusal(), "legacy.page-size");
}

TEST_F(BadPageFile, SymbolicLink) {
  const fs::path file = page_file();
  fs::rename(file, golden_.file("elsewhere"));
  fs::create_symlink(golden_.file("elsewhere"), file);
  EXPECT_EQ(refusal(), "legacy.page-symlink");
}

TEST_F(BadPageFile, Directory) {
  const fs::path file = page_file();
  fs::remove(file);
  fs::create_directory(file);
  EXPECT_EQ(refusal(), "legacy.page-type");
}

TEST_F(BadLegacy, DirectoryIsASymbolicLink) {
  fs::rename(directory(), golden_.file("elsewhere"));
  fs::create_directory_symlink(golden_.file("elsewhere"), directory());
  EXPECT_EQ(refusal(), "legacy.page-symlink");
}

TEST_F(BadLegacy, PathsThatLeadElsewhereAreNotFollowed) {
  // The same names in another directory, which exists: what is in the trace counts.
  const std::string other = golden_.file("other") + "/checkpoint-840";
  fs::create_directories(other);
  change([&](auto info) {
    for (unsigned m = 0; m < 3; ++m) {
      const std::string name(
          fs::path(compat::text(compat::contents_path(mapping(info, m).asReader()))).filename());
      test::write_file(other + "/" + name, {});
      compat::set_contents_path(mapping(info, m), other + "/" + name);
    }
  });
  EXPECT_EQ(refusal(), "");
}

TEST_F(BadLegacy, PathInAnotherDirectory) {
  change([](auto info) { compat::set_contents_path(mapping(info, 2), "/etc/passwd"); });
  EXPECT_EQ(refusal(), "legacy.page-path");
}

TEST_F(BadLegacy, PathWithDots) {
  change([](auto info) {
    compat::set_contents_path(mapping(info, 0), "/srv/../checkpoint-840/23-0x1-0x2");
  });
  EXPECT_EQ(refusal(), "legacy.page-path");
}

TEST_F(BadLegacy, PathEndsWithDots) {
  change([](auto info) { compat::set_contents_path(mapping(info, 1), "/srv/checkpoint-840/.."); });
  EXPECT_EQ(refusal(), "legacy.page-path");
}

TEST_F(BadLegacy, Invariants) {
  const auto intact = test::read_file(metadata());
  const std::pair<const char*, Change2025> cases[] = {
      {"no spaces", [](auto info) { info.getCloneCompletion().initAddressSpaces(0); }},
      {"event 0", [](auto info) { info.getExplicit().setTime(0); }},
      {"negative ticks", [](auto info) { info.getExplicit().setTicks(-1); }},
      {"short registers", [](auto info) { info.getExplicit().getRegs().initRaw(100); }},
      {"backwards", [](auto info) { mapping(info, 0).setEnd(4096); }},
      {"odd start", [](auto info) { mapping(info, 0).setStart(mapping(info, 0).getStart() + 1); }},
      {"overlap", [](auto info) { mapping(info, 2).setStart(mapping(info, 1).getStart()); }},
      {"no path", [](auto info) { compat::set_contents_path(mapping(info, 0), ""); }},
      {"relative path", [](auto info) { compat::set_contents_path(mapping(info, 0), "a"); }},
      {"protection", [](auto info) { mapping(info, 0).setProtection(-1); }},
      {"task 0",
       [](auto info) {
         info.getCloneCompletion().getAddressSpaces()[0].getCloneLeaderState().setRecTid(0);
       }},
      {"no mappings",
       [](auto info) {
         info.getCloneCompletion().getAddressSpaces()[0].getProcessSpace().initVirtualAddressSpace(
             0);
       }},
      {"thread area",
       [](auto info) {
         info.getCloneCompletion()
             .getAddressSpaces()[0]
             .getCloneLeaderState()
             .initThreadAreas(1)
             .set(0, as_data("short"));
       }},
      {"machine",
       [](auto info) {
         info.getCloneCompletion().getAddressSpaces()[0].setArch(static_cast<legacy::Machine>(9));
       }},
  };
  for (const auto& [name, change_message] : cases) {
    test::write_file(metadata(), intact);
    change(change_message);
    EXPECT_EQ(refusal(), "legacy.invariant") << name;
  }
}

TEST_F(BadLegacy, AbsurdCounts) {
  // A list pointer that claims 2^29 - 1 elements, in the unpacked form: no memory is spent on it.
  capnp::MallocMessageBuilder message;
  message.initRoot<legacy::rr2025::CheckpointInfo>().initCloneCompletion().initAddressSpaces(1);
  auto words = capnp::messageToFlatArray(message);
  for (auto& word : words) {
    auto* half = reinterpret_cast<std::uint32_t*>(&word);
    if ((half[0] & 3) == 1) {
      half[1] = 0xffffffff; // an inline-composite list of absurd length
    }
  }
  kj::VectorOutputStream packed;
  capnp::_::PackedOutputStream stream(packed);
  stream.write(words.asBytes().begin(), words.asBytes().size());
  test::write_file(metadata(),
                   std::as_bytes(std::span(packed.getArray().begin(), packed.getArray().size())));
  EXPECT_EQ(refusal(), "legacy.message");
}

TEST_F(BadLegacy, ElementsOfNoSize) {
  // A list of 2^24 structs of no words, which takes one word: not a second is spent on it.
  std::vector<std::uint64_t> words(4);
  words[0] = std::uint64_t{3} << 32;     // one segment of 3 words
  words[1] = std::uint64_t{1} << 48;     // the root: one pointer
  words[2] = 1 | std::uint64_t{7} << 32; // a list of structs, 0 words
  words[3] = std::uint64_t{1} << 26;     // 2^24 of them
  kj::VectorOutputStream packed;
  capnp::_::PackedOutputStream stream(packed);
  stream.write(words.data(), words.size() * sizeof words[0]);
  const auto bytes = std::as_bytes(std::span(packed.getArray().begin(), packed.getArray().size()));
  try {
    compat::read_packed<legacy::rr2024::PersistentCheckpoints>(bytes, "the index");
    FAIL() << "it was read";
  } catch (const Error& error) {
    EXPECT_NE(std::string(error.what()).find("no room"), std::string::npos) << error.what();
  }
}

// A union whose discriminant no generation knows: what its pointer leads to may be anything. Found
// by fuzzing (fuzz/corpus/fuzz_rr_2025/unknown-alternative).
TEST_F(BadLegacy, UnknownAlternative) {
  capnp::MallocMessageBuilder message;
  message.initRoot<legacy::rr2025::CheckpointInfo>();
  auto words = capnp::messageToFlatArray(message);
  constexpr std::uint16_t kUnknown = 7;
  auto* halves = reinterpret_cast<std::uint16_t*>(words.begin());
  bool found = false;
  for (std::size_t i = 8; i < words.size() * 4 && !found; ++i) { // behind segment table and root
    const std::uint16_t before = std::exchange(halves[i], kUnknown);
    capnp::FlatArrayMessageReader reader(words);
    found = static_cast<std::uint16_t>(reader.getRoot<legacy::rr2025::CheckpointInfo>().which()) ==
            kUnknown;
    if (!found) {
      halves[i] = before;
    }
  }
  ASSERT_TRUE(found);
  kj::VectorOutputStream packed;
  capnp::_::PackedOutputStream stream(packed);
  stream.write(words.asBytes().begin(), words.asBytes().size());
  test::write_file(metadata(),
                   std::as_bytes(std::span(packed.getArray().begin(), packed.getArray().size())));
  EXPECT_EQ(refusal(), "legacy.message");
}

TEST(BadLegacySets, TheBrokenOnesOfTheDataSet) {
  const std::pair<const char*, const char*> sets[] = {
      {"rr-2025/truncated-metadata", "legacy.message"},
      {"rr-2025/missing-content", "legacy.page-missing"},
  };
  for (const auto& [name, code] : sets) {
    const test::Golden golden(name);
    const LegacyTrace trace = LegacyTrace::open(golden.trace());
    ASSERT_EQ(trace.entries().size(), 2u);
    const LegacyEntry& bad = test::entry_at(trace, 840);
    if (bad.problem) {
      EXPECT_EQ(bad.problem->diagnostic(), code) << name;
    } else {
      EXPECT_TRUE(test::has_code(trace.load(bad).findings(), code)) << name;
    }
    const LegacyCheckpoint good = trace.load(test::entry_at(trace, 1680));
    EXPECT_TRUE(good.importable()) << name;
    EXPECT_FALSE(publish_import(good, golden.file("store")).existed);
  }
}

class BadIndex : public testing::Test {
protected:
  std::string index() const { return golden_.trace() + "/checkpoints"; }
  std::vector<Finding> findings() const { return LegacyTrace::open(golden_.trace()).findings(); }

  test::Golden golden_{"rr-2024/tiny_threads"};
};

TEST_F(BadIndex, Empty) {
  test::write_file(index(), {});
  EXPECT_TRUE(test::has_code(findings(), "legacy.incomplete"));
}

TEST_F(BadIndex, Cut) {
  const auto bytes = test::read_file(index());
  test::write_file(index(), std::span(bytes).first(bytes.size() / 2));
  EXPECT_TRUE(test::has_code(findings(), "legacy.index"));
}

TEST_F(BadIndex, OfNoKnownGeneration) {
  using Index = legacy::rr2024::PersistentCheckpoints;
  test::change_packed<Index>(index(), [](Index::Builder root) {
    root.getCheckpoints()[1].getExplicit().getRegs().initRaw(7);
  });
  EXPECT_TRUE(test::has_code(findings(), "legacy.generation-unknown"));
  EXPECT_TRUE(LegacyTrace::open(golden_.trace()).entries().empty());
}

TEST_F(BadIndex, MissingFileOfOneEntry) {
  const LegacyTrace before = LegacyTrace::open(golden_.trace());
  ASSERT_EQ(before.entries().size(), 4u);
  fs::remove(before.entries()[2].path);
  const LegacyTrace after = LegacyTrace::open(golden_.trace());
  ASSERT_EQ(after.entries().size(), 4u);
  for (std::size_t e = 0; e < 4; ++e) {
    EXPECT_EQ(after.entries()[e].problem.has_value(), e == 2);
  }
  EXPECT_EQ(after.entries()[2].problem->diagnostic(), "legacy.incomplete");
}

TEST_F(BadIndex, OrphansAreNamed) {
  fs::remove(index());
  const LegacyTrace trace = LegacyTrace::open(golden_.trace());
  EXPECT_TRUE(test::has_code(trace.findings(), "legacy.orphan"));
  for (const LegacyEntry& entry : trace.entries()) {
    EXPECT_TRUE(entry.problem) << entry.name; // directories without a message
  }
}

TEST(Remove, TakesOneOutOfTheIndexAndLeavesTheRest) {
  for (const char* name : {"rr-2022/tiny_threads", "rr-2024/tiny_threads"}) {
    const test::Golden golden(name);
    const LegacyTrace before = LegacyTrace::open(golden.trace());
    remove_legacy(before, {before.entries()[1]});
    const LegacyTrace after = LegacyTrace::open(golden.trace());
    ASSERT_EQ(after.entries().size(), 3u);
    EXPECT_TRUE(after.findings().empty());
    for (const LegacyEntry& entry : after.entries()) {
      EXPECT_FALSE(entry.problem);
      EXPECT_TRUE(after.load(entry).importable());
      EXPECT_NE(entry.id, before.entries()[1].id);
    }
    EXPECT_FALSE(fs::exists(before.entries()[1].path));
    EXPECT_FALSE(fs::exists(before.entries()[1].page_directory));
    remove_legacy(after, after.entries());
    EXPECT_FALSE(fs::exists(golden.trace() + "/checkpoints"));
    EXPECT_TRUE(LegacyTrace::open(golden.trace()).entries().empty());
  }
}

} // namespace
} // namespace rrpcp
