// Standing in for a process that runs in our place: signals, terminal, exit status.
#pragma once

#include <csignal>
#include <sys/types.h>
#include <termios.h>

namespace rrpcp::tools {

// Runs a child, which was restored, as if it had been started in place of this process: passes on
// signals that this process gets, lends it the terminal, stops and goes on with it.
class Foreground {
public:
  // Blocks the signals concerned in the calling thread, the only one. From now on nothing gets
  // lost: what arrives before run() is passed on by it.
  Foreground();
  Foreground(const Foreground&) = delete;
  Foreground& operator=(const Foreground&) = delete;
  ~Foreground();

  // Waits for the end of `child`, which runs already, and returns its status word (waitpid(2)).
  int run(pid_t child);

  // Ends this process as the child ended: with its exit code, or by its signal (without a second
  // core dump).
  [[noreturn]] static void end_like(int status);

private:
  void pass_on(pid_t child, const siginfo_t& signal);
  void lend_terminal(pid_t group);
  void take_terminal_back();
  void stop_with(pid_t child);

  sigset_t signals_;
  sigset_t before_;
  int terminal_ = -1; // whose foreground was lent; -1: none
};

// Remembers the attributes of our terminal, if we have one as 0, 1 or 2, and puts them back in the
// end: a restored program gets its own there, and cannot know ours.
class KeptTerminal {
public:
  KeptTerminal();
  KeptTerminal(const KeptTerminal&) = delete;
  KeptTerminal& operator=(const KeptTerminal&) = delete;
  ~KeptTerminal();

private:
  int fd_ = -1;
  termios attributes_{};
};

} // namespace rrpcp::tools
