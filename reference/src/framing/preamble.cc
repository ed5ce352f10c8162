#include "framing/preamble.h"

#include "base/bytes.h"
#include "base/hash.h"
#include "rrpcp/format.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <string>
#include <vector>

namespace rrpcp::framing {

using namespace format;
using std::to_string;

namespace {

// What a transfer in text mode makes of a magic.
bool looks_like_text_mode_damage(std::span<const std::byte> bytes,
                                 const std::array<std::uint8_t, 8>& magic) {
  const std::string_view text(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  const std::string name(magic.begin() + 1, magic.begin() + 4);
  return text.starts_with("\x89" + name + "\n\x1a\n") ||     // CR LF became LF
         text.starts_with("\x89" + name + "\r\n\x1a\r\n") || // LF became CR LF
         text.starts_with("\x89" + name + "\r\r\n\x1a") ||   // the same, after a CR
         text.starts_with("\x09" + name + "\r\n\x1a\n");     // high bits cleared
}

// The checksum over the bytes as they must have been: with an intact magic.
std::uint64_t checksum_of(std::span<const std::byte> header, const PreambleFormat& format) {
  std::vector<std::byte> bytes(header.begin(), header.end() - 8);
  std::memcpy(bytes.data(), format.magic.data(), format.magic.size());
  return xxh3_64(bytes);
}

} // namespace

std::string bit_list(std::uint64_t bits) {
  std::string text;
  for (; bits != 0; bits &= bits - 1) {
    text += (text.empty() ? "" : ", ") + to_string(std::countr_zero(bits));
  }
  return text;
}

PreambleResult check_preamble(std::span<const std::byte> bytes, const PreambleFormat& format,
                              Sink& sink) {
  const std::string the(std::string("the ") + std::string(format.noun));
  PreambleResult result;
  const std::size_t magic_length = std::min(bytes.size(), format.magic.size());
  const std::size_t checksum_at = format.size - 8;
  const bool magic =
      magic_length == 0 || std::memcmp(bytes.data(), format.magic.data(), magic_length) == 0;
  if (!magic) {
    // One damaged byte does not make another kind of file of a checkpoint.
    const bool otherwise_intact =
        bytes.size() >= format.size &&
        load_le<std::uint64_t>(bytes, checksum_at) == checksum_of(bytes.first(format.size), format);
    std::string message = "this is not a " + std::string(format.noun) + ": the magic is missing";
    if (otherwise_intact) {
      message = "the magic is damaged, while the rest of the header is intact";
    } else if (looks_like_text_mode_damage(bytes, format.magic)) {
      message = "this was a " + std::string(format.noun) +
                ", but a transfer in text mode has changed its bytes; copy the original again in "
                "binary mode";
    }
    sink.at("header.magic", 0, std::move(message));
    if (!otherwise_intact) {
      return result;
    }
  }
  if (bytes.size() < format.size) {
    sink.at("header.truncated", bytes.size(),
            "the file ends inside the header, after " + to_string(bytes.size()) + " bytes");
    return result;
  }
  const std::span<const std::byte> in = bytes.first(format.size);
  Preamble& preamble = result.preamble;
  preamble.checksum = load_le<std::uint64_t>(in, checksum_at);
  if (magic && preamble.checksum != xxh3_64(in.first(checksum_at))) {
    sink.at("header.checksum", checksum_at, "the header's checksum does not match its bytes");
    result.status = PreambleStatus::kDamaged;
    return result;
  }
  preamble.major = load_le<std::uint16_t>(in, kHeaderMajor);
  preamble.minor = load_le<std::uint16_t>(in, kHeaderMinor);
  const std::string version = to_string(preamble.major) + "." + to_string(preamble.minor);
  if (preamble.major != format.major) {
    sink.at("header.version", kHeaderMajor,
            the + " has format version " + version + "; this program reads version " +
                to_string(format.major));
    return result;
  }
  preamble.incompatible = load_le<std::uint64_t>(in, kHeaderIncompatible);
  preamble.read_only_compatible = load_le<std::uint64_t>(in, kHeaderReadOnlyCompat);
  preamble.compatible = load_le<std::uint64_t>(in, kHeaderCompatible);
  if (preamble.minor > format.minor) {
    preamble.fully_known = false;
    sink.at("header.newer-minor", kHeaderMinor,
            the + " has format version " + version + "; this program knows " +
                to_string(format.major) + "." + to_string(format.minor));
  }
  if (std::uint64_t bits = preamble.read_only_compatible & ~format.known_read_only_compatible;
      bits != 0) {
    preamble.may_use_reserved = true;
    sink.at("header.read-only-feature", kHeaderReadOnlyCompat,
            "unknown read-only compatible feature bits: " + bit_list(bits));
  }
  if (std::uint64_t bits = preamble.compatible & ~format.known_compatible; bits != 0) {
    preamble.may_use_reserved = true;
    sink.at("header.compatible-feature", kHeaderCompatible,
            "unknown compatible feature bits: " + bit_list(bits));
  }
  preamble.fully_known = preamble.fully_known && !preamble.may_use_reserved;
  if (std::uint64_t bits = preamble.incompatible & ~format.known_incompatible; bits != 0) {
    // No bit is reserved for a later release whose name could be told.
    sink.at("header.incompatible-feature", kHeaderIncompatible,
            the + " needs a feature that this program does not know: bit " + bit_list(bits) +
                "; format version " + version + " was used to write it");
    return result;
  }
  if (auto length = load_le<std::uint32_t>(in, kHeaderLength); length != format.size) {
    sink.at("header.length", kHeaderLength,
            "the header's length is said to be " + to_string(length) + " instead of " +
                to_string(format.size));
    result.status = PreambleStatus::kDamaged;
    return result;
  }
  result.status = PreambleStatus::kUsable;
  return result;
}

} // namespace rrpcp::framing
