// Making the checkpoints of a recording, in one forward pass over a replay of it.
#pragma once

#include "rrpcp/export.h"
#include "rrpcp/writer.h"

#include <chrono>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>

namespace RRPCP_PUBLIC rrpcp {

struct CreationOptions {
  // A checkpoint at the first event at or after each multiple of so many events from `start` where
  // one can be taken. 0: not by events.
  std::int64_t event_interval = 0;
  // One about every so many milliseconds of replay, between events too. 0: not by time.
  std::chrono::milliseconds time_interval{0};
  // First and last event at which one may be taken; 0: that of the trace.
  std::int64_t start = 0;
  std::int64_t end = 0;
  WriterOptions writer = {};
  // Each checkpoint takes over the pages that the one before it has at the same addresses, until it
  // would need more than so many others (at most format::kMaxBases); then a full one begins the
  // next series (spec/series.md). 0: each is a full one.
  std::uint32_t max_bases = format::kDefaultMaxBases;
  // A full one is also made where reading the next would mean decoding more than so many times the
  // pages of a full one. 0: however many.
  std::uint32_t most_decoded = 2;
  bool ignore_checkpoints = false;
  // Compare the digests of memory that were recorded (RecordOptions::checksum_interval).
  bool verify = false;
  // Make no checkpoints: only replay, which compares.
  bool check_only = false;
  // Follow a trace that is still being recorded until its recorder has ended.
  bool follow = false;
  // Called now and then with the event that was reached and the last one.
  std::function<void(std::int64_t event, std::int64_t last)> progress = {};
  // Called with the path of each checkpoint.
  std::function<void(const std::string& path)> made = {};
  std::function<void(const std::string& warning)> warn = {};
};

struct CreationResult {
  std::uint64_t checkpoints = 0;
  // Of them, between two events.
  std::uint64_t between = 0;
  // Of them, that take over pages of others.
  std::uint64_t incremental = 0;
  // Bytes of their files.
  std::uint64_t bytes = 0;
  // Last event that was reached.
  std::int64_t reached = 0;
};

// Replays the trace once and makes checkpoints on the way. Those that are there already are kept;
// the pass starts from one of them where that saves something. Any number may do so at the same
// time. Throws Error: kInvalidArgument for a range that the trace does not have, and as
// ReplaySession and save_checkpoint do; the checkpoints that were made until then stay.
CreationResult create_checkpoints(const std::string& trace_directory,
                                  const CreationOptions& options);

} // namespace rrpcp
