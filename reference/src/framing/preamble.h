// What the headers of checkpoints and of traces' streams have in common: magic, version, feature
// words, checksum, and which of them are looked at first.
#pragma once

#include "framing/sink.h"

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>

namespace rrpcp::framing {

// One kind of header. Major, minor, length and feature words lie at the same places in all of them
// (rrpcp/format.h); the checksum is the last 8 bytes.
struct PreambleFormat {
  std::string_view noun; // what messages call the file
  std::array<std::uint8_t, 8> magic;
  std::size_t size;
  std::uint16_t major;
  std::uint16_t minor;
  std::uint64_t known_incompatible;
  std::uint64_t known_read_only_compatible;
  std::uint64_t known_compatible;
};

struct Preamble {
  std::uint16_t major = 0;
  std::uint16_t minor = 0;
  std::uint64_t incompatible = 0;
  std::uint64_t read_only_compatible = 0;
  std::uint64_t compatible = 0;
  std::uint64_t checksum = 0;
  // Neither a newer minor version nor an unknown feature bit.
  bool fully_known = true;
  // An unknown read-only compatible or compatible bit: reserved bytes may be in use.
  bool may_use_reserved = false;
};

enum class PreambleStatus {
  kUsable,
  // The header is damaged; the rest of the file can still be looked at.
  kDamaged,
  // Nothing more can be said about the file.
  kStop,
};

struct PreambleResult {
  PreambleStatus status = PreambleStatus::kStop;
  Preamble preamble; // where usable
};

// Judges the first bytes of a file: `bytes` are all there are, or the first format.size. The order:
// magic, length, checksum, version, incompatible features, the header's length field.
PreambleResult check_preamble(std::span<const std::byte> bytes, const PreambleFormat& format,
                              Sink& sink);

// "3, 17": the bits that are set.
std::string bit_list(std::uint64_t bits);

} // namespace rrpcp::framing
