#include "trace/block_stream.h"

#include "base/file.h"
#include "base/open_file.h"
#include "rrpcp/error.h"

#include <algorithm>
#include <brotli/decode.h>
#include <cerrno>
#include <cstring>
#include <fcntl.h>

namespace rrpcp::compat {

namespace {

constexpr std::size_t kHeaderBytes = 8;

std::uint32_t little_endian(const std::byte* bytes) {
  return std::to_integer<std::uint32_t>(bytes[0]) | std::to_integer<std::uint32_t>(bytes[1]) << 8 |
         std::to_integer<std::uint32_t>(bytes[2]) << 16 |
         std::to_integer<std::uint32_t>(bytes[3]) << 24;
}

} // namespace

BlockStream::BlockStream(std::string path, const RrTraceLimits& limits)
    : path_(std::move(path)), limits_(limits), fd_(open_file(path_.c_str(), O_RDONLY)) {
  if (!fd_) {
    throw system_error(errno, "cannot open the trace's stream").in_file(path_);
  }
  const struct stat info = stat_fd(fd_.get(), path_);
  if (!S_ISREG(info.st_mode)) {
    throw Error(ErrorCode::kDamaged, "is not a regular file").in_file(path_);
  }
  file_size_ = static_cast<std::uint64_t>(info.st_size);
}

bool BlockStream::read_header(BlockHeader& header) {
  if (next_offset_ == file_size_) {
    return false;
  }
  std::byte bytes[kHeaderBytes];
  if (next_offset_ > file_size_ || read_at(fd_.get(), bytes, next_offset_, path_) != kHeaderBytes) {
    throw Error(ErrorCode::kIncomplete, "the stream ends within a block header")
        .in_file(path_)
        .at(next_offset_);
  }
  header.stored = little_endian(bytes);
  header.decoded = little_endian(bytes + 4);
  if (header.stored > file_size_ - next_offset_ - kHeaderBytes) {
    throw Error(ErrorCode::kIncomplete,
                "the stream ends within a block of " + std::to_string(header.stored) + " bytes")
        .in_file(path_)
        .at(next_offset_);
  }
  if (header.decoded > limits_.max_block_bytes) {
    throw Error(ErrorCode::kLimit,
                "a block claims to decode to " + std::to_string(header.decoded) + " bytes")
        .in_file(path_)
        .at(next_offset_);
  }
  return true;
}

void BlockStream::decode(const BlockHeader& header) {
  stored_.resize(header.stored);
  if (read_at(fd_.get(), stored_, next_offset_ + kHeaderBytes, path_) != stored_.size()) {
    throw Error(ErrorCode::kIncomplete, "the stream ends within a block")
        .in_file(path_)
        .at(next_offset_);
  }
  block_.resize(header.decoded);
  std::size_t length = block_.size();
  const BrotliDecoderResult result =
      BrotliDecoderDecompress(stored_.size(), reinterpret_cast<const std::uint8_t*>(stored_.data()),
                              &length, reinterpret_cast<std::uint8_t*>(block_.data()));
  if (result != BROTLI_DECODER_RESULT_SUCCESS || length != block_.size()) {
    throw Error(ErrorCode::kDamaged, "a block does not decode to the length it claims")
        .in_file(path_)
        .at(next_offset_);
  }
  block_offset_ = next_offset_;
  next_offset_ += kHeaderBytes + header.stored;
  used_ = 0;
}

bool BlockStream::next_block() {
  BlockHeader header;
  while (read_header(header)) {
    decoded_before_ += block_.size();
    block_.clear();
    used_ = 0;
    decode(header);
    if (!block_.empty()) {
      return true;
    }
  }
  return false;
}

bool BlockStream::at_end() {
  return used_ == block_.size() && !next_block();
}

std::span<const std::byte> BlockStream::buffer() {
  if (at_end()) {
    return {};
  }
  return std::span(block_).subspan(used_);
}

void BlockStream::skip(std::uint64_t count) {
  while (count > 0) {
    const std::uint64_t here = std::min<std::uint64_t>(count, block_.size() - used_);
    used_ += here;
    count -= here;
    if (count == 0) {
      return;
    }
    BlockHeader header;
    if (!read_header(header)) {
      throw Error(ErrorCode::kIncomplete, "the stream ends before the place that is looked for")
          .in_file(path_)
          .at(next_offset_);
    }
    decoded_before_ += block_.size();
    block_.clear();
    used_ = 0;
    if (header.decoded <= count) {
      count -= header.decoded;
      decoded_before_ += header.decoded;
      block_offset_ = next_offset_;
      next_offset_ += kHeaderBytes + header.stored;
    } else {
      decode(header);
    }
  }
}

std::size_t BlockStream::read(std::span<std::byte> out) {
  std::size_t done = 0;
  while (done < out.size()) {
    const std::span<const std::byte> here = buffer();
    if (here.empty()) {
      break;
    }
    const std::size_t count = std::min(here.size(), out.size() - done);
    std::memcpy(out.data() + done, here.data(), count);
    used_ += count;
    done += count;
  }
  return done;
}

StreamPosition BlockStream::position() {
  StreamPosition place;
  place.decoded_offset = decoded_before_ + used_;
  if (used_ == block_.size()) {
    place.block_offset = next_offset_;
  } else {
    place.block_offset = block_offset_;
    place.offset_in_block = used_;
  }
  return place;
}

void BlockStream::seek(const StreamPosition& place) {
  if (place.block_offset > file_size_) {
    throw Error(ErrorCode::kDamaged, "a place beyond the end of the stream is asked for")
        .in_file(path_)
        .at(place.block_offset);
  }
  block_.clear();
  used_ = 0;
  next_offset_ = place.block_offset;
  block_offset_ = place.block_offset;
  decoded_before_ = place.decoded_offset - place.offset_in_block;
  if (place.offset_in_block == 0) {
    return;
  }
  BlockHeader header;
  if (!read_header(header) || place.offset_in_block > header.decoded) {
    throw Error(ErrorCode::kDamaged, "a place within a block that is too short is asked for")
        .in_file(path_)
        .at(place.block_offset);
  }
  decode(header);
  used_ = place.offset_in_block;
}

} // namespace rrpcp::compat
