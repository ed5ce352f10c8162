// Saving what changed, beside saving everything, and restoring from a series.

#include "baselines.h"
#include "bench.h"
#include "common/text.h"
#include "measure.h"
#include "process/remote_memory.h"
#include "rrpcp/error.h"
#include "rrpcp/process/capture.h"
#include "rrpcp/process/memory_watch.h"
#include "rrpcp/process/restore.h"
#include "rrpcp/reader.h"
#include "subject_process.h"

#include <cstring>
#include <filesystem>
#include <unistd.h>
#include <utility>

namespace rrpcp::bench {

namespace {

constexpr std::size_t kPageSize = 4096;
constexpr unsigned kDepth = 8;

std::vector<std::byte> read_memory(const SubjectProcess& subject) {
  std::vector<std::byte> bytes(subject.touched_bytes());
  process::RemoteMemory memory(subject.pid());
  std::size_t at = 0;
  for (const MemoryPiece& piece : subject.touched()) {
    memory.read(piece.address, std::span(bytes).subspan(at, piece.length));
    at += piece.length;
  }
  return bytes;
}

// The pages of `after` that differ, one after the other.
std::vector<std::byte> dirty_pages(const std::vector<std::byte>& before,
                                   const std::vector<std::byte>& after) {
  std::vector<std::byte> dirty;
  for (std::size_t at = 0; at < after.size(); at += kPageSize) {
    if (std::memcmp(&before[at], &after[at], kPageSize) != 0) {
      dirty.insert(dirty.end(), after.begin() + static_cast<std::ptrdiff_t>(at),
                   after.begin() + static_cast<std::ptrdiff_t>(at + kPageSize));
    }
  }
  return dirty;
}

// Captures of one process in a row, each taking over pages of the one before.
class Chain {
public:
  Chain(Bench& bench, const SubjectProcess& subject, Profile profile, std::string name)
      : bench_(bench), subject_(subject), profile_(profile), name_(std::move(name)) {}

