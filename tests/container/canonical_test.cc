// The one form of a message: what is written is in it, and what is not in it is found.

#include "base/bytes.h"
#include "container/canonical.h"
#include "container/manifest_bytes.h"
#include "rrpcp/schema/manifest.capnp.h"
#include "support/random_message.h"

#include <algorithm>
#include <capnp/message.h>
#include <capnp/serialize.h>
#include <functional>
#include <gtest/gtest.h>
#include <random>

namespace rrpcp {
namespace {

std::span<const std::byte> bytes_of(const kj::Array<capnp::word>& words) {
  return std::as_bytes(std::span(words.begin(), words.size()));
}

// Framed, as check_layout() wants it.
std::vector<std::byte> framed(std::span<const std::byte> segment) {
  std::vector<std::byte> message(8);
  store_le<std::uint32_t>(std::span(message), 4, static_cast<std::uint32_t>(segment.size() / 8));
  message.insert(message.end(), segment.begin(), segment.end());
  return message;
}

schema::Manifest::Builder random_manifest(capnp::MallocMessageBuilder& message,
                                          std::uint64_t seed) {
  std::mt19937_64 random(seed);
  auto manifest = message.initRoot<schema::Manifest>();
  test::fill_at_random(manifest, random);
  return manifest;
}

TEST(Canonical, AnyMessageIsBroughtIntoTheForm) {
  for (std::uint64_t seed = 0; seed < 100; ++seed) {
    SCOPED_TRACE(seed);
    capnp::MallocMessageBuilder message;
    const auto manifest = random_manifest(message, seed);
    const kj::Array<capnp::word> once =
        canonical_message(manifest.asReader(), &manifest_plans().root());
    const auto layout = check_layout(framed(bytes_of(once)));
    EXPECT_FALSE(layout) << layout->what;
    const auto problem = find_noncanonical(bytes_of(once));
    EXPECT_FALSE(problem) << problem->what;
    const kj::ArrayPtr<const capnp::word> segments[] = {once.asPtr()};
    capnp::SegmentArrayMessageReader reader(kj::arrayPtr(segments, 1));
    EXPECT_TRUE(reader.isCanonical()) << "Cap'n Proto's own rules are a part of ours";
    const kj::Array<capnp::word> again =
        canonical_message(reader.getRoot<schema::Manifest>(), &manifest_plans().root());
    EXPECT_TRUE(std::ranges::equal(bytes_of(once), bytes_of(again)));
  }
}

// Runs of pages are structs without pointers; Cap'n Proto's own form of them is ours.
TEST(Canonical, ListsOfPlainStructsHaveTheWordsThatOneOfThemNeeds) {
  struct Run {
    std::uint64_t pages;
    std::uint64_t first;
    std::uint32_t source;
  };
  const std::vector<std::vector<Run>> lists = {
      {{1, 2, 3}, {4, 5, 6}}, {{1, 0, 0}, {2, 7, 0}, {3, 0, 0}},
      {{1, 0, 0}, {2, 0, 0}}, {{0, 0, 0}, {0, 0, 0}},
      {{0, 0, 0}, {0, 0, 1}}, {{5, 6, 7}},
      {{0, 9, 0}, {0, 0, 0}}};
  capnp::MallocMessageBuilder message;
  auto mappings =
      message.initRoot<schema::Manifest>().initState().initAddressSpaces(1)[0].initMappings(
          static_cast<unsigned>(lists.size()));
  for (unsigned i = 0; i < lists.size(); ++i) {
    mappings[i].setStart(i + 1);
    auto runs = mappings[i].initRuns(static_cast<unsigned>(lists[i].size()));
    for (unsigned k = 0; k < lists[i].size(); ++k) {
      runs[k].setPages(lists[i][k].pages);
      runs[k].setFirst(lists[i][k].first);
      runs[k].setSource(lists[i][k].source);
    }
  }
  const auto manifest = message.getRoot<schema::Manifest>().asReader();
  const kj::Array<capnp::word> expected = capnp::canonicalize(manifest);
  EXPECT_TRUE(std::ranges::equal(bytes_of(canonical_message(manifest, &manifest_plans().root())),
                                 bytes_of(expected)));
  // The same from lists that have no more words than that.
  const kj::ArrayPtr<const capnp::word> segments[] = {expected.asPtr()};
  capnp::SegmentArrayMessageReader reader(kj::arrayPtr(segments, 1));
  EXPECT_TRUE(std::ranges::equal(
      bytes_of(canonical_message(reader.getRoot<schema::Manifest>(), &manifest_plans().root())),
      bytes_of(expected)));
}

TEST(Canonical, WhatIsEmptyIsTheSameAsWhatIsNotThere) {
  capnp::MallocMessageBuilder with, without;
  auto full = with.initRoot<schema::Manifest>();
  full.initState().setProducer("");
  full.getState().initTasks(0);
  auto task = full.getState().initAddressSpaces(1)[0];
  task.setExecutablePath(capnp::Data::Reader(nullptr, 0));
  task.initMappings(0);
  auto process = full.getState().initProcesses(1)[0];
  process.setPid(1);
  process.initCommandLine(2);
  process.getCommandLine().init(0, 0);
  process.getCommandLine().init(1, 1)[0] = 'x';
  full.initProvenance().setComment("");
  auto bare = without.initRoot<schema::Manifest>();
  bare.initState().initAddressSpaces(1);
  auto other = bare.getState().initProcesses(1)[0];
  other.setPid(1);
  other.initCommandLine(2).init(1, 1)[0] = 'x';
  bare.initProvenance();
  EXPECT_TRUE(
      std::ranges::equal(bytes_of(canonical_message(full.asReader(), &manifest_plans().root())),
                         bytes_of(canonical_message(bare.asReader(), &manifest_plans().root()))));
}

// Each rule broken once, in the words of a message.
TEST(Canonical, EveryBrokenRuleIsFound) {
  using Words = std::vector<std::uint64_t>;
  const struct {
    const char* name;
    Words words;
  } cases[] = {
      {"zero word at the end of the data", {0x0000'0002'0000'0000, 1, 0}},
      {"null pointer at the end", {0x0002'0000'0000'0000, 0x0000'0001'0000'0004, 0, 1}},
      {"empty list of bytes", {0x0001'0000'0000'0000, 0x0000'0002'0000'0001}},
      {"empty list of pointers", {0x0001'0000'0000'0000, 0x0000'0006'0000'0001}},
      {"empty list of structs", {0x0001'0000'0000'0000, 0x0000'0007'0000'0001, 0x1'0000'0000}},
      {"bits behind the last byte", {0x0001'0000'0000'0000, 0x0000'000a'0000'0001, 0x4241}},
      {"list of structs that are all too large",
       {0x0001'0000'0000'0000, 0x0000'0027'0000'0001, 0x0000'0002'0000'0008, 1, 0, 2, 0}},
  };
  for (const auto& [name, words] : cases) {
    SCOPED_TRACE(name);
    std::vector<std::byte> segment(words.size() * 8);
    for (std::size_t i = 0; i < words.size(); ++i) {
      store_le<std::uint64_t>(std::span(segment), i * 8, words[i]);
    }
    const auto layout = check_layout(framed(segment));
    EXPECT_FALSE(layout) << layout->what;
    EXPECT_TRUE(find_noncanonical(segment));
  }
}

} // namespace
} // namespace rrpcp
