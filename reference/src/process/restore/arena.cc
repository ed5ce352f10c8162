#include "process/restore/arena.h"

#include "base/bytes.h"
#include "process/proc_maps.h"
#include "rrpcp/error.h"

#include <cerrno>
#include <sys/mman.h>
#include <unistd.h>

// Bounds of the restorer's section, from the linker (ld: sections named like C identifiers).
extern "C" {
extern const char __start_rrpcp_restorer[] __attribute__((visibility("hidden")));
extern const char __stop_rrpcp_restorer[] __attribute__((visibility("hidden")));
extern const char rrpcp_restorer_enter[] __attribute__((visibility("hidden")));
extern const char rrpcp_restorer_syscall[] __attribute__((visibility("hidden")));
}

namespace rrpcp::process::restore {

namespace {

// Another thread of this process may take the gap between finding and using it.
constexpr int kAttempts = 16;

} // namespace

Arena::Arena(std::uint64_t size, std::uint64_t parking_size, std::vector<MemoryRange> avoid) {
  const auto page = static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE));
  size = align_up(size, page);
  parking_size = align_up(parking_size, page);
  const auto code_size = static_cast<std::size_t>(__stop_rrpcp_restorer - __start_rrpcp_restorer);
  const std::uint64_t code_pages = align_up(code_size, page);
  size += code_pages;
  for (int attempt = 0; range_.start == 0; ++attempt) {
    std::vector<MemoryRange> taken = avoid;
    for (const ProcMapping& mapping : read_mappings(::getpid())) {
      taken.push_back({mapping.start, mapping.end});
    }
    parking_ = find_gap(std::move(taken), parking_size + size);
    void* wanted = reinterpret_cast<void*>(parking_ + parking_size);
    void* got = ::mmap(wanted, size, PROT_READ | PROT_WRITE,
                       MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED_NOREPLACE, -1, 0);
    if (got == wanted) {
      range_ = {reinterpret_cast<std::uint64_t>(got), reinterpret_cast<std::uint64_t>(got) + size};
      break;
    }
    const int error = got == MAP_FAILED ? errno : EEXIST;
    if (got != MAP_FAILED) { // a kernel older than MAP_4.17 took the address as a hint
      ::munmap(got, size);
    }
    if (error != EEXIST || attempt == kAttempts) {
      throw system_error(error, "cannot reserve memory for the restorer");
    }
  }
  std::memcpy(reinterpret_cast<void*>(range_.start), __start_rrpcp_restorer, code_size);
  next_ = range_.start + code_pages;
  if (::mprotect(reinterpret_cast<void*>(range_.start), code_pages, PROT_READ | PROT_EXEC) != 0) {
    const int error = errno;
    ::munmap(reinterpret_cast<void*>(range_.start), size);
    throw system_error(error, "cannot make the restorer's code executable");
  }
}

Arena::~Arena() {
  ::munmap(reinterpret_cast<void*>(range_.start), range_.length());
}

void* Arena::allocate_bytes(std::size_t size, std::size_t alignment) {
  std::uint64_t start = align_up(next_, alignment);
  if (start > range_.end || size > range_.end - start) {
    throw Error(ErrorCode::kLimit, "the restorer's list of work does not fit into " +
                                       std::to_string(range_.length()) + " bytes");
  }
  next_ = start + size;
  return reinterpret_cast<void*>(start);
}

const char* Arena::place_string(std::string_view text) {
  char* copy = allocate<char>(text.size() + 1);
  if (!text.empty()) {
    std::memcpy(copy, text.data(), text.size());
  }
  return copy;
}

std::uint64_t Arena::code_address(const void* in_library) const {
  return range_.start +
         static_cast<std::uint64_t>(static_cast<const char*>(in_library) - __start_rrpcp_restorer);
}

Arena::Enter Arena::enter() const {
  return reinterpret_cast<Enter>(code_address(rrpcp_restorer_enter));
}

std::uint64_t Arena::syscall_instruction() const {
  return code_address(rrpcp_restorer_syscall);
}

} // namespace rrpcp::process::restore
