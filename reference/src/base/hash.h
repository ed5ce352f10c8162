// XXH3 digests, by the fastest code that the processor has.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

namespace rrpcp {

// XXH3-128 with seed 0 as a number; low and high half as in xxhash's XXH128_hash_t.
struct Digest128 {
  std::uint64_t low = 0;
  std::uint64_t high = 0;

  bool operator==(const Digest128&) const = default;
  // xxhash's canonical representation: most significant byte first.
  std::array<std::uint8_t, 16> canonical() const;
};

// XXH3-64 with seed 0.
std::uint64_t xxh3_64(std::span<const std::byte> bytes);
Digest128 xxh3_128(std::span<const std::byte> bytes);

// XXH3-64 with a secret of at least 136 bytes instead of the one that everybody knows.
std::uint64_t xxh3_64_with_secret(std::span<const std::byte> bytes,
                                  std::span<const std::byte> secret);

// XXH3-128 of bytes that come in pieces.
class Xxh3Stream128 {
public:
  Xxh3Stream128();
  ~Xxh3Stream128();
  Xxh3Stream128(const Xxh3Stream128&) = delete;
  Xxh3Stream128& operator=(const Xxh3Stream128&) = delete;

  void update(std::span<const std::byte> bytes);
  Digest128 digest() const;

private:
  struct State;
  std::unique_ptr<State> state_;
};

} // namespace rrpcp
