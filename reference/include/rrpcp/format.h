// The on-disk constants of the container, and nothing else. Mirrors spec/format.md: same order,
// same names.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

namespace rrpcp::format {

// Integers are little-endian. Offsets are bytes from the start of the file.

inline constexpr std::array<std::uint8_t, 8> kHeaderMagic = {0x89, 'P',  'C',  'P',
                                                             0x0d, 0x0a, 0x1a, 0x0a};
inline constexpr std::array<std::uint8_t, 8> kEndMagic = {0x89, 'P', 'C', 'P', 'E', 'N', 'D', 0x0a};

inline constexpr std::uint16_t kMajorVersion = 1;
inline constexpr std::uint16_t kMinorVersion = 0;

// Header: offsets of its fields.
inline constexpr std::size_t kHeaderSize = 256;
inline constexpr std::size_t kHeaderMajor = 8;           // u16
inline constexpr std::size_t kHeaderMinor = 10;          // u16
inline constexpr std::size_t kHeaderLength = 12;         // u32
inline constexpr std::size_t kHeaderIncompatible = 16;   // u64
inline constexpr std::size_t kHeaderReadOnlyCompat = 24; // u64
inline constexpr std::size_t kHeaderCompatible = 32;     // u64
inline constexpr std::size_t kHeaderTraceUuid = 40;      // 16 bytes
inline constexpr std::size_t kHeaderEvent = 56;          // i64
inline constexpr std::size_t kHeaderTicks = 64;          // i64
inline constexpr std::size_t kHeaderMarkEvent = 72;      // i64
inline constexpr std::size_t kHeaderOrder = 80;          // u32
inline constexpr std::size_t kHeaderPositionKind = 84;   // u16
inline constexpr std::size_t kHeaderMachine = 86;        // u16
inline constexpr std::size_t kHeaderPageSize = 88;       // u32
inline constexpr std::size_t kHeaderChunkPages = 92;     // u32
inline constexpr std::size_t kHeaderReserved = 96;       // 152 bytes, zero
inline constexpr std::size_t kHeaderChecksum = 248;      // u64, XXH3-64 of bytes 0 to 247

// Chunk table: one entry per chunk, in stream order.
inline constexpr std::size_t kChunkEntrySize = 40;
inline constexpr std::size_t kChunkOffset = 0;          // u64
inline constexpr std::size_t kChunkStoredLength = 8;    // u32
inline constexpr std::size_t kChunkLength = 12;         // u32
inline constexpr std::size_t kChunkChecksum = 16;       // u64, XXH3-64 of the decoded bytes
inline constexpr std::size_t kChunkStoredChecksum = 24; // u64, XXH3-64 of the stored bytes
inline constexpr std::size_t kChunkCodec = 32;          // u16
inline constexpr std::size_t kChunkReserved = 34;       // 6 bytes, zero

// Footer: offsets of its fields from the footer's start, which is file length - kFooterSize.
inline constexpr std::size_t kFooterSize = 160;
inline constexpr std::size_t kFooterManifestOffset = 0;  // u64
inline constexpr std::size_t kFooterManifestLength = 8;  // u64
inline constexpr std::size_t kFooterManifestDigest = 16; // 16 bytes, XXH3-128, canonical order
inline constexpr std::size_t kFooterTableOffset = 32;    // u64
inline constexpr std::size_t kFooterChunkCount = 40;     // u64
inline constexpr std::size_t kFooterChunkEntrySize = 48; // u32
inline constexpr std::size_t kFooterReserved0 = 52;      // 4 bytes, zero
inline constexpr std::size_t kFooterTableDigest = 56;    // 16 bytes, XXH3-128, canonical order
inline constexpr std::size_t kFooterCheckpointId = 72;   // 16 bytes
inline constexpr std::size_t kFooterPageCount = 88;      // u64
inline constexpr std::size_t kFooterHeaderChecksum = 96; // u64, copy of the header's checksum
inline constexpr std::size_t kFooterFileLength = 104;    // u64
inline constexpr std::size_t kFooterReserved = 112;      // 32 bytes, zero
inline constexpr std::size_t kFooterChecksum = 144;      // u64, XXH3-64 of bytes 0 to 143
inline constexpr std::size_t kFooterEndMagic = 152;      // 8 bytes

// Codecs of chunks.
inline constexpr std::uint16_t kCodecRaw = 0;
inline constexpr std::uint16_t kCodecZstd = 1;

// Kinds of position in the header, as the arms of the manifest's Position.
inline constexpr std::uint16_t kPositionNone = 0; // no trace: a live process
inline constexpr std::uint16_t kPositionAtEvent = 1;
inline constexpr std::uint16_t kPositionForwardTo = 2;
inline constexpr std::uint16_t kPositionBetween = 3;

// Incompatible feature bits (spec/registry.md).
inline constexpr std::uint64_t kIncompatZstd = 1u << 0;
// Reserved for 1.1: runs that refer to a base checkpoint.
inline constexpr std::uint64_t kIncompatBaseRuns = 1u << 1;
inline constexpr std::uint64_t kKnownIncompatible = kIncompatZstd;
inline constexpr std::uint64_t kKnownReadOnlyCompat = 0;
inline constexpr std::uint64_t kKnownCompatible = 0;

// Limits.
inline constexpr std::uint32_t kMinPageSize = 4096;
inline constexpr std::uint32_t kMaxPageSize = 65536;
inline constexpr std::uint32_t kMaxChunkPages = 4096;
inline constexpr std::uint32_t kMaxChunkLength = 16u << 20;
// Manifest: alignment of its first byte.
inline constexpr std::size_t kManifestAlignment = 8;
// Chunk length that writers use: 256 KiB of pages.
inline constexpr std::uint32_t kDefaultChunkLength = 256u << 10;

} // namespace rrpcp::format
