// Whether a newer set of schemas keeps what an older one promised.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

namespace rrpcp::test {

// Compares every *.capnp file of `older` with the file of the same name in `newer`: by Cap'n
// Proto's own compatibility check and by the stricter rules of spec/compatibility.md. Returns what
// is forbidden, one sentence each. `include` is where /capnp/c++.capnp lies.
std::vector<std::string> forbidden_changes(const std::filesystem::path& older,
                                           const std::filesystem::path& newer,
                                           const std::string& include);

} // namespace rrpcp::test
