#include "container/chunk_codec.h"

#include "rrpcp/error.h"

#include <array>
#include <cstdint>
#include <new>
#include <string>
#include <zstd.h>

namespace rrpcp {

namespace {

// Chunks below this are compressed without looking at them first.
constexpr std::size_t kLeastSampled = 64u << 10;

// 0: chunks are stored raw.
int level_of(Profile profile) {
  switch (profile) {
  case Profile::kRaw:
    return 0;
  case Profile::kFast:
    return 1;
  case Profile::kDefault:
    return 3;
  case Profile::kSmall:
    return 19;
  }
  return 0;
}

// Whether a sample of the bytes has them all about equally often, as random and compressed ones do.
bool looks_random(std::span<const std::byte> bytes) {
  constexpr std::size_t kPieces = 16;
  constexpr std::size_t kPiece = 256;
  std::array<std::uint32_t, 256> counts{};
  for (std::size_t i = 0; i < kPieces; ++i) {
    for (std::byte byte : bytes.subspan(bytes.size() / kPieces * i, kPiece)) {
      ++counts[std::to_integer<std::size_t>(byte)];
    }
  }
  // The sum of squares is n + n²/256 for random bytes on average; what zstd can shrink by 1/16 has
  // a good deal more.
  constexpr std::uint64_t n = kPieces * kPiece;
  std::uint64_t squares = 0;
  for (std::uint64_t count : counts) {
    squares += count * count;
  }
  return squares < n + n * n / 256 * 9 / 8;
}

} // namespace

std::string_view profile_name(Profile profile) {
  switch (profile) {
  case Profile::kRaw:
    return "raw";
  case Profile::kFast:
    return "fast";
  case Profile::kDefault:
    return "default";
  case Profile::kSmall:
    return "small";
  }
  return "unknown";
}

Profile parse_profile(std::string_view name) {
  for (Profile profile : {Profile::kRaw, Profile::kFast, Profile::kDefault, Profile::kSmall}) {
    if (profile_name(profile) == name) {
      return profile;
    }
  }
  throw Error(ErrorCode::kInvalidArgument, "'" + std::string(name) + "' is not a profile")
      .with_hint("use raw, fast, default or small");
}

ChunkEncoder::ChunkEncoder(Profile profile, std::size_t max_length)
    : profile_(profile), level_(level_of(profile)) {
  if (level_ == 0) {
    return;
  }
  buffer_ = PageBuffer(buffer_size(max_length));
  context_ = ZSTD_createCCtx();
  if (context_ == nullptr) {
    throw std::bad_alloc();
  }
}

std::size_t ChunkEncoder::buffer_size(std::size_t max_length) {
  return ZSTD_compressBound(max_length);
}

ChunkEncoder::~ChunkEncoder() {
  ZSTD_freeCCtx(context_);
}

std::size_t ChunkEncoder::compress(std::span<const std::byte> bytes, int level) {
  const std::size_t length = ZSTD_compressCCtx(context_, buffer_.data(), buffer_.size(),
                                               bytes.data(), bytes.size(), level);
  if (ZSTD_isError(length)) {
    throw Error(ErrorCode::kInternal,
                std::string("zstd cannot compress: ") + ZSTD_getErrorName(length));
  }
  return length;
}

bool ChunkEncoder::seems_incompressible(std::span<const std::byte> chunk) {
  if (profile_ == Profile::kSmall || chunk.size() < kLeastSampled || !looks_random(chunk)) {
    return false;
  }
  // It may still repeat itself.
  const std::span<const std::byte> part = chunk.first(chunk.size() / 4);
  return compress(part, 1) >= part.size();
}

ChunkEncoder::Result ChunkEncoder::encode(std::span<const std::byte> chunk) {
  if (level_ == 0 || seems_incompressible(chunk)) {
    return {format::kCodecRaw, chunk};
  }
  const std::size_t length = compress(chunk, level_);
  // A chunk that hardly shrinks is better mapped than decoded.
  if (length > chunk.size() - chunk.size() / 16) {
    return {format::kCodecRaw, chunk};
  }
  return {format::kCodecZstd, std::span<const std::byte>(buffer_.span()).first(length)};
}

namespace {

// Whether the window that a frame's head states (RFC 8878, 3.1.1.1.2) is one that the format
// allows. Decoding in one call does not look at it. A frame of a single segment has a window of its
// content's size, which is a chunk's.
bool window_fits(std::span<const std::byte> frame) {
  constexpr std::uint64_t kMaxWindow = 16u << 20;
  if ((std::to_integer<unsigned>(frame[4]) & 0x20) != 0) {
    return true;
  }
  const auto window = std::to_integer<unsigned>(frame[5]);
  const std::uint64_t base = std::uint64_t{1} << (10 + (window >> 3));
  return base + base / 8 * (window & 7) <= kMaxWindow;
}

} // namespace

ChunkDecoder::ChunkDecoder() : context_(ZSTD_createDCtx()) {
  if (context_ == nullptr) {
    throw std::bad_alloc();
  }
  // Frames of one chunk need no larger window; a crafted one shall not make us allocate it.
  ZSTD_DCtx_setParameter(context_, ZSTD_d_windowLogMax, 24);
}

ChunkDecoder::~ChunkDecoder() {
  ZSTD_freeDCtx(context_);
}

bool ChunkDecoder::decode(std::span<const std::byte> stored, std::span<std::byte> out) {
  // Exactly one frame, without skippable frames around it.
  if (stored.size() < 6 || !window_fits(stored) ||
      ZSTD_getFrameContentSize(stored.data(), stored.size()) != out.size()) {
    return false;
  }
  std::size_t frame = ZSTD_findFrameCompressedSize(stored.data(), stored.size());
  if (ZSTD_isError(frame) || frame != stored.size()) {
    return false;
  }
  std::size_t length =
      ZSTD_decompressDCtx(context_, out.data(), out.size(), stored.data(), stored.size());
  return !ZSTD_isError(length) && length == out.size();
}

} // namespace rrpcp
