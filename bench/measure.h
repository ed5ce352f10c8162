// Timing: contestants take turns, and medians are reported.
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

namespace rrpcp::bench {

// CLOCK_MONOTONIC, nanoseconds.
std::uint64_t now();

// Of an odd number of values the middle one, else the lower of the two in the middle.
std::uint64_t median(std::vector<std::uint64_t> values);

// One way to do a job. A run returns one or more figures, the same number each time.
using Contestant = std::function<std::vector<std::uint64_t>()>;

// Lets each contestant run once for practice and then `rounds` times, all of them in turn, so that
// what else the machine does hits all alike. Before each run `refresh` bytes of memory are touched
// and freed: a virtual machine's host may have taken back what the run before freed, and getting it
// again can cost seconds. Returns the medians: [contestant][figure].
std::vector<std::vector<std::uint64_t>> race(unsigned rounds, std::uint64_t refresh,
                                             const std::vector<Contestant>& contestants);

// Runs work(i, worker) for every i below `count` on as many threads as there are processors;
// `worker` is below processors().
void on_all_processors(std::uint64_t count,
                       const std::function<void(std::uint64_t, unsigned)>& work);
unsigned processors();

} // namespace rrpcp::bench