  // A full one.
  CaptureResult begin() {
    path_.clear();
    return go_on();
  }
  CaptureResult go_on() {
    const CaptureOptions options{
        .profile = profile_, .base = path_, .max_bases = format::kMaxBases};
    path_ = bench_.file(name_ + std::to_string(count_++) + ".pcp");
    CaptureResult result = capture_process(subject_.pid(), path_, options, watch_);
    if (!watch_.problem().empty() && !std::exchange(told_, true)) {
      bench_.note("all memory is read: " + watch_.problem());
    }
    return result;
  }
  const std::string& path() const { return path_; }
  void remove() {
    for (; count_ > 0; --count_) {
      std::filesystem::remove(bench_.file(name_ + std::to_string(count_ - 1) + ".pcp"));
    }
  }

private:
  Bench& bench_;
  const SubjectProcess& subject_;
  const Profile profile_;
  const std::string name_;
  MemoryWatch watch_;
  std::string path_;
  unsigned count_ = 0;
  bool told_ = false;
};

void save(Bench& bench, SubjectProcess& subject, const std::string& size) {
  bench.note("saving 1 % of " + size + ", profile raw");
  Chain chain(bench, subject, Profile::kRaw, "series-raw-");
  chain.begin();
  const std::string full = bench.file("full.pcp");
  const auto figures = [](const CaptureResult& result) {
    return std::vector<std::uint64_t>{result.written_nanoseconds, result.frozen_nanoseconds};
  };
  const auto raw =
      race(bench.rounds, subject.touched_bytes(),
           {[&] {
              std::filesystem::remove(full);
              ::sync();
              return figures(capture_process(subject.pid(), full, {.profile = Profile::kRaw}));
            },
            [&] {
              subject.write_a_hundredth();
              ::sync();
              return figures(chain.go_on());
            }});
  std::filesystem::remove(full);
  chain.remove();
  bench.report.add({.what = "save of 1 %, raw",
                    .size = size,
                    .figure = raw[1][0],
                    .baseline_name = "a twentieth of a full one",
                    .baseline = raw[0][0] / 20,
                    .least_ratio = 1});
  const auto floor =
      race(bench.rounds, 0,
           {[&] { return std::vector<std::uint64_t>{read_mapping_files(subject.pid())}; }});
  bench.report.add({.what = "reading what the mappings are alone",
                    .size = size,
                    .figure = floor[0][0],
                    .baseline_name = "the whole save of 1 %",
                    .baseline = raw[1][0]});
  bench.report.add({.what = "save of 1 %, raw: process frozen",
                    .size = size,
                    .figure = raw[1][1],
                    .baseline_name = "a quarter of that of a full one",
                    .baseline = raw[0][1] / 4,
                    .least_ratio = 1});
}

void restore(Bench& bench, SubjectProcess& subject, const std::string& size, Profile profile) {
  const bool lazy = profile == Profile::kRaw;
  const std::string name(profile_name(profile));
  bench.note("saving a series of " + size + ", profile " + name);
  Chain chain(bench, subject, profile, "series-" + name + "-");
  chain.begin();
  for (unsigned i = 0; i < kDepth; ++i) {
    const std::vector<std::byte> before =
        i == 0 && !lazy ? read_memory(subject) : std::vector<std::byte>{};
    subject.write_a_hundredth();
    const CaptureResult result = chain.go_on();
    if (!before.empty()) {
      bench.report.add(
          {.what = "file of 1 %, " + name,
           .size = size,
           .unit = Unit::kBytes,
           .figure = result.file_bytes,
           .baseline_name = "the pages that changed, compressed, and a tenth",
           .baseline = compressed_bytes(dirty_pages(before, read_memory(subject))) * 11 / 10,
           .least_ratio = 1});
    }
  }
  const std::string full = bench.file("full.pcp");
  capture_process(subject.pid(), full, {.profile = profile});
  std::string full_digest, series_digest;
  const auto times = race(bench.rounds, subject.touched_bytes(),
                          {[&] {
                             return std::vector<std::uint64_t>{
                                 timed_restore(full, lazy, subject.touched(), full_digest)};
                           },
                           [&] {
                             return std::vector<std::uint64_t>{timed_restore(
                                 chain.path(), lazy, subject.touched(), series_digest)};
                           }});
  if (full_digest != series_digest) {
    throw Error(ErrorCode::kInternal, "a series restores other memory than a full checkpoint");
  }
  bench.report.add({.what = "restore from depth " + std::to_string(kDepth) + ", " + name +
                            (lazy ? ", lazy" : ""),
                    .size = size,
                    .figure = times[1][0],
                    .baseline_name = "one and a half times a full one",
                    .baseline = times[0][0] * 3 / 2,
                    .least_ratio = 1});
  if (lazy) {
    const CheckpointReader whole = CheckpointReader::open(full);
    const CheckpointReader last = CheckpointReader::open(chain.path());
    std::uint64_t pages = last.footer().page_count;
    for (std::size_t i = 1; i < last.base_count(); ++i) { // but for the first, the full one
      pages += last.base(i).footer().page_count;
    }
    const auto floor =
        race(bench.rounds, subject.touched_bytes(),
             {[&] { return std::vector<std::uint64_t>{copy_over_mapped(whole, pages)}; }});
    bench.report.add({.what = "copying " + std::to_string(pages) + " pages over a file alone",
                      .size = size,
                      .figure = floor[0][0],
                      .baseline_name = "the whole restore from depth " + std::to_string(kDepth),
                      .baseline = times[1][0]});
    const auto least = race(
        bench.rounds, subject.touched_bytes(),
        {[&] { return std::vector<std::uint64_t>{touch_new_pages(whole.file_size(), pages)}; }});
    bench.report.add({.what = "touching " + std::to_string(pages) + " new pages alone",
                      .size = size,
                      .figure = least[0][0],
                      .baseline_name = "the whole restore from depth " + std::to_string(kDepth),
                      .baseline = times[1][0]});
  }
  std::filesystem::remove(full);
  chain.remove();
}

} // namespace

void series_rows(Bench& bench, std::uint64_t bytes) {
  if (!bench.wants("series")) {
    return;
  }
  const std::string size = tools::human_size(bytes);
  bench.note("starting a process of " + size);
  SubjectProcess subject(bytes, bench.directory);
  save(bench, subject, size);
  restore(bench, subject, size, Profile::kRaw);
  restore(bench, subject, size, Profile::kDefault);
}

} // namespace rrpcp::bench
