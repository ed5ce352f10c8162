// Saving a process, beside a plain copy of its memory and plain zstd.

#include "baselines.h"
#include "bench.h"
#include "common/text.h"
#include "measure.h"
#include "rrpcp/process/capture.h"
#include "rrpcp/reader.h"
#include "subject_process.h"

#include <chrono>
#include <csignal>
#include <filesystem>
#include <thread>
#include <unistd.h>

namespace rrpcp::bench {

namespace {

// What a run before left must be on the disk and out of the way.
void make_room(const std::string& path) {
  std::filesystem::remove(path);
  ::sync();
}

} // namespace

void save_rows(Bench& bench, std::uint64_t bytes, SavedFiles& files) {
  const std::string size = tools::human_size(bytes);
  bench.note("starting a process of " + size);
  const SubjectProcess subject(bytes, bench.directory);
  files.raw = bench.file("raw.pcp");
  files.compressed = bench.file("default.pcp");
  files.process_bytes = bytes;
  files.touched = subject.touched();
  files.touched_bytes = subject.touched_bytes();
  if (!bench.wants("save")) {
    capture_process(subject.pid(), files.raw, {.profile = Profile::kRaw});
    capture_process(subject.pid(), files.compressed, {.profile = Profile::kDefault});
    return;
  }

  const std::string copy = bench.file("copy");
  // Figures: until everything is written, until it is synced, frozen.
  auto capture = [&](const std::string& path, Profile profile) {
    make_room(path);
    const CaptureResult result = capture_process(subject.pid(), path, {.profile = profile});
    return std::vector<std::uint64_t>{result.written_nanoseconds, result.total_nanoseconds,
                                      result.frozen_nanoseconds};
  };
  bench.note("saving " + size + ", profile raw");
  const auto raw = race(bench.rounds, files.touched_bytes,
                        {[&] {
                           make_room(copy);
                           // A capture has forked the process; the first reading of each page
                           // after that is slower, and must not count.
                           digest_of_memory(subject.pid(), subject.touched());
                           return copy_memory(subject.pid(), subject.touched(), copy);
                         },
                         [&] { return capture(files.raw, Profile::kRaw); }});
  make_room(copy);
  Row row{.what = "save, raw",
          .size = size,
          .figure = raw[1][0],
          .bytes = files.touched_bytes,
          .baseline_name = "process_vm_readv + pwrite",
          .baseline = raw[0][0],
          .least_ratio = 0.8};
  bench.report.add(row);
  row.what = "save, raw, synced to the disk";
  row.figure = raw[1][1];
  row.baseline = raw[0][1];
  row.baseline_name += " + fdatasync";
  row.least_ratio = 0;
  bench.report.add(row);
  if (!bench.criu.empty()) {
    const auto both =
        race(bench.rounds, files.touched_bytes,
             {[&] {
                make_room(copy);
                digest_of_memory(subject.pid(), subject.touched());
                return std::vector<std::uint64_t>{dump_by_criu(bench.criu, subject.pid(), copy)};
              },
              [&] { return capture(files.raw, Profile::kRaw); }});
    bench.report.add({.what = "save, raw, beside CRIU",
                      .size = size,
                      .figure = both[1][0],
                      .bytes = files.touched_bytes,
                      .baseline_name = "criu dump --leave-running",
                      .baseline = both[0][0],
                      .least_ratio = 1});
  }
  const pid_t twin = subject.make_copy();
  const auto floor =
      race(bench.rounds, 0,
           {[&] { return std::vector<std::uint64_t>{read_copy(twin, subject.touched())}; }});
  ::kill(twin, SIGKILL);
  while (::kill(twin, 0) == 0) { // a process with children is not captured
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  bench.report.add({.what = "reading a copy of the process alone",
                    .size = size,
                    .figure = floor[0][0],
                    .bytes = files.touched_bytes,
                    .baseline_name = "the whole save, raw",
                    .baseline = raw[1][0]});
  bench.report.add({.what = "save, raw: process frozen",
                    .size = size,
                    .figure = raw[1][2],
                    .baseline_name = "half of the time of the save",
                    .baseline = raw[1][0] / 2,
                    .least_ratio = 1});

  bench.note("saving " + size + ", profile default");
  const CheckpointReader reader = CheckpointReader::open(files.raw);
  const auto compressed = race(bench.rounds, files.touched_bytes,
                               {[&] { return std::vector<std::uint64_t>{compress_chunks(reader)}; },
                                [&] { return capture(files.compressed, Profile::kDefault); }});
  bench.report.add({.what = "save, default",
                    .size = size,
                    .figure = compressed[1][0],
                    .bytes = files.touched_bytes,
                    .baseline_name = "zstd -3 of the stored pages, in memory, all cores",
                    .baseline = compressed[0][0],
                    .least_ratio = 0.9});
}

} // namespace rrpcp::bench
