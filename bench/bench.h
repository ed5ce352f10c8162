// What all benchmarks share, and the benchmarks.
#pragma once

#include "report.h"
#include "subject_process.h"

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

namespace rrpcp::bench {

struct Bench {
  // A directory of its own, on the file system that is measured.
  std::string directory;
  unsigned rounds = 5;
  // CRIU's program, to be measured beside ours; empty: it is not.
  std::string criu;
  Report report;
  // Names of the parts that were asked for; empty: all.
  std::vector<std::string> parts;
  // Tells a person what goes on.
  std::function<void(const std::string&)> note;

  std::string file(const std::string& name) const { return directory + "/" + name; }
  bool wants(const std::string& part) const;
};

// The files that save_rows leaves for the other benchmarks of one size.
struct SavedFiles {
  std::string raw;
  std::string compressed; // profile "default"
  // Of the process whose size is given.
  std::uint64_t process_bytes = 0;
  std::vector<MemoryPiece> touched;
  std::uint64_t touched_bytes = 0;
};

// Each measures rows of the table in README.md and adds them to bench.report.
// Captures a process of `bytes`, also when no row of saving is asked for, and fills `files`.
void save_rows(Bench& bench, std::uint64_t bytes, SavedFiles& files);
void restore_rows(Bench& bench, const SavedFiles& files);
// Incremental captures of a process of its own.
void series_rows(Bench& bench, std::uint64_t bytes);
void validate_rows(Bench& bench, const SavedFiles& files);
// One row for each of several sizes.
void open_rows(Bench& bench, const SavedFiles& files);
void memory_rows(Bench& bench, const SavedFiles& files);
void list_rows(Bench& bench, unsigned checkpoints);

// What memory_rows starts in a process of its own: does `job` and prints the peak of the memory
// that this process had, in KiB.
int memory_probe(const std::vector<std::string>& arguments);

} // namespace rrpcp::bench
