// Work in another thread: its order, its results, and when it is waited for.

#include "base/background.h"

#include <csignal>
#include <future>
#include <gtest/gtest.h>
#include <memory>
#include <pthread.h>
#include <sched.h>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

namespace rrpcp {
namespace {

cpu_set_t own_processors() {
  cpu_set_t processors;
  CPU_ZERO(&processors);
  EXPECT_EQ(::sched_getaffinity(0, sizeof processors, &processors), 0);
  return processors;
}

TEST(Background, DoesWorkInOrderAndGivesResults) {
  std::vector<int> done; // by the other thread alone, until that has ended
  std::vector<std::future<int>> results;
  {
    Background background(own_processors());
    for (int i = 0; i < 1000; ++i) {
      results.push_back(background.run([&done, i] {
        done.push_back(i);
        return i * i;
      }));
      if (i % 100 == 0) { // also where it has nothing to do meanwhile
        results.back().wait();
      }
    }
    EXPECT_EQ(results[10].get(), 100);
  }
  ASSERT_EQ(done.size(), 1000u);
  for (int i = 0; i < 1000; ++i) {
    EXPECT_EQ(done[static_cast<std::size_t>(i)], i);
  }
  EXPECT_EQ(results[999].get(), 999 * 999);
}

TEST(Background, WhatIsWrittenBeforeIsSeenAndWhatIsWrittenThereToo) {
  Background background(own_processors());
  std::string text;
  for (int i = 0; i < 200; ++i) {
    text += "a";
    background.run([&text] { text += "b"; }).get();
  }
  EXPECT_EQ(text.size(), 400u);
  EXPECT_EQ(text.substr(396), "abab");
}

TEST(Background, FailureComesByTheFutureAndWorkGoesOn) {
  Background background(own_processors());
  std::future<int> failing = background.run([]() -> int { throw std::runtime_error("no"); });
  std::future<int> next = background.run([] { return 7; });
  EXPECT_EQ(next.get(), 7);
  EXPECT_THROW(failing.get(), std::runtime_error);
}

// Else work that holds what keeps its future would keep itself for ever.
TEST(Background, WhatWorkHoldsIsLetGoWithItAndNotWithItsFuture) {
  const auto held = std::make_shared<int>(7);
  Background background(own_processors());
  std::future<int> result = background.run([held] { return *held; });
  result.wait();
  EXPECT_EQ(held.use_count(), 1);
  EXPECT_EQ(result.get(), 7);
}

TEST(Background, TakesNoSignalsAndIsAnotherThread) {
  Background background(own_processors());
  sigset_t mask;
  ::sigemptyset(&mask);
  const std::thread::id thread = background
                                     .run([&mask] {
                                       ::pthread_sigmask(SIG_SETMASK, nullptr, &mask);
                                       return std::this_thread::get_id();
                                     })
                                     .get();
  EXPECT_NE(thread, std::this_thread::get_id());
  for (int signal : {SIGINT, SIGTERM, SIGCHLD, SIGUSR1}) {
    EXPECT_EQ(::sigismember(&mask, signal), 1) << signal;
  }
  sigset_t own;
  ::pthread_sigmask(SIG_SETMASK, nullptr, &own);
  EXPECT_EQ(::sigismember(&own, SIGUSR1), 0);
}

TEST(Background, NobodyGivesWork) {
  Background background(own_processors());
}

} // namespace
} // namespace rrpcp
