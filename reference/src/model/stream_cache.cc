#include "model/stream_cache.h"

#include "rrpcp/error.h"

#include <algorithm>
#include <string>

namespace rrpcp {

namespace {

// Decoded chunks that are kept; 16 of the usual size are 4 MiB.
constexpr std::size_t kCachedChunks = 16;

} // namespace

std::span<const std::byte> StreamCache::chunk(const CheckpointReader& source, std::uint64_t index) {
  const auto found = std::find_if(chunks_.begin(), chunks_.end(), [&](const Chunk& chunk) {
    return chunk.source == &source && chunk.index == index;
  });
  if (found != chunks_.end()) {
    chunks_.splice(chunks_.begin(), chunks_, found);
    return found->bytes;
  }
  Chunk fresh{&source, index, {}};
  if (chunks_.size() >= kCachedChunks) {
    fresh.bytes = std::move(chunks_.back().bytes);
    chunks_.pop_back();
  }
  fresh.bytes.resize(source.chunk(index).length);
  source.read_chunk(index, fresh.bytes);
  chunks_.push_front(std::move(fresh));
  return chunks_.front().bytes;
}

std::span<const std::byte> StreamCache::pages(const CheckpointReader& source, std::uint64_t page,
                                              std::uint64_t count) {
  if (page >= source.footer().page_count) {
    throw Error(ErrorCode::kDamaged, "a run refers to page " + std::to_string(page) +
                                         " of a page stream of " +
                                         std::to_string(source.footer().page_count))
        .in_file(source.name())
        .with_hint("run pcp-validate on the file for the whole story");
  }
  const std::uint64_t page_size = source.header().page_size;
  const std::uint64_t chunk_pages = source.header().chunk_pages;
  const std::span<const std::byte> bytes = chunk(source, page / chunk_pages);
  const std::uint64_t skip = page % chunk_pages * page_size;
  return bytes.subspan(skip, std::min(count, (bytes.size() - skip) / page_size) * page_size);
}

} // namespace rrpcp
