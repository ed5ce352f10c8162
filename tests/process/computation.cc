// A compiled program with many threads, as people write them: a computation in rounds, with a
// barrier between them, whose result depends on every step. Usage: computation THREADS ROUNDS
//
// Prints a line after every tenth of the rounds. Built without sanitizers, as subject.cc.

#include <barrier>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <string>
#include <thread>
#include <vector>

namespace {

struct Shared {
  std::vector<std::uint64_t> state;
  std::vector<double> sums;
  std::map<std::string, std::uint64_t> history; // of thread 0
};

constexpr std::size_t kWords = 20'000; // of each thread

std::uint64_t mix(std::uint64_t x) {
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9;
  x = (x ^ (x >> 27)) * 0x94d049bb133111eb;
  return x ^ (x >> 31);
}

[[gnu::noinline]] void compute(Shared& shared, std::size_t number, std::size_t threads,
                               std::size_t rounds, std::barrier<>& barrier) {
  for (std::size_t round = 0; round < rounds; ++round) {
    // Reads a neighbour's part of the last round, writes its own.
    const std::size_t from = (number + round) % threads * kWords;
    std::uint64_t digest = round;
    double sum = shared.sums[number];
    for (std::size_t i = 0; i < kWords; ++i) {
      digest = mix(digest + shared.state[from + i]);
      sum = std::fma(sum, 0.999, static_cast<double>(digest >> 40));
    }
    barrier.arrive_and_wait();
    for (std::size_t i = number * kWords; i < (number + 1) * kWords; ++i) {
      shared.state[i] ^= digest += i;
    }
    shared.sums[number] = sum;
    if (number == 0) {
      shared.history["round " + std::to_string(round)] = digest;
      if (round % (rounds / 10 + 1) == 0) {
        std::printf("%zu %016llx\n", round, static_cast<unsigned long long>(digest));
      }
    }
    barrier.arrive_and_wait();
  }
}

} // namespace

int main(int argc, char** argv) {
  if (argc != 3) {
    return 2;
  }
  const std::size_t count = std::strtoul(argv[1], nullptr, 10);
  const std::size_t rounds = std::strtoul(argv[2], nullptr, 10);
  Shared shared;
  shared.state.resize(count * kWords);
  shared.sums.resize(count);
  for (std::size_t i = 0; i < shared.state.size(); ++i) {
    shared.state[i] = mix(i);
  }
  std::barrier barrier(static_cast<std::ptrdiff_t>(count));
  std::vector<std::thread> threads;
  for (std::size_t i = 0; i < count; ++i) {
    threads.emplace_back([&, i] { compute(shared, i, count, rounds, barrier); });
  }
  for (std::thread& thread : threads) {
    thread.join();
  }
  std::uint64_t all = 0;
  for (const auto& [name, digest] : shared.history) {
    all = mix(all ^ digest ^ name.size());
  }
  for (double sum : shared.sums) {
    std::printf("%.17g\n", sum);
  }
  std::printf("%zu rounds, %016llx\ndone\n", shared.history.size(),
              static_cast<unsigned long long>(all));
  return 0;
}
