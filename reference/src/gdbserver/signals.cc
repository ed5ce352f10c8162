#include "gdbserver/signals.h"

#include <array>
#include <csignal>

namespace rrpcp::gdbserver {

namespace {

struct Pair {
  int linux_signal;
  int protocol_signal;
};

constexpr int kUnknown = 143;
constexpr std::array<Pair, 34> kPairs = {{
    {0, 0},          {SIGHUP, 1},           {SIGINT, 2},    {SIGQUIT, 3},  {SIGILL, 4},
    {SIGTRAP, 5},    {SIGABRT, 6},          {SIGFPE, 8},    {SIGKILL, 9},  {SIGBUS, 10},
    {SIGSEGV, 11},   {SIGSYS, 12},          {SIGPIPE, 13},  {SIGALRM, 14}, {SIGTERM, 15},
    {SIGURG, 16},    {SIGSTOP, 17},         {SIGTSTP, 18},  {SIGCONT, 19}, {SIGCHLD, 20},
    {SIGTTIN, 21},   {SIGTTOU, 22},         {SIGIO, 23},    {SIGXCPU, 24}, {SIGXFSZ, 25},
    {SIGVTALRM, 26}, {SIGPROF, 27},         {SIGWINCH, 28}, {SIGUSR1, 30}, {SIGUSR2, 31},
    {SIGPWR, 32},    {SIGSTKFLT, kUnknown}, {32, 77},       {64, 78},
}};

} // namespace

int to_protocol_signal(int linux_signal) {
  for (const Pair& pair : kPairs) {
    if (pair.linux_signal == linux_signal) {
      return pair.protocol_signal;
    }
  }
  return linux_signal >= 33 && linux_signal <= 63 ? linux_signal + 12 : kUnknown; // real-time ones
}

int from_protocol_signal(int protocol_signal) {
  for (const Pair& pair : kPairs) {
    if (pair.protocol_signal == protocol_signal) {
      return pair.linux_signal;
    }
  }
  return protocol_signal >= 45 && protocol_signal <= 75 ? protocol_signal - 12 : 0;
}

} // namespace rrpcp::gdbserver
