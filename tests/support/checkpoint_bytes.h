// Writing small checkpoints for tests.
#pragma once

#include "rrpcp/writer.h"

#include <cstddef>
#include <functional>
#include <span>
#include <string>
#include <vector>

namespace rrpcp::test {

// `count` pages of 4096 bytes with content that depends on `seed` and the page's number and
// compresses somewhat.
std::vector<std::byte> sample_pages(std::size_t count, unsigned seed);

// A checkpoint of one address space with one private anonymous mapping that holds `pages`.
// Returns its id; `bytes`, if given, gets the whole file (through a pipe where `through_pipe`).
CheckpointId write_sample(const std::string& path, std::span<const std::byte> pages,
                          const WriterOptions& options);

// Reads a whole file.
std::vector<std::byte> read_file(const std::string& path);
void write_file(const std::string& path, std::span<const std::byte> bytes);

} // namespace rrpcp::test
