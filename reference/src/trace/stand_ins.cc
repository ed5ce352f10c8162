#include "trace/stand_ins.h"

#include "base/hex.h"
#include "rrpcp/error.h"

#include <algorithm>
#include <bit>
#include <cerrno>
#include <charconv>
#include <cstdio>
#include <cstring>
#include <string_view>
#include <sys/random.h>

namespace rrpcp::trace {

namespace {

constexpr std::size_t kNameLength = 32;
constexpr std::size_t kNumberLength = 8; // of it

void fill_randomly(std::span<std::byte> bytes) {
  if (::getrandom(bytes.data(), bytes.size(), 0) != static_cast<ssize_t>(bytes.size())) {
    throw system_error(errno, "cannot get random bytes");
  }
}

} // namespace

std::string digest_text(const Sha256Digest& digest) {
  return to_hex(std::span(digest).first(kNameLength / 2));
}

StandIns::StandIns() {
  std::array<std::byte, (kNameLength - kNumberLength) / 2> name{};
  fill_randomly(name);
  prefix_ = to_hex(name);
  fill_randomly(std::as_writable_bytes(std::span(bases_)));
  for (std::uint64_t& base : bases_) {
    base &= ~(kNumbers - 1);
  }
}

DigestWords words_of(const FileDigests& digests) {
  static_assert(std::endian::native == std::endian::little, "words are those of the file");
  DigestWords words = {digests.xxh3.high, digests.xxh3.low};
  std::memcpy(&words[2], digests.sha256.data(), digests.sha256.size());
  return words;
}

FileDigests digests_of(const DigestWords& words) {
  FileDigests digests;
  digests.xxh3.high = words[0];
  digests.xxh3.low = words[1];
  std::memcpy(digests.sha256.data(), &words[2], digests.sha256.size());
  return digests;
}

StandIns::Mark StandIns::stand_in() {
  if (next_ + 1 >= kNumbers) {
    throw Error(ErrorCode::kLimit, "a trace cannot keep so many files");
  }
  Mark mark;
  mark.number = ++next_; // from 1 on
  char number[kNumberLength + 1];
  std::snprintf(number, sizeof number, "%08x", mark.number);
  mark.name = prefix_ + number;
  DigestWords words = bases_;
  for (std::uint64_t& word : words) {
    word |= mark.number;
  }
  mark.digests = digests_of(words);
  return mark;
}

void StandIns::replace(std::span<std::byte> bytes) const {
  if (digests_.empty()) {
    return;
  }
  std::byte* const end = bytes.data() + bytes.size();
  for (std::byte* at = bytes.data(); static_cast<std::size_t>(end - at) >= kNameLength;) {
    auto* const found = static_cast<std::byte*>(
        ::memmem(at, static_cast<std::size_t>(end - at), prefix_.data(), prefix_.size()));
    if (found == nullptr || static_cast<std::size_t>(end - found) < kNameLength) {
      break;
    }
    const auto* const digits = reinterpret_cast<const char*>(found) + prefix_.size();
    std::uint32_t number = 0;
    std::from_chars(digits, digits + kNumberLength, number, 16);
    if (const auto known = digests_.find(number); known != digests_.end()) {
      const std::string name = digest_text(known->second.sha256);
      std::memcpy(found, name.data(), kNameLength);
    }
    at = found + kNameLength;
  }
  for (std::size_t at = 0; at + sizeof(std::uint64_t) <= bytes.size();
       at += sizeof(std::uint64_t)) {
    std::uint64_t word = 0;
    std::memcpy(&word, bytes.data() + at, sizeof word);
    const std::uint64_t base = word & ~(kNumbers - 1);
    const auto which = std::find(bases_.begin(), bases_.end(), base);
    if (which == bases_.end()) {
      continue;
    }
    const auto known = digests_.find(static_cast<std::uint32_t>(word & (kNumbers - 1)));
    if (known != digests_.end()) {
      word = words_of(known->second)[static_cast<std::size_t>(which - bases_.begin())];
      std::memcpy(bytes.data() + at, &word, sizeof word);
    }
  }
}

std::string StandIns::replaced(std::string text) const {
  replace(std::as_writable_bytes(std::span(text)));
  return text;
}

} // namespace rrpcp::trace
