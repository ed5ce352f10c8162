#include "rrpcp/interop/stream_pages.h"

#include "rrpcp/error.h"

#include <algorithm>
#include <string>

namespace rrpcp {
namespace {

constexpr std::size_t kCacheBytes = 16u << 20;

} // namespace

StreamPages::StreamPages(const CheckpointReader& reader) : reader_(reader) {
  const std::size_t chunk_bytes =
      std::size_t{reader.header().page_size} * reader.header().chunk_pages;
  capacity_ = std::max<std::size_t>(4, kCacheBytes / std::max<std::size_t>(chunk_bytes, 1));
}

std::span<const std::byte> StreamPages::pages(std::uint32_t base, std::uint64_t page,
                                              std::uint64_t count) {
  const CheckpointReader& reader = base == schema::NO_INDEX ? reader_ : reader_.base(base);
  const std::uint64_t page_size = reader.header().page_size;
  const std::uint64_t chunk_pages = reader.header().chunk_pages;
  if (page >= reader.footer().page_count) {
    throw Error(ErrorCode::kDamaged, "a run refers to page " + std::to_string(page) +
                                         " of a page stream of " +
                                         std::to_string(reader.footer().page_count))
        .in_file(reader.name())
        .with_hint("run pcp-validate on the file for the whole story");
  }
  const std::uint64_t index = page / chunk_pages;
  const Key key(base, index);
  const auto found = by_key_.find(key);
  if (found != by_key_.end()) {
    chunks_.splice(chunks_.begin(), chunks_, found->second);
  } else {
    Chunk chunk{key, std::vector<std::byte>(reader.chunk(index).length)};
    reader.read_chunk(index, chunk.bytes);
    if (chunks_.size() >= capacity_) {
      by_key_.erase(chunks_.back().key);
      chunks_.pop_back();
    }
    chunks_.push_front(std::move(chunk));
    by_key_[key] = chunks_.begin();
  }
  const std::span<const std::byte> bytes = chunks_.front().bytes;
  const std::uint64_t skip = page % chunk_pages * page_size;
  return bytes.subspan(skip, std::min(count, (bytes.size() - skip) / page_size) * page_size);
}

} // namespace rrpcp
