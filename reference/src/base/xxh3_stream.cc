#include "base/xxh3_stream.h"

#include <new>

#define XXH_STATIC_LINKING_ONLY
#include <xxhash.h>
#if defined(__x86_64__) && __has_include(<xxh_x86dispatch.h>)
#include <xxh_x86dispatch.h> // renames XXH3_* to the variants chosen at run time
#endif

namespace rrpcp {

struct Xxh3Stream64::State {
  XXH3_state_t* xxh = XXH3_createState();
};

Xxh3Stream64::Xxh3Stream64() : state_(std::make_unique<State>()) {
  if (state_->xxh == nullptr) {
    throw std::bad_alloc();
  }
  reset();
}

Xxh3Stream64::~Xxh3Stream64() {
  XXH3_freeState(state_->xxh);
}

void Xxh3Stream64::reset() {
  XXH3_64bits_reset(state_->xxh);
}

void Xxh3Stream64::update(std::span<const std::byte> bytes) {
  XXH3_64bits_update(state_->xxh, bytes.data(), bytes.size());
}

std::uint64_t Xxh3Stream64::digest() const {
  return XXH3_64bits_digest(state_->xxh);
}

} // namespace rrpcp
