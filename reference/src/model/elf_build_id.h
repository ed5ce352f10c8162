// The build id of an ELF file.
#pragma once

#include <cstddef>
#include <vector>

namespace rrpcp {

// Descriptor of the note NT_GNU_BUILD_ID (elf(5)) of a 64-bit little-endian ELF file; empty where
// the file is no such file or has none. Trusts nothing in the file; never throws for its contents.
std::vector<std::byte> read_build_id(int fd);

// That of the program or shared library which this function is a part of, as it was loaded; empty
// where it has none. Thread-safe.
std::vector<std::byte> own_build_id();

} // namespace rrpcp
