// Where the functions of an ELF file begin and end.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

namespace rrpcp::replay {

// Read from the table of unwind information, which stripped files have too, and from the symbols.
// Nothing in the file is trusted: what cannot be understood counts as not there. Reads the file
// whenever it is asked; the descriptor has to stay open.
class CodeFunctions {
public:
  // Bytes of the file that are mapped executable.
  struct Segment {
    std::uint64_t offset = 0;
    std::uint64_t size = 0;
    std::uint64_t address = 0;
  };
  // Offsets in the file.
  struct Bounds {
    std::uint64_t begin = 0;
    std::uint64_t end = 0;
  };

  // Nothing where `fd` is not an ELF file for x86-64.
  static std::optional<CodeFunctions> read(int fd);

  const std::vector<Segment>& executable() const { return executable_; }
  // The function that the byte at `offset` of the file belongs to.
  std::optional<Bounds> find(std::uint64_t offset) const;
  // Whether the file says of the byte at `offset` that it is no code. False where it does not say.
  bool is_data(std::uint64_t offset) const;
  // Where the code begins that the byte at `offset`, which belongs to no function, lies in: behind
  // the function before it, or the start of its section or segment.
  std::uint64_t code_start(std::uint64_t offset) const;

private:
  struct Range {
    std::uint64_t begin = 0; // addresses
    std::uint64_t end = 0;
  };
  struct Load {
    std::uint64_t offset = 0;
    std::uint64_t size = 0;
    std::uint64_t address = 0;
  };

  std::optional<std::uint64_t> address_of(std::uint64_t offset) const;
  std::optional<std::uint64_t> offset_of(std::uint64_t address) const;
  bool read_at(std::uint64_t offset, std::span<std::byte> out) const;
  void read_frame_table(std::uint64_t offset, std::uint64_t size, std::uint64_t address);
  void read_frames(std::uint64_t offset, std::uint64_t size, std::uint64_t address);
  std::optional<Range> read_frame(std::uint64_t offset, std::uint64_t address,
                                  std::uint64_t& length) const;
  std::optional<unsigned> frame_encoding(std::uint64_t offset) const;
  void read_symbols(std::uint64_t offset, std::uint64_t size);
  std::optional<Range> find_address(std::uint64_t address) const;

  int fd_ = -1;
  mutable std::vector<std::byte> window_; // of the file
  mutable std::uint64_t window_at_ = 0;
  std::vector<Load> loads_;
  std::vector<Segment> executable_;
  // Executable sections, in order of their offsets; none where there is no table of sections.
  std::vector<Bounds> sections_;
  // From .eh_frame_hdr: start of each function, and address of its entry of .eh_frame.
  struct Entry {
    std::uint64_t begin = 0;
    std::uint64_t frame = 0;
  };
  std::vector<Entry> table_;
  std::vector<Range> ranges_; // of .eh_frame without such a table, and of symbols; in order
};

} // namespace rrpcp::replay
