#include "base/hash.h"

#include <algorithm>
#include <iterator>
#include <new>

#define XXH_STATIC_LINKING_ONLY
#include <xxhash.h>
#if defined(__x86_64__) && __has_include(<xxh_x86dispatch.h>)
#include <xxh_x86dispatch.h> // renames XXH3_* to the variants chosen at run time
#endif

namespace rrpcp {

std::array<std::uint8_t, 16> Digest128::canonical() const {
  XXH128_canonical_t out;
  XXH128_canonicalFromHash(&out, XXH128_hash_t{low, high});
  std::array<std::uint8_t, 16> bytes;
  std::copy(std::begin(out.digest), std::end(out.digest), bytes.begin());
  return bytes;
}

std::uint64_t xxh3_64(std::span<const std::byte> bytes) {
  return XXH3_64bits(bytes.data(), bytes.size());
}

Digest128 xxh3_128(std::span<const std::byte> bytes) {
  XXH128_hash_t hash = XXH3_128bits(bytes.data(), bytes.size());
  return {hash.low64, hash.high64};
}

std::uint64_t xxh3_64_with_secret(std::span<const std::byte> bytes,
                                  std::span<const std::byte> secret) {
  return XXH3_64bits_withSecret(bytes.data(), bytes.size(), secret.data(), secret.size());
}

struct Xxh3Stream128::State {
  XXH3_state_t* xxh = XXH3_createState();
};

Xxh3Stream128::Xxh3Stream128() : state_(std::make_unique<State>()) {
  if (state_->xxh == nullptr) {
    throw std::bad_alloc();
  }
  XXH3_128bits_reset(state_->xxh);
}

Xxh3Stream128::~Xxh3Stream128() {
  XXH3_freeState(state_->xxh);
}

void Xxh3Stream128::update(std::span<const std::byte> bytes) {
  XXH3_128bits_update(state_->xxh, bytes.data(), bytes.size());
}

Digest128 Xxh3Stream128::digest() const {
  XXH128_hash_t hash = XXH3_128bits_digest(state_->xxh);
  return {hash.low64, hash.high64};
}

} // namespace rrpcp
