// Running the subject of the round-trip tests.
#pragma once

#include "support/temp_dir.h"

#include <string>
#include <sys/types.h>
#include <vector>

namespace rrpcp::test {

// A process that runs `subject KIND` in a directory of its own. Killed and reaped at the end.
class SubjectProcess {
public:
  // Starts it and waits until it is ready. A subject that cannot run on this machine (exit 77) is
  // not there afterwards. With `as_nobody`, which needs root, an ordinary user runs it.
  SubjectProcess(const std::string& kind, const std::string& directory, bool as_nobody = false);
  ~SubjectProcess();
  SubjectProcess(const SubjectProcess&) = delete;
  SubjectProcess& operator=(const SubjectProcess&) = delete;

  bool there() const { return pid_ > 0; }
  pid_t pid() const { return pid_; }
  // Stops it by SIGSTOP and waits until all of its threads stand still.
  void stop();
  // Kills and reaps it.
  void kill();
  // Lets it come to its end and returns its report. Throws where it did not end well.
  std::string finish();

  // The files that a subject needs; an earlier subject's are removed.
  static void prepare(const std::string& directory);
  // Tells the subject of `directory`, whoever runs it, to go on.
  static void tell_to_go(const std::string& directory);
  // Takes back what tell_to_go did.
  static void tell_to_wait(const std::string& directory);
  // Waits for child `pid` and returns its status word; kills it after two minutes.
  static int wait_for_end(pid_t pid);
  // What an undisturbed run of the kind reports.
  static std::string undisturbed_result(const std::string& kind);

private:
  std::string directory_;
  pid_t pid_ = 0;
};

// The whole of a file.
std::string read_all(const std::string& path);

} // namespace rrpcp::test
