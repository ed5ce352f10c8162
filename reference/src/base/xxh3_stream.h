// XXH3-64 of what is not in one piece.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

namespace rrpcp {

// XXH3-64 of bytes that come in pieces.
class Xxh3Stream64 {
public:
  Xxh3Stream64();
  ~Xxh3Stream64();
  Xxh3Stream64(const Xxh3Stream64&) = delete;
  Xxh3Stream64& operator=(const Xxh3Stream64&) = delete;

  // Begins anew.
  void reset();
  void update(std::span<const std::byte> bytes);
  std::uint64_t digest() const;

private:
  struct State;
  std::unique_ptr<State> state_;
};

} // namespace rrpcp
