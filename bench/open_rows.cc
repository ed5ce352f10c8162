// Opening a checkpoint and listing its registers and mappings.

#include "baselines.h"
#include "bench.h"
#include "common/text.h"
#include "measure.h"
#include "rrpcp/error.h"
#include "rrpcp/reader.h"

#include <algorithm>

namespace rrpcp::bench {

namespace {

// Much cheaper than what else is measured: more rounds give a steadier median.
constexpr unsigned kRounds = 101;

std::uint64_t open_and_list(const std::string& path) {
  const std::uint64_t begin = now();
  const CheckpointReader reader = CheckpointReader::open(path);
  std::uint64_t seen = 0;
  for (auto task : reader.state().getTasks()) {
    for (auto set : task.getRegisters()) {
      for (std::uint8_t byte : set.getData()) {
        seen += byte;
      }
    }
  }
  for (auto space : reader.state().getAddressSpaces()) {
    for (auto mapping : space.getMappings()) {
      seen += mapping.getEnd() - mapping.getStart();
    }
  }
  const std::uint64_t taken = now() - begin;
  if (seen == 0) {
    throw Error(ErrorCode::kDamaged, "there are no registers and no mappings").in_file(path);
  }
  return taken;
}

} // namespace

void open_rows(Bench& bench, const SavedFiles& files) {
  if (!bench.wants("open")) {
    return;
  }
  const std::string size = tools::human_size(files.process_bytes);
  bench.note("opening " + size);
  const Section manifest =
      *CheckpointReader::open(files.raw).find_section(format::kSectionManifest);
  const auto medians = race(kRounds, 0,
                            {[&] {
                               return std::vector<std::uint64_t>{
                                   read_ends(files.raw, manifest.offset, manifest.length)};
                             },
                             [&] { return std::vector<std::uint64_t>{open_and_list(files.raw)}; }});
  bench.report.add({.what = "open, list registers and mappings",
                    .size = size,
                    .figure = medians[1][0],
                    .baseline_name = "reading header, footer and manifest",
                    .baseline = medians[0][0],
                    .most = 1'000'000});
}

} // namespace rrpcp::bench
