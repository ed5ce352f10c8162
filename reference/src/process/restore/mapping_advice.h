// Lasting advice on mappings (spec/model.md, "Advice bits").
#pragma once

#include "process/restore/op_list.h"

#include <cstdint>

namespace rrpcp::process::restore {

inline constexpr std::uint32_t kAdviceDontFork = 1u << 0;
inline constexpr std::uint32_t kAdviceWipeOnFork = 1u << 1;
inline constexpr std::uint32_t kAdviceDontDump = 1u << 2;
inline constexpr std::uint32_t kAdviceHugePage = 1u << 3;
inline constexpr std::uint32_t kAdviceNoHugePage = 1u << 4;
inline constexpr std::uint32_t kAdviceMergeable = 1u << 5;
inline constexpr std::uint32_t kAdviceSequential = 1u << 6;
inline constexpr std::uint32_t kAdviceRandom = 1u << 7;

// Advice that decides which pages a mapping gets when it is filled.
inline constexpr std::uint32_t kAdviceBeforeFilling = kAdviceHugePage | kAdviceNoHugePage;

// Bits of `advice` that have no meaning yet.
std::uint32_t unknown_advice(std::uint32_t advice);

// Whether the kernel takes some of the advice for anonymous memory only.
bool needs_anonymous_memory(std::uint32_t advice);

// Appends a madvise(2) for each bit.
void add_advice_ops(OpList& ops, std::uint64_t start, std::uint64_t length, std::uint32_t advice);

} // namespace rrpcp::process::restore
