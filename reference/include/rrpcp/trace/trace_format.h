// The on-disk constants of a trace's event stream, and nothing else. Mirrors spec/trace.md: same
// order, same names.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>

namespace rrpcp::trace_format {

// Integers are little-endian. Offsets are bytes from the start of the structure.

inline constexpr std::uint16_t kMajorVersion = 1;
inline constexpr std::uint16_t kMinorVersion = 0;

// Registered id of the format (spec/registry.md, "Trace formats").
inline constexpr std::string_view kFormatId = "org.rrpcp.trace";

// What lies in a trace directory.
inline constexpr std::string_view kEventsName = "events";
inline constexpr std::string_view kFilesName = "files";
inline constexpr std::string_view kImagesName = "images";
inline constexpr std::string_view kCheckpointsName = "checkpoints";

inline constexpr std::array<std::uint8_t, 8> kHeaderMagic = {0x89, 'P',  'C',  'T',
                                                             0x0d, 0x0a, 0x1a, 0x0a};

// Stream header.
inline constexpr std::size_t kHeaderSize = 128;
inline constexpr std::size_t kHeaderMajor = 8;           // u16
inline constexpr std::size_t kHeaderMinor = 10;          // u16
inline constexpr std::size_t kHeaderLength = 12;         // u32
inline constexpr std::size_t kHeaderIncompatible = 16;   // u64
inline constexpr std::size_t kHeaderReadOnlyCompat = 24; // u64
inline constexpr std::size_t kHeaderCompatible = 32;     // u64
inline constexpr std::size_t kHeaderUuid = 40;           // 16 bytes
inline constexpr std::size_t kHeaderMachine = 56;        // u16
inline constexpr std::size_t kHeaderReserved = 58;       // 62 bytes, zero
inline constexpr std::size_t kHeaderChecksum = 120;      // u64, XXH3-64 of bytes 0 to 119

// Chunk: a header, the stored bytes, zero bytes up to a multiple of 8.
inline constexpr std::array<std::uint8_t, 4> kChunkMagic = {0x89, 'P', 'C', 'K'};
inline constexpr std::size_t kChunkHeaderSize = 96;
inline constexpr std::size_t kChunkCodec = 4;           // u16
inline constexpr std::size_t kChunkReserved0 = 6;       // u16, zero
inline constexpr std::size_t kChunkStoredLength = 8;    // u32
inline constexpr std::size_t kChunkLength = 12;         // u32
inline constexpr std::size_t kChunkChecksum = 16;       // u64, XXH3-64 of the decoded bytes
inline constexpr std::size_t kChunkStoredChecksum = 24; // u64, XXH3-64 of the stored bytes
inline constexpr std::size_t kChunkFirstEvent = 32;     // i64
inline constexpr std::size_t kChunkEvents = 40;         // u32
inline constexpr std::size_t kChunkContents = 44;       // u32
inline constexpr std::size_t kChunkDecodedOffset = 48;  // u64
inline constexpr std::size_t kChunkPending = 56;        // u64
inline constexpr std::size_t kChunkFirstRecord = 64;    // u32
inline constexpr std::size_t kChunkReserved = 68;       // u32, zero
inline constexpr std::size_t kChunkNumber = 72;         // u64
inline constexpr std::size_t kChunkStream = 80;         // u64, copy of the stream header's checksum
inline constexpr std::size_t kChunkHeaderChecksum = 88; // u64, XXH3-64 of bytes 0 to 87

// Contents of a chunk, as bits.
inline constexpr std::uint32_t kContentsStart = 1u << 0;
inline constexpr std::uint32_t kContentsEvents = 1u << 1;
inline constexpr std::uint32_t kContentsFiles = 1u << 2;
inline constexpr std::uint32_t kContentsTasks = 1u << 3; // events that make, execute or end a task
inline constexpr std::uint32_t kContentsEnd = 1u << 4;

// Record: a head, one message, data, zero bytes up to a multiple of 8.
inline constexpr std::size_t kRecordHeadSize = 24;
inline constexpr std::size_t kRecordDataLength = 0; // u64
inline constexpr std::size_t kRecordKind = 8;       // u16
inline constexpr std::size_t kRecordReserved = 10;  // 6 bytes, zero
inline constexpr std::size_t kRecordMessage = 16;   // u32 0, u32 words, the words

// Kinds of records.
inline constexpr std::uint16_t kRecordStart = 1;
inline constexpr std::uint16_t kRecordEvent = 2;
inline constexpr std::uint16_t kRecordFile = 3;
inline constexpr std::uint16_t kRecordEnd = 4;

// Index: one entry per chunk, in stream order.
inline constexpr std::size_t kIndexEntrySize = 32;
inline constexpr std::size_t kIndexOffset = 0;         // u64
inline constexpr std::size_t kIndexFirstEvent = 8;     // i64
inline constexpr std::size_t kIndexEvents = 16;        // u32
inline constexpr std::size_t kIndexContents = 20;      // u32
inline constexpr std::size_t kIndexDecodedOffset = 24; // u64

// Footer: the last bytes of a stream that was ended properly.
inline constexpr std::array<std::uint8_t, 8> kEndMagic = {0x89, 'P', 'C', 'T', 'E', 'N', 'D', 0x0a};
inline constexpr std::size_t kFooterSize = 96;
inline constexpr std::size_t kFooterIndexOffset = 0;  // u64
inline constexpr std::size_t kFooterChunkCount = 8;   // u64
inline constexpr std::size_t kFooterEntrySize = 16;   // u32
inline constexpr std::size_t kFooterReserved0 = 20;   // u32, zero
inline constexpr std::size_t kFooterIndexDigest = 24; // 16 bytes, XXH3-128, canonical order
inline constexpr std::size_t kFooterEventCount = 40;  // i64
inline constexpr std::size_t kFooterStream = 48;      // u64, copy of the stream header's checksum
inline constexpr std::size_t kFooterFileLength = 56;  // u64
inline constexpr std::size_t kFooterReserved = 64;    // 16 bytes, zero
inline constexpr std::size_t kFooterChecksum = 80;    // u64, XXH3-64 of bytes 0 to 79
inline constexpr std::size_t kFooterEndMagic = 88;    // 8 bytes

// Codecs and feature bits have the numbers of checkpoints' (rrpcp/format.h); this is what a trace
// may use of them.
inline constexpr std::uint64_t kIncompatZstd = 1u << 0;
inline constexpr std::uint64_t kKnownIncompatible = kIncompatZstd;
inline constexpr std::uint64_t kKnownReadOnlyCompat = 0;
inline constexpr std::uint64_t kKnownCompatible = 0;

// Limits.
inline constexpr std::uint32_t kMaxChunkLength = 16u << 20;
inline constexpr std::uint32_t kDefaultChunkLength = 256u << 10;

} // namespace rrpcp::trace_format
