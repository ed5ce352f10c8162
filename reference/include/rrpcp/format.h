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
// The latest minor version that this release knows. A file states the lowest one that defines all
// that is in it.
inline constexpr std::uint16_t kMinorVersion = 1;
inline constexpr std::uint16_t kMinorOfBaseRuns = 1;

// Header: offsets of its fields.
inline constexpr std::size_t kHeaderSize = 256;
inline constexpr std::size_t kHeaderMajor = 8;             // u16
inline constexpr std::size_t kHeaderMinor = 10;            // u16
inline constexpr std::size_t kHeaderLength = 12;           // u32
inline constexpr std::size_t kHeaderIncompatible = 16;     // u64
inline constexpr std::size_t kHeaderReadOnlyCompat = 24;   // u64
inline constexpr std::size_t kHeaderCompatible = 32;       // u64
inline constexpr std::size_t kHeaderTraceUuid = 40;        // 16 bytes
inline constexpr std::size_t kHeaderEvent = 56;            // i64
inline constexpr std::size_t kHeaderTicks = 64;            // i64
inline constexpr std::size_t kHeaderMarkEvent = 72;        // i64
inline constexpr std::size_t kHeaderOrder = 80;            // u32
inline constexpr std::size_t kHeaderPositionKind = 84;     // u16
inline constexpr std::size_t kHeaderMachine = 86;          // u16
inline constexpr std::size_t kHeaderPageSize = 88;         // u32
inline constexpr std::size_t kHeaderChunkPages = 92;       // u32
inline constexpr std::size_t kHeaderMarkTicks = 96;        // i64
inline constexpr std::size_t kHeaderInstructions = 104;    // u64
inline constexpr std::size_t kHeaderCurrentTask = 112;     // i32
inline constexpr std::size_t kHeaderElfClass = 116;        // u8
inline constexpr std::size_t kHeaderDataEncoding = 117;    // u8
inline constexpr std::size_t kHeaderDigestAlgorithm = 118; // u16
inline constexpr std::size_t kHeaderReserved = 120;        // 128 bytes, zero
inline constexpr std::size_t kHeaderChecksum = 248;        // u64, XXH3-64 of bytes 0 to 247

// Chunk table: one entry per chunk, in stream order.
inline constexpr std::size_t kChunkEntrySize = 40;
inline constexpr std::size_t kChunkOffset = 0;          // u64
inline constexpr std::size_t kChunkStoredLength = 8;    // u32
inline constexpr std::size_t kChunkLength = 12;         // u32
inline constexpr std::size_t kChunkChecksum = 16;       // u64, XXH3-64 of the decoded bytes
inline constexpr std::size_t kChunkStoredChecksum = 24; // u64, XXH3-64 of the stored bytes
inline constexpr std::size_t kChunkCodec = 32;          // u16
inline constexpr std::size_t kChunkReserved = 34;       // 6 bytes, zero

// Digests have this much room; what an algorithm does not need is zero.
inline constexpr std::size_t kDigestSize = 32;

// Section directory: one entry per section, in the order of their places.
inline constexpr std::size_t kSectionEntrySize = 64;
inline constexpr std::size_t kSectionKind = 0;      // u32
inline constexpr std::size_t kSectionFlags = 4;     // u32
inline constexpr std::size_t kSectionOffset = 8;    // u64
inline constexpr std::size_t kSectionLength = 16;   // u64
inline constexpr std::size_t kSectionReserved = 24; // 8 bytes, zero
inline constexpr std::size_t kSectionDigest = 32;   // 32 bytes

// Kinds of sections (spec/registry.md).
inline constexpr std::uint32_t kSectionChunkTable = 1;
inline constexpr std::uint32_t kSectionManifest = 2;
inline constexpr std::uint32_t kSectionSeal = 3;

// Flags of sections.
inline constexpr std::uint32_t kSectionMustUnderstand = 1u << 0;
inline constexpr std::uint32_t kSectionSafeToCopy = 1u << 1;
inline constexpr std::uint32_t kKnownSectionFlags = kSectionMustUnderstand | kSectionSafeToCopy;

// Seal: strong digests of the content.
inline constexpr std::size_t kSealAlgorithm = 0; // u32
inline constexpr std::size_t kSealReserved = 4;  // u32, zero
inline constexpr std::size_t kSealState = 8;     // 32 bytes, of the state in canonical form
inline constexpr std::size_t kSealChunks = 40;   // 32 bytes for each chunk, of its decoded bytes
inline constexpr std::uint32_t kSealSha256 = 1;

