// Reading the small text and binary files of proc(5).
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <sys/types.h>
#include <vector>

namespace rrpcp::process {

// "/proc/PID/NAME", or "/proc/PID/task/TID/NAME".
std::string proc_path(pid_t pid, std::string_view name);
std::string proc_task_path(pid_t pid, pid_t tid, std::string_view name);

// All of a file whose length stat(2) does not tell; nothing where the file or the process is gone.
// Throws Error for every other failure.
std::optional<std::string> try_read_file(const std::string& path);
// The same; throws kProcessGone where it is gone.
std::string read_proc_file(const std::string& path);

// Where a symbolic link points; nothing where it or the process is gone. Throws Error.
std::optional<std::string> try_read_link(const std::string& path);

// Numeric entries of a directory (process, thread and descriptor numbers), in ascending order;
// nothing where the directory is gone.
std::optional<std::vector<int>> try_list_numbers(const std::string& path);

// Cuts the text before the next `separator` off the front of `text`; all of it where there is none.
std::string_view cut_field(std::string_view& text, char separator);
// The same for fields divided by any number of blanks and tabs.
std::string_view cut_word(std::string_view& text);
// Parses a whole field. Throws Error(kInternal) naming `what` for anything that is no number.
std::uint64_t parse_number(std::string_view text, int base, std::string_view what);
std::int64_t parse_signed(std::string_view text, std::string_view what);

} // namespace rrpcp::process
