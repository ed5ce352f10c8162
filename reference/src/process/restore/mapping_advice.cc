#include "process/restore/mapping_advice.h"

#include "process/restore/memory_range.h"

#include <sys/mman.h>
#include <sys/syscall.h>

namespace rrpcp::process::restore {

namespace {

struct Advice {
  std::uint32_t bit;
  int value;
};

constexpr Advice kAdvice[] = {
    {kAdviceDontFork, MADV_DONTFORK},     {kAdviceWipeOnFork, MADV_WIPEONFORK},
    {kAdviceDontDump, MADV_DONTDUMP},     {kAdviceHugePage, MADV_HUGEPAGE},
    {kAdviceNoHugePage, MADV_NOHUGEPAGE}, {kAdviceMergeable, MADV_MERGEABLE},
    {kAdviceSequential, MADV_SEQUENTIAL}, {kAdviceRandom, MADV_RANDOM},
};

} // namespace

std::uint32_t unknown_advice(std::uint32_t advice) {
  for (const Advice& known : kAdvice) {
    advice &= ~known.bit;
  }
  return advice;
}

bool needs_anonymous_memory(std::uint32_t advice) {
  return (advice & (kAdviceWipeOnFork | kAdviceHugePage | kAdviceMergeable)) != 0;
}

void add_advice_ops(OpList& ops, std::uint64_t start, std::uint64_t length, std::uint32_t advice) {
  for (const Advice& known : kAdvice) {
    if ((advice & known.bit) != 0) {
      ops.system_call({"advising the kernel (madvise) on memory",
                       "",
                       OpFailure::Policy::kWarn,
                       {start, start + length}},
                      SYS_madvise, start, length, known.value);
    }
  }
}

} // namespace rrpcp::process::restore
