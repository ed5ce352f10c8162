// What the kernel's own words are taken apart into.

#include "process/page_scan.h"
#include "process/proc_auxv.h"
#include "process/proc_fdinfo.h"
#include "process/proc_maps.h"
#include "process/proc_smaps.h"
#include "process/proc_stat.h"
#include "process/proc_status.h"
#include "process/proc_tasks.h"
#include "rrpcp/error.h"

#include <algorithm>
#include <csignal>
#include <elf.h>
#include <gtest/gtest.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>
#include <utility>
#include <vector>

namespace rrpcp {
namespace {

constexpr std::size_t kTouchedPage = 4096;

TEST(ProcMaps, LinesOfEveryKind) {
  auto mappings = process::parse_mappings(
      "561cd51d6000-561cd51d8000 r--p 00001000 fe:00 247134                     /usr/bin/a b\n"
      "7ffe0000-7fff0000 rw-s 00000000 00:01 12 /dev/zero (deleted)\n"
      "7ffd12345000-7ffd12366000 rw-p 00000000 00:00 0                          [stack]\n"
      "7f0000000000-7f0000001000 ---p 00000000 00:00 0 \n"
      "ffffffffff600000-ffffffffff601000 --xp 00000000 00:00 0                  [vsyscall]\n");
  ASSERT_EQ(mappings.size(), 5u);
  EXPECT_EQ(mappings[0].name, "/usr/bin/a b");
  EXPECT_EQ(mappings[0].offset, 0x1000u);
  EXPECT_EQ(mappings[0].device, 0xfe00u);
  EXPECT_EQ(mappings[0].inode, 247134u);
  EXPECT_TRUE(mappings[1].shared);
  EXPECT_EQ(mappings[1].name, "/dev/zero (deleted)");
  EXPECT_EQ(mappings[2].protection, std::uint32_t{PROT_READ | PROT_WRITE});
  EXPECT_EQ(mappings[3].name, "");
  EXPECT_EQ(mappings[3].protection, std::uint32_t{PROT_NONE});
  EXPECT_EQ(mappings[4].end, 0xffffffffff601000u);
}

// However the kernel is asked: of a range it says what it says of all. (Of another process, which
// stands still meanwhile: reading may map memory.)
TEST(ProcMaps, ThoseOfARange) {
  const std::size_t length = 8 * kTouchedPage;
  const int file = ::memfd_create("a file", MFD_CLOEXEC);
  ASSERT_EQ(::ftruncate(file, static_cast<off_t>(length)), 0);
  auto* area =
      static_cast<char*>(::mmap(nullptr, length, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  ASSERT_NE(area, MAP_FAILED);
  ASSERT_NE(::mmap(area + 2 * kTouchedPage, 2 * kTouchedPage, PROT_READ | PROT_WRITE,
                   MAP_SHARED | MAP_FIXED, file, kTouchedPage),
            MAP_FAILED);
  ASSERT_NE(::mmap(area + 4 * kTouchedPage, kTouchedPage, PROT_READ | PROT_EXEC,
                   MAP_PRIVATE | MAP_FIXED, file, 0),
            MAP_FAILED);
  ASSERT_EQ(::munmap(area + 6 * kTouchedPage, kTouchedPage), 0);
  const pid_t child = ::fork();
  if (child == 0) {
    ::pause();
    ::_exit(0);
  }
  ::close(file);
  constexpr std::uint64_t kEnd = std::uint64_t{1} << 47; // behind it is [vsyscall]
  std::vector<process::ProcMapping> all = process::read_mappings(child);
  std::erase_if(all, [&](const process::ProcMapping& mapping) { return mapping.start >= kEnd; });
  const auto start = reinterpret_cast<std::uint64_t>(area);
  const std::pair<std::uint64_t, std::uint64_t> ranges[] = {
      {0, kEnd},
      {start, start + length},
      {start + 3 * kTouchedPage, start + 4 * kTouchedPage + 1},
      {start + 6 * kTouchedPage, start + 7 * kTouchedPage},
      {start, start},
      {0, kTouchedPage},
      {kEnd - kTouchedPage, kEnd}};
  for (const auto& [from, to] : ranges) {
    std::vector<process::ProcMapping> expected = all;
    std::erase_if(expected, [from = from, to = to](const process::ProcMapping& mapping) {
      return mapping.end <= from || mapping.start >= to;
    });
    EXPECT_EQ(process::read_mappings(child, from, to), expected) << std::hex << from;
  }
  ::kill(child, SIGKILL);
  ::waitpid(child, nullptr, 0);
  EXPECT_THROW(process::read_mappings(child, 0, kEnd), Error);
  ::munmap(area, length);
}

TEST(ProcStat, NamesMayHoldAnything) {
  process::ProcStat stat = process::ProcStat::parse("12 (a) b) S 3) R 1 7 9 0 -1 4194560 1 2 3\n");
  EXPECT_EQ(stat.state, 'R');
  EXPECT_EQ(stat.parent, 1);
  EXPECT_EQ(stat.process_group, 7);
  EXPECT_EQ(stat.session, 9);
}

TEST(ProcStatus, OwnProcess) {
  process::ProcStatus status = process::ProcStatus::read(::getpid(), ::getpid());
  EXPECT_EQ(status.process, ::getpid());
  EXPECT_EQ(status.parent, ::getppid());
  EXPECT_EQ(status.uids[1], ::geteuid());
  EXPECT_EQ(status.tracer, 0);
  process::ProcStatus odd =
      process::ProcStatus::parse("Name:\ta\\nb\\\\c\nSigBlk:\tfffffffe7ffbfeff\nGroups:\t1 22 \n");
  EXPECT_EQ(odd.name, "a\nb\\c");
  EXPECT_EQ(odd.blocked, 0xfffffffe7ffbfeffu);
  EXPECT_EQ(odd.groups, (std::vector<std::uint32_t>{1, 22}));
}

TEST(ProcAuxv, OwnProcess) {
  auto entries = process::read_auxv(::getpid());
  EXPECT_EQ(process::find_auxv(entries, AT_PAGESZ), ::getauxval(AT_PAGESZ));
  EXPECT_EQ(process::find_auxv(entries, AT_ENTRY), ::getauxval(AT_ENTRY));
  EXPECT_FALSE(process::find_auxv(entries, 0xfffff));
}

TEST(ProcFdInfo, LinesOfEveryKind) {
  process::FdInfo info =
      process::FdInfo::parse("pos:\t17\nflags:\t0102002\nmnt_id:\t15\nino:\t99\n"
                             "lock:\t1: POSIX  ADVISORY  WRITE 1234 fe:00:5678 10 19\n"
                             "lock:\t2: FLOCK  ADVISORY  READ 1234 fe:00:5678 0 EOF\n"
                             "eventfd-count:               2a\neventfd-id: 3\n"
                             "eventfd-semaphore: 1\n"
                             "tfd:        5 events:       19 data:         deadbeef  pos:0 "
                             "ino:61af sdev:7\n");
  EXPECT_EQ(info.position, 17u);
  EXPECT_EQ(info.flags, 0102002u);
  ASSERT_EQ(info.locks.size(), 2u);
  EXPECT_EQ(info.locks[0].kind, process::FdLock::Kind::kPosix);
  EXPECT_TRUE(info.locks[0].exclusive);
  EXPECT_EQ(info.locks[0].start, 10u);
  EXPECT_EQ(info.locks[0].end, 19u);
  EXPECT_FALSE(info.locks[1].exclusive);
  EXPECT_EQ(info.locks[1].end, 0x7fffffffffffffffu);
  EXPECT_EQ(info.eventfd_count, 0x2au);
  EXPECT_TRUE(info.eventfd_semaphore);
  ASSERT_EQ(info.watches.size(), 1u);
  EXPECT_EQ(info.watches[0].fd, 5);
  EXPECT_EQ(info.watches[0].events, 0x19u);
  EXPECT_EQ(info.watches[0].data, 0xdeadbeefu);
  EXPECT_EQ(info.watches[0].inode, 0x61afu);
}

// Pages of [start, …) that a scanner finds, by number.
std::vector<std::uint64_t> touched_pages(process::PageScanner& scanner, std::uint64_t start,
                                         std::size_t length) {
  std::vector<std::uint64_t> pages;
  scanner.scan(start, start + length, [&](const process::TouchedRange& range) {
    EXPECT_FALSE(range.file);
    for (std::uint64_t at = range.start; at < range.end; at += kTouchedPage) {
      pages.push_back((at - start) / kTouchedPage);
    }
  });
  return pages;
}

TEST(PageScanner, BothWaysFindTheTouchedPages) {
  constexpr std::size_t kLength = std::size_t{1} << 33; // a reservation, nearly all untouched
  void* area = ::mmap(nullptr, kLength, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  ASSERT_NE(area, MAP_FAILED);
  ::madvise(area, kLength, MADV_NOHUGEPAGE);
  auto* bytes = static_cast<volatile char*>(area);
  const std::vector<std::uint64_t> written = {0, 1, 2, 7, 9};
  for (std::uint64_t page : written) {
    bytes[page * kTouchedPage] = 1;
  }
  constexpr std::size_t kReadPage = 20;
  (void)bytes[kReadPage * kTouchedPage];
  const auto start = reinterpret_cast<std::uint64_t>(area);
  // A page that was only read is the shared zero page as a rule, which is not of the process's own.
  // But the kernel may give it one: where it may not use the zero page (mm_forbids_zeropage() of
  // include/linux/mm.h), or where a hypervisor turns the read into a write. What it counts as pages
  // of the process's own says which.
  std::vector<std::uint64_t> expected = written;
  for (const process::ProcMemoryArea& mapped : process::read_memory_areas(::getpid())) {
    if (mapped.mapping.contains(start)) {
      ASSERT_EQ(mapped.swapped, 0u);
      if (mapped.anonymous == (written.size() + 1) * kTouchedPage) {
        expected.push_back(kReadPage);
      } else {
        EXPECT_EQ(mapped.anonymous, written.size() * kTouchedPage);
      }
    }
  }
  process::PageScanner scanner(::getpid());
  const bool has_ioctl = scanner.has_ioctl();
  if (has_ioctl) {
    EXPECT_EQ(touched_pages(scanner, start, kLength), expected);
  }
  // The page map does not tell the zero page from others: one more page is no harm.
  scanner.use_pagemap();
  std::vector<std::uint64_t> with_read = written;
  with_read.push_back(kReadPage);
  EXPECT_EQ(touched_pages(scanner, start, (kReadPage + 10) * kTouchedPage), with_read);
  ::munmap(area, kLength);
}

// More ranges than the kernel or we can hold at once.
TEST(PageScanner, ManyRangesComeInOrderAndOnce) {
  constexpr std::size_t kPage = 4096;
  for (std::size_t count : {511, 512, 513, 600, 1023, 1024, 1025, 1200, 3000}) {
    const std::size_t length = 2 * count * kPage;
    void* area =
        ::mmap(nullptr, length, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    ASSERT_NE(area, MAP_FAILED);
    ::madvise(area, length, MADV_NOHUGEPAGE);
    for (std::size_t i = 0; i < count; ++i) {
      static_cast<volatile char*>(area)[2 * i * kPage] = 1;
    }
    const auto start = reinterpret_cast<std::uint64_t>(area);
    for (bool ioctl : {true, false}) {
      process::PageScanner scanner(::getpid());
      if (!ioctl) {
        scanner.use_pagemap();
      }
      std::size_t next = 0;
      scanner.scan(start, start + length, [&](const process::TouchedRange& range) {
        EXPECT_EQ(range.start, start + 2 * next * kPage);
        EXPECT_EQ(range.end, range.start + kPage);
        ++next;
      });
      EXPECT_EQ(next, count) << (ioctl ? "by the ioctl" : "by the page map");
    }
    ::munmap(area, length);
  }
}

TEST(ProcTasks, OwnThreadAndChildren) {
  std::vector<pid_t> threads = process::read_thread_ids(::getpid());
  EXPECT_NE(std::find(threads.begin(), threads.end(), ::getpid()), threads.end());
  EXPECT_TRUE(process::read_thread_ids(0x3fffff).empty());
  EXPECT_TRUE(process::read_children(::getpid()).empty());
}

} // namespace
} // namespace rrpcp
