#include "pcp-inspect/contents.h"

#include "common/json.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <memory>
#include <xxhash.h>

namespace rrpcp::tools {
namespace {

constexpr std::size_t kCacheBytes = 16u << 20;

struct FreeHash {
  void operator()(XXH3_state_t* state) const { XXH3_freeState(state); }
};

} // namespace

StreamPages::StreamPages(const CheckpointReader& reader) : reader_(reader) {
  const std::size_t chunk_bytes =
      std::size_t{reader.header().page_size} * reader.header().chunk_pages;
  capacity_ = std::max<std::size_t>(4, kCacheBytes / std::max<std::size_t>(chunk_bytes, 1));
}

std::span<const std::byte> StreamPages::pages(std::uint64_t page, std::uint64_t count) {
  const std::uint64_t page_size = reader_.header().page_size;
  const std::uint64_t chunk_pages = reader_.header().chunk_pages;
  if (page >= reader_.footer().page_count) {
    throw Error(ErrorCode::kDamaged, "a run refers to page " + std::to_string(page) +
                                         " of a page stream of " +
                                         std::to_string(reader_.footer().page_count))
        .in_file(reader_.name())
        .with_hint("run pcp-validate on the file for the whole story");
  }
  const std::uint64_t index = page / chunk_pages;
  const auto found = by_index_.find(index);
  if (found != by_index_.end()) {
    chunks_.splice(chunks_.begin(), chunks_, found->second);
  } else {
    Chunk chunk{index, std::vector<std::byte>(reader_.chunk(index).length)};
    reader_.read_chunk(index, chunk.bytes);
    if (chunks_.size() >= capacity_) {
      by_index_.erase(chunks_.back().index);
      chunks_.pop_back();
    }
    chunks_.push_front(std::move(chunk));
    by_index_[index] = chunks_.begin();
  }
  const std::span<const std::byte> bytes = chunks_.front().bytes;
  const std::uint64_t skip = page % chunk_pages * page_size;
  return bytes.subspan(skip, std::min(count, (bytes.size() - skip) / page_size) * page_size);
}

bool all_zero(std::span<const std::byte> bytes) {
  // A first zero byte, and every byte equal to the one before it.
  return bytes.empty() || (bytes[0] == std::byte{0} &&
                           std::memcmp(bytes.data(), bytes.data() + 1, bytes.size() - 1) == 0);
}

ContentDigest digest_contents(StreamPages& stream, const std::vector<Segment>& segments,
                              std::uint64_t page_size) {
  const std::unique_ptr<XXH3_state_t, FreeHash> hash(XXH3_createState());
  if (hash == nullptr) {
    throw std::bad_alloc();
  }
  XXH3_128bits_reset(hash.get());
  ContentDigest result;
  for (const Segment& segment : segments) {
    for (std::uint64_t done = 0; segment.source == Source::kStream && done < segment.pages;) {
      std::span<const std::byte> bytes = stream.pages(segment.first + done, segment.pages - done);
      for (; !bytes.empty(); bytes = bytes.subspan(page_size), ++done) {
        const auto page = bytes.first(page_size);
        if (all_zero(page)) {
          continue;
        }
        std::array<std::uint8_t, 8> number;
        for (std::size_t i = 0; i < number.size(); ++i) {
          number[i] = static_cast<std::uint8_t>((segment.page + done) >> (8 * i));
        }
        XXH3_128bits_update(hash.get(), number.data(), number.size());
        XXH3_128bits_update(hash.get(), page.data(), page.size());
        ++result.pages;
      }
    }
  }
  XXH128_canonical_t canonical;
  XXH128_canonicalFromHash(&canonical, XXH3_128bits_digest(hash.get()));
  result.digest = hex(std::span<const std::uint8_t>(canonical.digest));
  return result;
}

} // namespace rrpcp::tools
