// A process of mixed content, to be captured:
//
//   rrpcp_bench_subject memory BYTES DIRECTORY
//     fills BYTES of memory and waits; DIRECTORY/ready then holds the touched ranges, as
//     "ADDRESS LENGTH" in decimal, one a line. At each SIGUSR1 it writes to a hundredth of its
//     pages and makes the file anew. At
//     SIGUSR2 it makes a copy of itself that waits, whose process id is in DIRECTORY/copy then.
//   rrpcp_bench_subject map FILE LIST
//     maps the pieces "ADDRESS OFFSET LENGTH" that LIST names from FILE, says so by a byte on
//     standard output and ends: the least that a restore can do.

#include <cinttypes>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fcntl.h>
#include <string>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <unistd.h>
#include <utility>
#include <vector>

namespace {

constexpr std::size_t kPageSize = 4096;
// Blocks of untouched, zero, incompressible and structured pages; each makes a run of zeros and a
// run of data in the checkpoint.
constexpr std::size_t kBlocks = 600;
// Mappings that the blocks are spread over.
constexpr std::size_t kMappings = 20;

[[noreturn]] void fail(const char* what) {
  std::perror(what);
  std::exit(2);
}

class Random {
public:
  explicit Random(std::uint64_t seed) : state_(seed * 0x9e3779b97f4a7c15u + 1) {}
  // xorshift64*, Marsaglia 2003 and Vigna 2014.
  std::uint64_t next() {
    state_ ^= state_ >> 12;
    state_ ^= state_ << 25;
    state_ ^= state_ >> 27;
    return state_ * 0x2545f4914f6cdd1du;
  }

private:
  std::uint64_t state_;
};

void fill_incompressible(char* at, std::size_t length, Random& random) {
  for (std::size_t i = 0; i < length; i += sizeof(std::uint64_t)) {
    const std::uint64_t value = random.next();
    std::memcpy(at + i, &value, sizeof value);
  }
}

// As a heap of small objects: pointers to each other, counters, flags, short words.
void fill_structured(char* at, std::size_t length, Random& random) {
  struct Object {
    std::uint64_t next;
    std::uint64_t owner;
    std::uint32_t id;
    std::uint32_t count;
    std::uint64_t flags;
    char name[32];
  };
  static const char* const kWords[] = {"connection", "request", "session", "buffer",
                                       "handler",    "timer",   "queue",   "node"};
  const auto base = reinterpret_cast<std::uint64_t>(at);
  for (std::size_t i = 0; i < length; i += sizeof(Object)) {
    const std::uint64_t value = random.next();
    Object object{};
    object.next = base + (value % length & ~std::uint64_t{63});
    object.owner = base + ((value >> 20) % 64) * 64;
    object.id = static_cast<std::uint32_t>(base / 64 + i / 64);
    object.count = static_cast<std::uint32_t>(value >> 60);
    object.flags = (value >> 50) & 7;
    std::snprintf(object.name, sizeof object.name, "%s-%u", kWords[(value >> 30) & 7],
                  static_cast<unsigned>(value >> 40 & 1023));
    std::memcpy(at + i, &object, sizeof object);
  }
}

void announce(const std::string& path, const std::string& text) {
  const std::string partial = path + ".partial";
  std::FILE* file = std::fopen(partial.c_str(), "we");
  if (file == nullptr || std::fwrite(text.data(), 1, text.size(), file) != text.size() ||
      std::fclose(file) != 0 || std::rename(partial.c_str(), path.c_str()) != 0) {
    fail("announcing");
  }
}

int hold_memory(std::size_t bytes, const std::string& directory) {
  const std::size_t pages_of_block = bytes / kPageSize / kBlocks;
  if (pages_of_block < 8) {
    std::fprintf(stderr, "at least %zu bytes\n", 8 * kPageSize * kBlocks);
    return 2;
  }
  const std::size_t eighth = pages_of_block / 8 * kPageSize;
  const std::size_t block = pages_of_block * kPageSize;
  const std::size_t blocks_of_mapping = kBlocks / kMappings;
  std::string list;
  std::vector<std::pair<char*, std::size_t>> touched;
  Random random(1);
  for (std::size_t mapping = 0; mapping < kMappings; ++mapping) {
    const std::size_t length = blocks_of_mapping * block;
    // With a page between that nobody may touch: the kernel joins what looks alike.
    void* memory = ::mmap(nullptr, length + kPageSize, PROT_NONE,
                          MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory == MAP_FAILED || ::mprotect(memory, length, PROT_READ | PROT_WRITE) != 0) {
      fail("memory");
    }
    for (std::size_t i = 0; i < blocks_of_mapping; ++i) {
      char* at = static_cast<char*>(memory) + i * block;
      at += eighth; // untouched
      char* const touched_here = at;
      char* const end = touched_here + (block - eighth);
      for (char* page = at; page < at + eighth; page += kPageSize) {
        *static_cast<volatile char*>(page) = 0; // touched, but zero
      }
      at += eighth;
      fill_incompressible(at, 2 * eighth, random);
      at += 2 * eighth;
      fill_structured(at, static_cast<std::size_t>(end - at), random);
      touched.emplace_back(touched_here, block - eighth);
      list += std::to_string(reinterpret_cast<std::uintptr_t>(touched_here)) + " " +
              std::to_string(block - eighth) + "\n";
    }
  }
  std::signal(SIGCHLD, SIG_IGN); // copies are not waited for
  sigset_t writes;
  sigemptyset(&writes);
  sigaddset(&writes, SIGUSR1);
  sigaddset(&writes, SIGUSR2);
  sigprocmask(SIG_BLOCK, &writes, nullptr);
  announce(directory + "/ready", list);
  // Of the touched pages, which are seven eighths, so that it is a hundredth of all.
  constexpr std::size_t kStep = 87;
  for (std::size_t first = 0;; first = (first + 31) % kStep) {
    int signal = 0;
    ::sigwait(&writes, &signal);
    if (signal == SIGUSR2) {
      const pid_t copy = ::fork();
      if (copy == 0) {
        ::prctl(PR_SET_PDEATHSIG, SIGKILL);
        for (;;) {
          ::pause();
        }
      }
      announce(directory + "/copy", std::to_string(copy));
      continue;
    }
    std::size_t page = 0;
    for (const auto& [at, length] : touched) {
      for (std::size_t offset = 0; offset < length; offset += kPageSize, ++page) {
        if (page % kStep == first) {
          fill_incompressible(at + offset + kPageSize / 2, 64, random);
        }
      }
    }
    announce(directory + "/ready", list);
  }
}

int map_pieces(const char* path, const char* list_path) {
  const int fd = ::open(path, O_RDONLY | O_CLOEXEC);
  std::FILE* list = std::fopen(list_path, "re");
  if (fd < 0 || list == nullptr) {
    fail("open");
  }
  std::uint64_t address = 0;
  std::uint64_t offset = 0;
  std::uint64_t length = 0;
  while (std::fscanf(list, "%" SCNu64 " %" SCNu64 " %" SCNu64, &address, &offset, &length) == 3) {
    if (::mmap(reinterpret_cast<void*>(address), length, PROT_READ | PROT_WRITE,
               MAP_PRIVATE | MAP_FIXED, fd, static_cast<off_t>(offset)) == MAP_FAILED) {
      fail("mmap");
    }
  }
  return ::write(1, "", 1) == 1 ? 0 : 2;
}

} // namespace

int main(int argc, char** argv) {
  if (argc == 4 && std::string(argv[1]) == "memory") {
    return hold_memory(std::strtoull(argv[2], nullptr, 10), argv[3]);
  }
  if (argc == 4 && std::string(argv[1]) == "map") {
    return map_pieces(argv[2], argv[3]);
  }
  std::fprintf(stderr, "usage: rrpcp_bench_subject memory BYTES DIRECTORY | map FILE LIST\n");
  return 2;
}
