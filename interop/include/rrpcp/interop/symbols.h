// Names for addresses of a stored address space, and the call chains of its threads, without
// restoring anything.
#pragma once

#include "rrpcp/memory_view.h"
#include "rrpcp/reader.h"

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace rrpcp {

// A function or variable that covers an address.
struct SymbolName {
  // As written in the source where that can be told (C++ names are demangled).
  std::string name;
  // Bytes from the symbol's start, and its size; 0: not known.
  std::uint64_t offset = 0;
  std::uint64_t size = 0;
  // Path of the file that it is from, as the mapping names it.
  std::string module;
  bool function = false;
  // Source, where debug information is at hand; line 0: not known.
  std::string source;
  int line = 0;

  // "name" or "name+0x1f".
  std::string text() const;
};

struct StackFrame {
  std::uint64_t pc = 0;
  // The pc is that of an instruction to be executed (the first frame, or one that a signal
  // interrupted), not that behind a call.
  bool exact = false;
  // Functions that the compiler put into the frame's function at this place, innermost first.
  std::vector<std::string> inlined;
  std::optional<SymbolName> symbol;
  // What is mapped there. Empty: nothing.
  std::string mapping;
};

struct ThreadStack {
  std::int32_t tid = 0;
  std::vector<StackFrame> frames;
  // Why there are no more. Empty: the chain is complete.
  std::string problem;
};

// The symbols of an address space: of the mapped ELF files, each only where it is the file that was
// mapped (build id, else digests), of debug files found by build id, and of images that the
// checkpoint has itself, as the vDSO. Opens the files when it is made, reads them when they are
// needed. The reader must outlive it. One thread at a time.
class Symbols {
public:
  // Throws Error(kInvalidArgument) where there is no such space. Files that are missing or others
  // than they were are no error: problems() names them.
  Symbols(const CheckpointReader& reader, std::size_t space, BackingFiles files = {});
  ~Symbols();
  Symbols(Symbols&&) noexcept;

  // The function or variable at `address`; nothing where none is known to cover it.
  std::optional<SymbolName> find(std::uint64_t address) const;
  // The same as text, else the mapping's name with an offset, as "[stack]+0x1f0"; empty where
  // nothing is mapped.
  std::string describe(std::uint64_t address) const;

  // The call chain of the thread `tid` of this space, at most `most_frames`. By call frame
  // information (.eh_frame, .debug_frame), else by frame pointers.
  ThreadStack unwind(std::int32_t tid, std::size_t most_frames = 4096) const;

  // Files without which names may be missing, one sentence each.
  const std::vector<std::string>& problems() const;

private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

} // namespace rrpcp
