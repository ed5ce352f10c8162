// Running pcp-capture and pcp-restore on the subject of the round-trip tests.
#pragma once

#include "process/subject_process.h"
#include "tools/run_command.h"

#include <string>
#include <sys/types.h>
#include <vector>

namespace rrpcp::test {

// Paths of the commands that are tested.
std::string capture_tool();
std::string restore_tool();
std::string validate_tool();

// pcp-capture of a process into `file` with more options, and pcp-restore of a file.
CommandResult capture(pid_t pid, const std::string& file, std::vector<std::string> options = {});
CommandResult restore(const std::string& file, std::vector<std::string> options = {});

// Command line by which an ordinary user runs `arguments`. Needs root.
std::vector<std::string> as_nobody(std::vector<std::string> arguments);

// Id of the process that traces `pid`; 0: none.
pid_t tracer_of(pid_t pid);
// Waits until somebody traces `pid`. Throws after two minutes.
void wait_until_traced(pid_t pid);
// The same, or until the child `tool`, which does that, has ended; it is not reaped.
void wait_until_traced_or_ended(pid_t pid, pid_t tool);
bool is_there(pid_t pid);

// Expects that the subject goes on to its end as if nothing had happened to it, untraced, with no
// child process that it has not made.
void expect_unharmed(SubjectProcess& subject, const std::string& kind);

} // namespace rrpcp::test
