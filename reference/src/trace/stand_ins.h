// Digests of files that are still being read.
#pragma once

#include "base/hash.h"
#include "base/sha256.h"

#include <array>
#include <cstddef>
#include <cstdint>
#include <map>
#include <span>
#include <string>

namespace rrpcp::trace {

struct FileDigests {
  Digest128 xxh3;
  Sha256Digest sha256{};
};
// As a record has them: high, low, and the four of SHA-256.
using DigestWords = std::array<std::uint64_t, 6>;
DigestWords words_of(const FileDigests& digests);
FileDigests digests_of(const DigestWords& words);

// Half of a SHA-256 as hexadecimal digits: what a kept file's name begins with. Contents are
// compared where a name exists.
std::string digest_text(const Sha256Digest& digest);

// What records of a trace are written with in place of digests and of the names that follow from
// them, and what the bytes of a chunk get for it before they are written. Stand-ins are as long as
// what they stand for, and random: nothing else looks like them. stand_in() is for one thread, the
// rest for another one.
class StandIns {
public:
  struct Mark {
    std::uint32_t number = 0;
    std::string name; // as digest_text() gives it
    FileDigests digests;
  };

  StandIns();

  // The next one. Throws Error(kLimit) where there are too many.
  Mark stand_in();

  void found(std::uint32_t number, const FileDigests& digests) { digests_[number] = digests; }
  // Replaces what is known by now.
  void replace(std::span<std::byte> words) const;
  std::string replaced(std::string text) const;

private:
  static constexpr std::uint64_t kNumbers = std::uint64_t{1} << 20;
  std::string prefix_; // of names
  DigestWords bases_{};
  std::uint32_t next_ = 0;
  std::map<std::uint32_t, FileDigests> digests_;
};

} // namespace rrpcp::trace
