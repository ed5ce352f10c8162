#include "abi/error.h"
#include "abi/header.h"
#include "rrpcp/store.h"

#include <algorithm>
#include <cstdint>
#include <deque>
#include <memory>
#include <vector>

using namespace rrpcp;
using namespace rrpcp::abi;

struct rrpcp_listing {
  std::vector<StoreEntry> entries;
  // By entry; those without a problem have none.
  std::vector<std::unique_ptr<rrpcp_error>> problems;
};

rrpcp_status rrpcp_list(const char* directory, rrpcp_listing** listing, rrpcp_error** error) {
  return guarded(error, [&] {
    require(directory, "the directory");
    auto result = std::make_unique<rrpcp_listing>();
    result->entries = Store(directory).list();
    for (const StoreEntry& entry : result->entries) {
      result->problems.push_back(
          entry.problem ? std::unique_ptr<rrpcp_error>(new rrpcp_error{*entry.problem}) : nullptr);
    }
    *listing = result.release();
  });
}

void rrpcp_listing_free(rrpcp_listing* listing) {
  delete listing;
}

size_t rrpcp_listing_count(const rrpcp_listing* listing) {
  return listing->entries.size();
}

const char* rrpcp_listing_path(const rrpcp_listing* listing, size_t index) {
  return index < listing->entries.size() ? listing->entries[index].path.c_str() : nullptr;
}

void rrpcp_listing_header(const rrpcp_listing* listing, size_t index, rrpcp_header* header,
                          size_t size) {
  if (index >= listing->entries.size()) {
    const rrpcp_header none = {};
    fill(header, size, &none, sizeof none);
    return;
  }
  const StoreEntry& entry = listing->entries[index];
  Footer footer;
  if (entry.id) {
    footer.id = *entry.id;
  }
  fill_header(entry.header, &footer, entry.file_size, header, size);
}

const rrpcp_error* rrpcp_listing_problem(const rrpcp_listing* listing, size_t index) {
  return index < listing->problems.size() ? listing->problems[index].get() : nullptr;
}

size_t rrpcp_listing_choose(const rrpcp_listing* listing, int64_t event,
                            const uint8_t* trace_uuid) {
  Target target;
  target.event = event;
  if (trace_uuid != nullptr) {
    std::copy(trace_uuid, trace_uuid + target.trace.bytes.size(), target.trace.bytes.begin());
  }
  const StoreEntry* best = Store::choose_best(listing->entries, target);
  return best == nullptr ? SIZE_MAX : static_cast<size_t>(best - listing->entries.data());
}
