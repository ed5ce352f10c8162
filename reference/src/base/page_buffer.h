// Buffers that page data is copied through.
#pragma once

#include <cstddef>
#include <cstdlib>
#include <memory>
#include <new>
#include <span>

namespace rrpcp {

// Bytes that start at a page's bounds and have no value at first. Copying whole pages between the
// kernel and a buffer that starts elsewhere is several times slower on some processors (`rep movsb`
// on Zen 3). Move-only; may be empty.
class PageBuffer {
public:
  PageBuffer() = default;
  explicit PageBuffer(std::size_t size) : size_(size) {
    // The size has to be a multiple of the alignment: aligned_alloc(3).
    bytes_.reset(static_cast<std::byte*>(
        std::aligned_alloc(kAlignment, (size + kAlignment - 1) / kAlignment * kAlignment)));
    if (bytes_ == nullptr && size != 0) {
      throw std::bad_alloc();
    }
  }

  std::byte* data() const { return bytes_.get(); }
  std::size_t size() const { return size_; }
  std::span<std::byte> span() const { return {bytes_.get(), size_}; }
  explicit operator bool() const { return bytes_ != nullptr; }

private:
  static constexpr std::size_t kAlignment = 4096;

  struct Free {
    void operator()(std::byte* bytes) const { std::free(bytes); }
  };

  std::unique_ptr<std::byte[], Free> bytes_;
  std::size_t size_ = 0;
};

} // namespace rrpcp
