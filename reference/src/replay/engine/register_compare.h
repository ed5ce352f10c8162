// Comparing a replayed task's registers with the recorded ones.
#pragma once

#include <optional>
#include <string>
#include <sys/user.h>

namespace rrpcp::replay {

// The first general register that differs, as "rdi is 0x5 and was recorded as 0x6"; nothing where
// none does. What a debugger leaves in the flags (TF, RF) is not compared.
std::optional<std::string> first_difference(const user_regs_struct& replayed,
                                            const user_regs_struct& recorded);

} // namespace rrpcp::replay
