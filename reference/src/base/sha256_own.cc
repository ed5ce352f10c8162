// SHA-256 (FIPS 180-4) for builds without Nettle, which has it several times as fast
// (RRPCP_NETTLE). Checkpoints with a seal and the kept files of traces need it, others do not.

#include "base/sha256.h"

#include <algorithm>
#include <bit>
#include <cstring>

namespace rrpcp {

namespace {

constexpr std::uint32_t kRound[64] = {
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
    0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
    0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
    0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
    0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
    0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
    0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
    0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2};

class State {
public:
  void update(std::span<const std::byte> bytes) {
    length_ += bytes.size();
    while (!bytes.empty()) {
      if (filled_ == 0 && bytes.size() >= block_.size()) {
        compress(bytes.data());
        bytes = bytes.subspan(block_.size());
        continue;
      }
      const std::size_t count = std::min(bytes.size(), block_.size() - filled_);
      std::memcpy(block_.data() + filled_, bytes.data(), count);
      filled_ += count;
      bytes = bytes.subspan(count);
      if (filled_ == block_.size()) {
        compress(block_.data());
        filled_ = 0;
      }
    }
  }

  Sha256Digest finish() {
    const std::uint64_t bits = length_ * 8;
    const std::byte one{0x80}, zero{0};
    update({&one, 1});
    while (filled_ != block_.size() - sizeof bits) {
      update({&zero, 1});
    }
    std::byte end[sizeof bits];
    for (unsigned i = 0; i < sizeof bits; ++i) {
      end[i] = static_cast<std::byte>(bits >> (56 - 8 * i));
    }
    update(end);
    Sha256Digest digest;
    for (unsigned i = 0; i < digest.size(); ++i) {
      digest[i] = static_cast<std::uint8_t>(words_[i / 4] >> (24 - 8 * (i % 4)));
    }
    return digest;
  }

private:
  void compress(const std::byte* block) {
    std::uint32_t w[64];
    for (unsigned i = 0; i < 16; ++i) {
      w[i] = 0;
      for (unsigned k = 0; k < 4; ++k) {
        w[i] = w[i] << 8 | static_cast<std::uint32_t>(block[4 * i + k]);
      }
    }
    for (unsigned i = 16; i < 64; ++i) {
      const std::uint32_t a = w[i - 15], b = w[i - 2];
      w[i] = w[i - 16] + (std::rotr(a, 7) ^ std::rotr(a, 18) ^ a >> 3) + w[i - 7] +
             (std::rotr(b, 17) ^ std::rotr(b, 19) ^ b >> 10);
    }
    std::array<std::uint32_t, 8> v = words_;
    for (unsigned i = 0; i < 64; ++i) {
      const std::uint32_t choice = (v[4] & v[5]) ^ (~v[4] & v[6]);
      const std::uint32_t majority = (v[0] & v[1]) ^ (v[0] & v[2]) ^ (v[1] & v[2]);
      const std::uint32_t first = v[7] +
                                  (std::rotr(v[4], 6) ^ std::rotr(v[4], 11) ^ std::rotr(v[4], 25)) +
                                  choice + kRound[i] + w[i];
      const std::uint32_t second =
          (std::rotr(v[0], 2) ^ std::rotr(v[0], 13) ^ std::rotr(v[0], 22)) + majority;
      std::rotate(v.rbegin(), v.rbegin() + 1, v.rend());
      v[4] += first;
      v[0] = first + second;
    }
    for (unsigned i = 0; i < v.size(); ++i) {
      words_[i] += v[i];
    }
  }

  std::array<std::uint32_t, 8> words_ = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
                                         0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};
  std::array<std::byte, 64> block_{};
  std::size_t filled_ = 0;
  std::uint64_t length_ = 0;
};

} // namespace

Sha256Digest sha256(std::span<const std::byte> bytes) {
  State state;
  state.update(bytes);
  return state.finish();
}

Sha256Stream::Sha256Stream() : context_(new State) {}

Sha256Stream::~Sha256Stream() {
  delete static_cast<State*>(context_);
}

void Sha256Stream::update(std::span<const std::byte> bytes) {
  static_cast<State*>(context_)->update(bytes);
}

Sha256Digest Sha256Stream::digest() {
  return static_cast<State*>(context_)->finish();
}

} // namespace rrpcp
