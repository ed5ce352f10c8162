// Where traces lie and what their directories are called.
#pragma once

#include "rrpcp/export.h"

#include <string>
#include <string_view>
#include <vector>

namespace RRPCP_PUBLIC rrpcp {

// Name of the link to the newest trace of a root.
inline constexpr std::string_view kLatestTraceName = "latest-trace";

// The directory that holds traces: $_PCP_RR_TRACE_DIR, else $XDG_DATA_HOME/pcp-rr, else
// $HOME/.local/share/pcp-rr. It need not exist. Throws Error(kNotFound) where none of the variables
// is set.
std::string trace_root();

// Makes the directory `root`/NAME-N for a new trace, and `root` itself where it is missing. NAME is
// the last component of `program`, N the lowest number above those in use (from 0). Several
// recorders at once get different ones: mkdir(2) is the lock. Only the owner and the group can
// enter it, by the umask. Returns the path. Throws Error (kPermission, kNoSpace, kSystem).
std::string make_trace_directory(const std::string& root, std::string_view program);

// Makes the directory of a new trace at a path of the user's choice. One that exists must be empty:
// else Error(kExists).
void make_trace_directory_at(const std::string& path);

// Lets the link "latest-trace" beside `directory` name it; at every instant the link names one
// trace or the other. Throws Error, kExists where something that is no link has that name.
void set_latest_trace(const std::string& directory);

// The directory of the trace that a user names: nothing means "latest-trace" of trace_root(); a
// name with a slash is a path; another one is looked for in trace_root(), then taken as a path.
// The directory need not exist.
std::string find_trace(const std::string& name);

// Whether the directory has the event stream of a trace of pcp-rr.
bool is_pcp_trace(const std::string& directory);

// Names of the traces in `root`, ordered by program, then number. Empty where `root` is missing.
// Throws Error where it cannot be read.
std::vector<std::string> list_traces(const std::string& root);

} // namespace rrpcp
