// What a program has asked the kernel for about its mappings (madvise(2), mlock(2), mbind(2),
// mseal(2) and others) is in each checkpoint of a series, whichever way the kernel was asked.

#include "process/capture/memory_report.h"
#include "process/kernel_types.h"
#include "process/mapping_words.h"
#include "process/ordered_process.h"
#include "process/series_options.h"
#include "rrpcp/process/capture.h"
#include "rrpcp/process/memory_watch.h"
#include "rrpcp/reader.h"
#include "support/temp_dir.h"

#include <algorithm>
#include <cstring>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <linux/mempolicy.h>
#include <map>
#include <optional>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace rrpcp {
namespace {

using process::MappingWord;
using process::MappingWords;
using process::ProcMemoryArea;
using process::capture::MemoryReport;
using process::capture::MemoryReporter;
using test::OrderedProcess;
using test::TempDir;
using test::with_base;

constexpr std::size_t kPage = 4096;
constexpr std::size_t kLength = 4 * kPage;

// linux/mman.h, asm/unistd.h and others, which older system headers have without them.
constexpr int kDroppable = 8;
constexpr long kMseal = 462;

bool map_again(char* at, int flags) {
  void* const mapped = ::mmap(at, kLength, PROT_READ | PROT_WRITE,
                              MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | flags, -1, 0);
  return mapped == at;
}

struct Change {
  const char* name;
  bool (*make)(char* at); // false: the kernel refuses it
  bool (*told)(schema::Mapping::Reader mapping);
};

template <int kAdvice> bool advise(char* at) {
  return ::madvise(at, kLength, kAdvice) == 0;
}
template <unsigned kBit> bool advised(schema::Mapping::Reader mapping) {
  return (mapping.getAdvice() & 1u << kBit) != 0;
}
template <int kFlag> bool flagged(schema::Mapping::Reader mapping) {
  return (mapping.getFlags() & static_cast<unsigned>(kFlag)) != 0;
}
template <int kMode> bool bind_memory(char* at) {
  std::uint64_t first = 1;
  const bool nodes = kMode != MPOL_LOCAL;
  return ::syscall(SYS_mbind, at, kLength, kMode, nodes ? &first : nullptr, nodes ? 64 : 0, 0) == 0;
}
template <unsigned kMode> bool bound(schema::Mapping::Reader mapping) {
  return mapping.getMemoryPolicy().getMode() == kMode;
}

// The bits of advice are those of spec/model.md.
constexpr Change kChanges[] = {
    {"dontfork", advise<MADV_DONTFORK>, advised<0>},
    {"wipeonfork", advise<MADV_WIPEONFORK>, advised<1>},
    {"dontdump", advise<MADV_DONTDUMP>, advised<2>},
    {"hugepage", advise<MADV_HUGEPAGE>, advised<3>},
    {"nohugepage", advise<MADV_NOHUGEPAGE>, advised<4>},
    {"mergeable", advise<MADV_MERGEABLE>, advised<5>},
    {"sequential", advise<MADV_SEQUENTIAL>, advised<6>},
    {"random", advise<MADV_RANDOM>, advised<7>},
    // AddressSanitizer's mlock() does nothing.
    {"locked", [](char* at) { return ::syscall(SYS_mlock, at, kLength) == 0; },
     flagged<MAP_LOCKED>},
    {"locked on fault", [](char* at) { return ::mlock2(at, kLength, MLOCK_ONFAULT) == 0; },
     [](schema::Mapping::Reader mapping) { return mapping.getLockedOnFault(); }},
    {"no reserve", [](char* at) { return map_again(at, MAP_NORESERVE); }, flagged<MAP_NORESERVE>},
    {"grows down", [](char* at) { return map_again(at, MAP_GROWSDOWN); }, flagged<MAP_GROWSDOWN>},
    {"droppable",
     [](char* at) {
       void* const mapped = ::mmap(at, kLength, PROT_READ | PROT_WRITE,
                                   kDroppable | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
       return mapped == at;
     },
     [](schema::Mapping::Reader mapping) { return mapping.getDroppable(); }},
    {"protection key",
     [](char* at) {
       const int key = ::pkey_alloc(0, 0);
       return key > 0 && ::pkey_mprotect(at, kLength, PROT_READ | PROT_WRITE, key) == 0;
     },
     [](schema::Mapping::Reader mapping) { return mapping.getPkey() != 0; }},
    {"policy", bind_memory<MPOL_BIND>, bound<MPOL_BIND>},
    {"other policy", bind_memory<MPOL_PREFERRED>, bound<MPOL_PREFERRED>},
    {"local policy", bind_memory<MPOL_LOCAL>, bound<MPOL_LOCAL>},
    {"sealed", [](char* at) { return ::syscall(kMseal, at, kLength, 0) == 0; },
     [](schema::Mapping::Reader mapping) { return mapping.getSealed(); }},
};
constexpr unsigned kCount = std::size(kChanges);

// A child with a mapping for each change, which it makes when it is told to.
class ChangingProcess {
public:
  ChangingProcess() {
    // With a page between that nobody may touch: the kernel joins what looks alike.
    constexpr std::size_t kStep = kLength + kPage;
    const std::size_t whole = kCount * kStep;
    memory_ = static_cast<char*>(
        ::mmap(nullptr, whole, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0));
    for (unsigned i = 0; i < kCount; ++i) {
      map_again(at(i), 0);
      std::memset(at(i), 'a', kLength);
    }
    child_.emplace([&] {
      return [this](unsigned which) { return static_cast<char>(kChanges[which].make(at(which))); };
    });
    ::munmap(memory_, whole);
  }

  pid_t pid() const { return child_->pid(); }
  char* at(unsigned change) const { return memory_ + change * (kLength + kPage); }
  std::uint64_t address(unsigned change) const {
    return reinterpret_cast<std::uintptr_t>(at(change));
  }
  // False where this kernel or processor does not do that.
  bool make(unsigned change) { return child_->order(change) != 0; }

private:
  char* memory_ = nullptr;
  std::optional<OrderedProcess> child_;
};

std::optional<schema::Mapping::Reader> mapping_at(const CheckpointReader& reader,
                                                  std::uint64_t address) {
  for (const auto mapping : reader.state().getAddressSpaces()[0].getMappings()) {
    if (mapping.getStart() == address) {
      return mapping;
    }
  }
  return std::nullopt;
}

TEST(MappingFlags, EachIsTold) {
  ChangingProcess process;
  const TempDir directory;
  MemoryWatch watch;
  std::string base = directory.file("first.pcp");
  capture_process(process.pid(), base, with_base(""), watch);
  std::vector<unsigned> made;
  for (unsigned change = 0; change < kCount; ++change) {
    if (!process.make(change)) {
      continue;
    }
    made.push_back(change);
    // Twice: the first time a flag is seen it is asked for in another way.
    for (unsigned again = 0; again < 2; ++again) {
      const std::string path = directory.file(std::to_string(change * 2 + again) + ".pcp");
      capture_process(process.pid(), path, with_base(base), watch);
      const CheckpointReader reader = CheckpointReader::open(path);
      for (const unsigned other : made) {
        const auto mapping = mapping_at(reader, process.address(other));
        ASSERT_TRUE(mapping) << kChanges[other].name;
        EXPECT_TRUE(kChanges[other].told(*mapping))
            << kChanges[other].name << " after " << kChanges[change].name << ", " << again;
      }
      for (unsigned other = change + 1; other < kCount; ++other) {
        const auto mapping = mapping_at(reader, process.address(other));
        ASSERT_TRUE(mapping) << kChanges[other].name;
        EXPECT_FALSE(kChanges[other].told(*mapping)) << kChanges[other].name << " too early";
      }
      base = path;
    }
  }
  EXPECT_THAT(made, testing::SizeIs(testing::Ge(9u))); // what Linux has had for long
}

// A memory report of a process, without what only walking through all pages tells.
std::string flags_at(const MemoryReport& report, std::uint64_t address) {
  for (const ProcMemoryArea& area : report.areas) {
    if (area.mapping.start == address) {
      return area.flags;
    }
  }
  return "no mapping";
}

void expect_as_smaps(const MemoryReport& report, pid_t pid) {
  const std::vector<ProcMemoryArea> truth = process::read_memory_areas(pid);
  ASSERT_EQ(report.areas.size(), truth.size());
  for (std::size_t i = 0; i < truth.size(); ++i) {
    EXPECT_EQ(report.areas[i].mapping.start, truth[i].mapping.start);
    EXPECT_EQ(report.areas[i].mapping.end, truth[i].mapping.end);
    EXPECT_EQ(report.areas[i].mapping.name, truth[i].mapping.name);
    EXPECT_EQ(report.areas[i].flags, truth[i].flags) << truth[i].mapping.name;
    EXPECT_EQ(report.areas[i].protection_key, truth[i].protection_key) << truth[i].mapping.name;
  }
}

constexpr unsigned kDontFork = 0;
constexpr unsigned kDontDump = 2;
constexpr unsigned kRandom = 7;
constexpr unsigned kPolicy = 14;
static_assert(std::string_view(kChanges[kPolicy].name) == "policy");

TEST(MemoryReports, AreWhatSmapsSays) {
  ChangingProcess process;
  MemoryReporter reporter;
  reporter.prepare();
  ASSERT_NO_FATAL_FAILURE(expect_as_smaps(reporter.read(process.pid()), process.pid()));
  for (unsigned change = 0; change < kCount; ++change) {
    process.make(change);
    for (unsigned again = 0; again < 2; ++again) {
      const MemoryReport report = reporter.read(process.pid());
      ASSERT_NO_FATAL_FAILURE(expect_as_smaps(report, process.pid())) << kChanges[change].name;
      EXPECT_EQ(report.policies, process::read_memory_policies(process.pid()));
    }
  }
}

TEST(MemoryReports, AreRenewedWhereFlagsChange) {
  ChangingProcess process;
  MemoryReporter reporter;
  reporter.prepare();
  ASSERT_TRUE(process.make(kDontFork));
  MemoryReport report = reporter.read(process.pid());
  if (report.words.empty()) {
    EXPECT_TRUE(reporter.renew(process.pid(), process::read_mappings(process.pid()), report));
    GTEST_SKIP() << "the kernel does not show the flags of mappings";
  }
  // To flags that were seen at another mapping.
  ASSERT_EQ(flags_at(report, process.address(kDontDump)),
            flags_at(report, process.address(kRandom)));
  ASSERT_TRUE(process.make(kDontDump));
  EXPECT_FALSE(reporter.renew(process.pid(), process::read_mappings(process.pid()), report));
  report = reporter.read(process.pid()); // has seen them
  ASSERT_TRUE(process.make(kRandom));
  EXPECT_FALSE(reporter.renew(process.pid(), process::read_mappings(process.pid()), report));
  report = reporter.read(process.pid());
  MemoryReport old = report;
  EXPECT_TRUE(reporter.renew(process.pid(), process::read_mappings(process.pid()), report));
  EXPECT_NO_FATAL_FAILURE(expect_as_smaps(report, process.pid()));
  // From known flags to known ones: a report of before is put right.
  old.areas.clear();
  old.words.front().flags ^= 1;
  EXPECT_TRUE(reporter.renew(process.pid(), process::read_mappings(process.pid()), old));
  EXPECT_NO_FATAL_FAILURE(expect_as_smaps(old, process.pid()));
}

TEST(MappingWordsTest, TellFlagsApart) {
  ChangingProcess process;
  const std::optional<MappingWords> source = MappingWords::open();
  const auto words = source ? source->read(process.pid()) : std::nullopt;
  if (!words) {
    GTEST_SKIP() << "the kernel does not show the flags of mappings";
  }
  for (unsigned change = 0; change < kCount; ++change) {
    process.make(change);
  }
  const std::vector<MappingWord> after = *source->read(process.pid());
  const std::vector<ProcMemoryArea> areas = process::read_memory_areas(process.pid());
  std::map<std::uint64_t, std::string> texts;
  for (const MappingWord& word : after) {
    const auto area = std::find_if(areas.begin(), areas.end(), [&](const ProcMemoryArea& other) {
      return other.mapping.start == word.start;
    });
    ASSERT_NE(area, areas.end());
    EXPECT_EQ(area->mapping.end, word.end);
    const auto [known, added] = texts.emplace(word.flags, area->flags);
    EXPECT_EQ(known->second, area->flags);
  }
  const auto policy_at = [&](unsigned change) {
    const auto word = std::find_if(after.begin(), after.end(), [&](const MappingWord& other) {
      return other.start == process.address(change);
    });
    return word != after.end() && word->policy;
  };
  EXPECT_FALSE(policy_at(kDontFork));
  EXPECT_EQ(policy_at(kPolicy),
            process::read_memory_policies(process.pid()).count(process.address(kPolicy)) != 0);
  EXPECT_EQ(source->read(1 << 30), std::vector<MappingWord>{}); // there is no such process
}

TEST(KernelTypesTest, DamageIsRefused) {
  EXPECT_FALSE(process::KernelTypes::parse({}));
  // A header, and one structure with one member "a" of itself.
  const std::uint32_t words[] = {0x0001'eb9f, 24, 0, 24, 24, 6, 1, 4u << 24 | 1, 8, 3, 1, 64};
  std::vector<std::byte> content(sizeof words);
  std::memcpy(content.data(), words, sizeof words);
  for (const char letter : std::string_view("\0s\0a\0\0", 6)) {
    content.push_back(static_cast<std::byte>(letter));
  }
  const std::optional<process::KernelTypes> types = process::KernelTypes::parse(content);
  ASSERT_TRUE(types);
  EXPECT_EQ(types->offset("s", "a"), 8u);
  EXPECT_EQ(types->offset("s", "b"), std::nullopt);
  EXPECT_EQ(types->offset("a", "a"), std::nullopt);
  EXPECT_EQ(types->function("s"), std::nullopt);
  for (std::size_t length = 0; length < content.size(); ++length) {
    EXPECT_FALSE(process::KernelTypes::parse({content.begin(), content.begin() + length}));
  }
  for (std::size_t bit = 0; bit < content.size() * 8; ++bit) { // without harm
    std::vector<std::byte> damaged = content;
    damaged[bit / 8] ^= std::byte{1} << bit % 8;
    if (const auto read = process::KernelTypes::parse(damaged)) {
      read->offset("s", "a");
    }
  }
}

} // namespace
} // namespace rrpcp
