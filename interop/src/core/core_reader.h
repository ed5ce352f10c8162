// A core file taken apart. Nothing in it is trusted.
#pragma once

#include "core/core_layout.h"
#include "model/byte_source.h"

#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

namespace rrpcp {

struct CoreNote {
  std::uint32_t type;
  std::vector<std::byte> data;
};

struct CoreThread {
  std::int32_t tid = 0;
  std::int32_t parent = 0;
  std::int32_t group = 0;
  std::int32_t session = 0;
  int signal = 0; // that it was stopped by
  std::uint64_t pending = 0;
  std::uint64_t held = 0;
  std::vector<std::byte> registers; // general ones
  std::vector<std::byte> siginfo;   // 128 bytes or none
  std::vector<CoreNote> more;       // other register sets, each type once
  std::string name;
};

struct CoreFileName {
  std::uint64_t start = 0;
  std::uint64_t end = 0;
  std::uint64_t offset = 0; // bytes
  std::string path;
};

struct CoreSegment {
  std::uint64_t start = 0;
  std::uint64_t end = 0;
  std::uint64_t offset = 0;
  std::uint64_t stored = 0; // bytes that the file has, at most end - start
  std::uint32_t flags = 0;  // PF_*
};

struct XsaveRow {
  std::uint32_t number;
  std::uint32_t offset;
  std::uint32_t size;
};

struct CoreContents {
  const CoreLayout* layout = nullptr;
  std::uint64_t page_size = 4096;
  std::vector<CoreThread> threads; // in the order of the file
  // From NT_PRPSINFO; pid 0: the core has none.
  std::int32_t pid = 0;
  std::int32_t parent = 0;
  std::int32_t group = 0;
  std::int32_t session = 0;
  std::uint32_t uid = 0;
  std::uint32_t gid = 0;
  std::int8_t nice = 0;
  std::string name;
  std::string arguments;
  std::vector<std::pair<std::uint64_t, std::uint64_t>> auxv; // without AT_NULL
  std::vector<CoreFileName> files;                           // by address, not overlapping
  std::vector<CoreSegment> segments;                         // by address, not overlapping
  std::vector<XsaveRow> xsave_layout;
  // Written by write_cores(): what the core does not have of a file was not written to, and
  // these addresses are zeros.
  bool ours = false;
  std::vector<std::pair<std::uint64_t, std::uint64_t>> zero_ranges;
  std::vector<std::string> remarks;
};

// Throws Error: kNotACheckpoint for what is no ELF core, kUnsupportedState, kDamaged, kLimit.
CoreContents read_core(const ByteSource& source);

} // namespace rrpcp
