#include "container/chunk_codec.h"

#include "rrpcp/error.h"

#include <new>
#include <string>
#include <zstd.h>

namespace rrpcp {

namespace {

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

ChunkEncoder::ChunkEncoder(Profile profile, std::size_t max_length) : level_(level_of(profile)) {
  if (level_ == 0) {
    return;
  }
  buffer_.resize(ZSTD_compressBound(max_length));
  context_ = ZSTD_createCCtx();
  if (context_ == nullptr) {
    throw std::bad_alloc();
  }
}

ChunkEncoder::~ChunkEncoder() {
  ZSTD_freeCCtx(context_);
}

ChunkEncoder::Result ChunkEncoder::encode(std::span<const std::byte> chunk) {
  if (level_ == 0) {
    return {format::kCodecRaw, chunk};
  }
  std::size_t length = ZSTD_compressCCtx(context_, buffer_.data(), buffer_.size(), chunk.data(),
                                         chunk.size(), level_);
  if (ZSTD_isError(length)) {
    throw Error(ErrorCode::kInternal,
                std::string("zstd cannot compress: ") + ZSTD_getErrorName(length));
  }
  // A chunk that hardly shrinks is better mapped than decoded.
  if (length > chunk.size() - chunk.size() / 16) {
    return {format::kCodecRaw, chunk};
  }
  return {format::kCodecZstd, std::span<const std::byte>(buffer_).first(length)};
}

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
  if (stored.size() < 4 || ZSTD_getFrameContentSize(stored.data(), stored.size()) != out.size()) {
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
