#include "rrpcp/series.h"

#include "container/bases.h"
#include "container/kj_errors.h"
#include "rrpcp/page_run.h"

#include <algorithm>
#include <map>
#include <utility>

namespace rrpcp {

namespace {

// What writers use where the state does not say it yet.
std::uint64_t own_chunk_pages(schema::State::Reader state) {
  const schema::PageStream::Reader stream = state.getPageStream();
  const std::uint64_t usual =
      format::kDefaultChunkLength / std::max(stream.getPageSize(), format::kMinPageSize);
  return std::max<std::uint64_t>(stream.getChunkPages() != 0 ? stream.getChunkPages() : usual, 1);
}

} // namespace

SeriesCost series_cost(schema::State::Reader state) {
  // By stream (noIndex: the own one): pages that runs refer to.
  std::map<std::uint32_t, std::vector<std::pair<std::uint64_t, std::uint64_t>>> ranges;
  auto add = [&](capnp::List<schema::PageRun>::Reader runs) {
    for (const schema::PageRun::Reader run : runs) {
      if (is_of_stream(run.getKind())) {
        const bool base = run.getKind() == schema::RunKind::BASE;
        ranges[base ? run.getSource() : schema::NO_INDEX].emplace_back(
            run.getFirst(), run.getFirst() + run.getPages());
      }
    }
  };
  for (const schema::AddressSpace::Reader space : state.getAddressSpaces()) {
    for (const schema::Mapping::Reader mapping : space.getMappings()) {
      add(mapping.getRuns());
    }
  }
  for (const schema::MemoryObject::Reader object : state.getMemoryObjects()) {
    add(object.getRuns());
  }
  SeriesCost cost;
  for (auto& [source, list] : ranges) {
    const std::uint64_t chunk_pages = source == schema::NO_INDEX
                                          ? own_chunk_pages(state)
                                          : state.getBases()[source].getChunkPages();
    std::sort(list.begin(), list.end());
    // Where the stream ends; that of the own one is not in the state before it is finished.
    std::uint64_t stream_end =
        source == schema::NO_INDEX ? 0 : state.getBases()[source].getPageCount();
    for (const auto& [begin, end] : list) {
      stream_end = std::max(stream_end, end);
    }
    std::uint64_t next_page = 0;  // first page that was not counted yet
    std::uint64_t next_chunk = 0; // the same of chunks
    for (const auto& [begin, end] : list) {
      if (end <= next_page) {
        continue;
      }
      const std::uint64_t from = std::max(begin, next_page);
      cost.pages += end - from;
      cost.own_pages += source == schema::NO_INDEX ? end - from : 0;
      const std::uint64_t first = std::max(from / chunk_pages, next_chunk);
      const std::uint64_t last = (end - 1) / chunk_pages + 1;
      if (last > first) {
        cost.decoded_pages += std::min(last * chunk_pages, stream_end) - first * chunk_pages;
      }
      next_page = end;
      next_chunk = std::max(next_chunk, last);
    }
  }
  return cost;
}

std::vector<CheckpointId> base_ids(const CheckpointReader& checkpoint) {
  std::vector<CheckpointId> ids;
  if (checkpoint.base_count() == 0) {
    return ids;
  }
  return with_kj_errors(checkpoint.name(), [&] {
    for (const schema::BaseCheckpoint::Reader base : checkpoint.state().getBases()) {
      ids.push_back(base_reference(base, checkpoint.name()).id);
    }
    return std::move(ids);
  });
}

} // namespace rrpcp
