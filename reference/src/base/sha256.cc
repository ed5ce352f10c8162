#include "base/sha256.h"

#include <nettle/sha2.h>

namespace rrpcp {

namespace {

sha256_ctx* context(void* pointer) {
  return static_cast<sha256_ctx*>(pointer);
}

void add(sha256_ctx* context, std::span<const std::byte> bytes) {
  sha256_update(context, bytes.size(), reinterpret_cast<const std::uint8_t*>(bytes.data()));
}

Sha256Digest result(sha256_ctx* context) {
  Sha256Digest digest;
  sha256_digest(context, digest.size(), digest.data());
  return digest;
}

} // namespace

Sha256Digest sha256(std::span<const std::byte> bytes) {
  sha256_ctx context;
  sha256_init(&context);
  add(&context, bytes);
  return result(&context);
}

Sha256Stream::Sha256Stream() : context_(new sha256_ctx) {
  sha256_init(context(context_));
}

Sha256Stream::~Sha256Stream() {
  delete context(context_);
}

void Sha256Stream::update(std::span<const std::byte> bytes) {
  add(context(context_), bytes);
}

Sha256Digest Sha256Stream::digest() {
  return result(context(context_));
}

} // namespace rrpcp
