// The build id of an ELF file.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

namespace rrpcp::compat {

// Descriptor of the note NT_GNU_BUILD_ID in a PT_NOTE segment of a little-endian ELF file (elf(5));
// empty where the file has none or is no ELF file. Throws Error where it cannot be read.
std::vector<std::byte> read_build_id(int fd, const std::string& path);

} // namespace rrpcp::compat