// Footer: offsets of its fields from the footer's start, which is file length - footer length.
inline constexpr std::size_t kFooterSize = 160;          // of version 1.0; later ones may be longer
inline constexpr std::size_t kFooterDirectoryOffset = 0; // u64
inline constexpr std::size_t kFooterSectionCount = 8;    // u32
inline constexpr std::size_t kFooterSectionEntrySize = 12; // u32
inline constexpr std::size_t kFooterDirectoryDigest = 16;  // 32 bytes
inline constexpr std::size_t kFooterCheckpointId = 48;     // 32 bytes
inline constexpr std::size_t kFooterPageCount = 80;        // u64
inline constexpr std::size_t kFooterChunkCount = 88;       // u64
inline constexpr std::size_t kFooterChunkEntrySize = 96;   // u32
inline constexpr std::size_t kFooterReserved0 = 100;       // 4 bytes, zero
inline constexpr std::size_t kFooterHeaderChecksum = 104;  // u64, copy of the header's checksum
inline constexpr std::size_t kFooterFileLength = 112;      // u64
inline constexpr std::size_t kFooterReserved = 120;        // 16 bytes, zero
// The last bytes of the file, whatever the footer's length.
inline constexpr std::size_t kFooterEndSize = 24;
inline constexpr std::size_t kFooterEndLength = 0;   // u32, bytes of the footer
inline constexpr std::size_t kFooterEndVersion = 4;  // u16, 1
inline constexpr std::size_t kFooterEndReserved = 6; // 2 bytes, zero
inline constexpr std::size_t kFooterEndChecksum = 8; // u64, XXH3-64 of all bytes before it
inline constexpr std::size_t kFooterEndMagic = 16;   // 8 bytes
inline constexpr std::uint16_t kFooterVersion = 1;

// Codecs of chunks.
inline constexpr std::uint16_t kCodecRaw = 0;
inline constexpr std::uint16_t kCodecZstd = 1;

// Kinds of position in the header, as the arms of the manifest's Position.
inline constexpr std::uint16_t kPositionNone = 0; // no trace: a live process
inline constexpr std::uint16_t kPositionAtEvent = 1;
inline constexpr std::uint16_t kPositionForwardTo = 2;
inline constexpr std::uint16_t kPositionBetween = 3;

// ELF class and data encoding (elf.h EI_CLASS, EI_DATA).
inline constexpr std::uint8_t kElfClass32 = 1;
inline constexpr std::uint8_t kElfClass64 = 2;
inline constexpr std::uint8_t kLittleEndian = 1;
inline constexpr std::uint8_t kBigEndian = 2;

// Digest algorithms (spec/registry.md): of the id and the sections.
inline constexpr std::uint16_t kDigestXxh3 = 1;

// Incompatible feature bits (spec/registry.md).
inline constexpr std::uint64_t kIncompatZstd = 1u << 0;
// Runs may refer to the page stream of a base checkpoint (1.1).
inline constexpr std::uint64_t kIncompatBaseRuns = 1u << 1;
inline constexpr std::uint64_t kKnownIncompatible = kIncompatZstd | kIncompatBaseRuns;
inline constexpr std::uint64_t kKnownReadOnlyCompat = 0;
inline constexpr std::uint64_t kKnownCompatible = 0;
// Compatible bits that a program which does not know them keeps when it rewrites a file.
inline constexpr std::uint64_t kSafeToCopyCompatible = 0xffffffff;

// Limits.
inline constexpr std::uint32_t kMinPageSize = 4096;
inline constexpr std::uint32_t kMaxPageSize = 2u << 20;
inline constexpr std::uint32_t kMaxChunkPages = 4096;
inline constexpr std::uint32_t kMaxChunkLength = 16u << 20;
inline constexpr std::uint32_t kMaxChunkGap = 2u << 20; // zero bytes before a raw chunk: less
inline constexpr std::uint32_t kMaxEntrySize = 4096;    // of chunk table and section directory
inline constexpr std::uint32_t kMaxFooterSize = 4096;
inline constexpr std::uint32_t kMaxSections = 1024;
inline constexpr std::uint32_t kMaxBases = 64;       // of one checkpoint
inline constexpr std::uint32_t kDefaultMaxBases = 8; // that writers come to by themselves
// Bytes of the page stream: at most 2^63 - 1.
inline constexpr std::uint64_t kMaxStreamBytes = INT64_MAX;
// Manifest: a word of framing and the 2^29 words that pointers reach.
inline constexpr std::uint64_t kMaxManifestLength = ((std::uint64_t{1} << 29) + 1) * 8;
// Alignment of chunk table, manifest, other sections and directory.
inline constexpr std::size_t kSectionAlignment = 8;
// Chunk length that writers use: 256 KiB of pages.
inline constexpr std::uint32_t kDefaultChunkLength = 256u << 10;

// Whether files can have pages of this size: a power of two from 4 KiB to 2 MiB.
constexpr bool is_page_size(std::uint64_t bytes) {
  return bytes >= kMinPageSize && bytes <= kMaxPageSize && (bytes & (bytes - 1)) == 0;
}

} // namespace rrpcp::format
