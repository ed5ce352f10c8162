#include "container/page_hash.h"

#include "base/hash.h"
#include "rrpcp/error.h"

#include <cerrno>
#include <sys/random.h>

namespace rrpcp {

PageHash::PageHash() {
  for (Secret& secret : secrets_) {
    // Up to 256 bytes come whole or not at all.
    ssize_t n = 0;
    do {
      n = ::getrandom(secret.data(), secret.size(), 0);
    } while (n < 0 && errno == EINTR);
    if (n != static_cast<ssize_t>(secret.size())) {
      throw system_error(errno, "cannot get random bytes");
    }
  }
}

PageDigest PageHash::operator()(std::span<const std::byte> page) const {
  return {xxh3_64_with_secret(page, secrets_[0]), xxh3_64_with_secret(page, secrets_[1])};
}

} // namespace rrpcp
