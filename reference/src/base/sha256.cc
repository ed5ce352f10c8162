#include "base/sha256.h"

#include "rrpcp/error.h"

#include <openssl/evp.h>

namespace rrpcp {

namespace {

void require(bool done) {
  if (!done) {
    throw Error(ErrorCode::kInternal, "libcrypto does not compute SHA-256")
        .with_hint("look at OpenSSL's configuration");
  }
}

EVP_MD_CTX* context(void* pointer) {
  return static_cast<EVP_MD_CTX*>(pointer);
}

} // namespace

Sha256Digest sha256(std::span<const std::byte> bytes) {
  Sha256Digest digest;
  require(EVP_Digest(bytes.data(), bytes.size(), digest.data(), nullptr, EVP_sha256(), nullptr) ==
          1);
  return digest;
}

Sha256Stream::Sha256Stream() : context_(EVP_MD_CTX_new()) {
  require(context_ != nullptr && EVP_DigestInit_ex(context(context_), EVP_sha256(), nullptr) == 1);
}

Sha256Stream::~Sha256Stream() {
  EVP_MD_CTX_free(context(context_));
}

void Sha256Stream::update(std::span<const std::byte> bytes) {
  require(EVP_DigestUpdate(context(context_), bytes.data(), bytes.size()) == 1);
}

Sha256Digest Sha256Stream::digest() {
  Sha256Digest digest;
  require(EVP_DigestFinal_ex(context(context_), digest.data(), nullptr) == 1);
  return digest;
}

} // namespace rrpcp
