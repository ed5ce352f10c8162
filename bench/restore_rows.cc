// Restoring a process, beside mapping the file's pieces and beside decompressing its chunks.

#include "baselines.h"
#include "bench.h"
#include "common/text.h"
#include "measure.h"
#include "rrpcp/error.h"
#include "rrpcp/process/restore.h"
#include "rrpcp/reader.h"
#include "subject_process.h"

#include <fstream>

namespace rrpcp::bench {

namespace {

struct Runs {
  std::uint64_t count = 0;
  std::uint64_t of_stream = 0;
};

// Writes the list of pieces for map_in_new_process: what a raw checkpoint holds of private memory,
// run by run.
Runs write_pieces(const CheckpointReader& raw, const std::string& path) {
  const std::uint64_t page_size = raw.header().page_size;
  const std::uint64_t start = raw.chunk(0).offset;
  Runs runs;
  std::ofstream list(path);
  for (auto mapping : raw.state().getAddressSpaces()[0].getMappings()) {
    std::uint64_t address = mapping.getStart();
    for (auto run : mapping.getRuns()) {
      ++runs.count;
      const std::uint64_t length = run.getPages() * page_size;
      if (run.getKind() == schema::RunKind::STREAM) {
        list << address << ' ' << start + run.getFirst() * page_size << ' ' << length << '\n';
        ++runs.of_stream;
      }
      address += length;
    }
  }
  return runs;
}

} // namespace

void restore_rows(Bench& bench, const SavedFiles& files) {
  if (!bench.wants("restore")) {
    return;
  }
  const std::string size = tools::human_size(files.process_bytes);
  const CheckpointReader raw = CheckpointReader::open(files.raw);
  const std::string list = bench.file("pieces");
  const Runs runs = write_pieces(raw, list);
  std::string raw_digest;
  std::string default_digest;

  bench.note("restoring " + size + ", profile raw");
  const auto lazy =
      race(bench.rounds, 0,
           {[&] { return std::vector<std::uint64_t>{map_in_new_process(files.raw, list)}; },
            [&] {
              return std::vector<std::uint64_t>{
                  timed_restore(files.raw, true, files.touched, raw_digest)};
            }});
  bench.report.add(
      {.what = "restore, raw, lazy (" + std::to_string(runs.count) + " runs)",
       .size = size,
       .figure = lazy[1][0],
       .baseline_name = "mmap of " + std::to_string(runs.of_stream) + " pieces in a new process",
       .baseline = lazy[0][0],
       .most = 10'000'000});

  bench.note("restoring " + size + ", profile raw, all of it");
  std::string copied_digest;
  const auto copied = race(bench.rounds, files.touched_bytes, {[&] {
                             return std::vector<std::uint64_t>{
                                 timed_restore(files.raw, false, files.touched, copied_digest)};
                           }});
  bench.report.add({.what = "restore, raw",
                    .size = size,
                    .figure = copied[0][0],
                    .bytes = files.touched_bytes,
                    .baseline_name = ""});
  if (raw_digest != copied_digest) {
    throw Error(ErrorCode::kInternal, "a lazy restore gives different memory");
  }

  bench.note("restoring " + size + ", profile default");
  const CheckpointReader compressed = CheckpointReader::open(files.compressed);
  const auto eager =
      race(bench.rounds, files.touched_bytes,
           {[&] { return std::vector<std::uint64_t>{decompress_chunks(compressed)}; },
            [&] { return std::vector<std::uint64_t>{decompress_into_new_memory(compressed)}; },
            [&] {
              return std::vector<std::uint64_t>{
                  timed_restore(files.compressed, false, files.touched, default_digest)};
            }});
  bench.report.add({.what = "restore, default",
                    .size = size,
                    .figure = eager[2][0],
                    .bytes = files.touched_bytes,
                    .baseline_name = "decompressing in memory, all cores",
                    .baseline = eager[0][0],
                    .least_ratio = 0.8});
  bench.report.add({.what = "decompressing into new memory alone",
                    .size = size,
                    .figure = eager[1][0],
                    .bytes = files.touched_bytes,
                    .baseline_name = "the whole restore, default",
                    .baseline = eager[2][0]});
  if (raw_digest != default_digest) {
    throw Error(ErrorCode::kInternal, "the two profiles restore different memory");
  }
}

} // namespace rrpcp::bench
