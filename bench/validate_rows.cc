// Validating a file, beside reading and hashing (and decompressing) the same bytes.

#include "baselines.h"
#include "bench.h"
#include "common/text.h"
#include "measure.h"
#include "rrpcp/error.h"
#include "rrpcp/reader.h"
#include "rrpcp/validate.h"

namespace rrpcp::bench {

namespace {

std::uint64_t validate(const std::string& path) {
  const std::uint64_t begin = now();
  const ValidationReport report = validate_file(path);
  const std::uint64_t taken = now() - begin;
  if (!report.valid()) {
    throw Error(ErrorCode::kDamaged, "the checkpoint is not valid").in_file(path);
  }
  return taken;
}

} // namespace

void validate_rows(Bench& bench, const SavedFiles& files) {
  if (!bench.wants("validate")) {
    return;
  }
  const std::string size = tools::human_size(files.process_bytes);
  for (const bool raw : {true, false}) {
    const std::string& path = raw ? files.raw : files.compressed;
    bench.note("validating " + size + (raw ? ", profile raw" : ", profile default"));
    const CheckpointReader reader = CheckpointReader::open(path);
    const auto medians = race(bench.rounds, 0,
                              {[&] { return std::vector<std::uint64_t>{hash_chunks(reader)}; },
                               [&] { return std::vector<std::uint64_t>{validate(path)}; }});
    bench.report.add({.what = raw ? "validate, raw" : "validate, default",
                      .size = size,
                      .figure = medians[1][0],
                      .bytes = reader.footer().page_count * reader.header().page_size,
                      .baseline_name = raw ? "pread + XXH3, all cores"
                                           : "pread + XXH3 + decompressing, all cores",
                      .baseline = medians[0][0],
                      .least_ratio = 0.8});
  }
}

} // namespace rrpcp::bench
