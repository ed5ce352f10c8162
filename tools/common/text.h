// Numbers and foreign text, for people.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace rrpcp::tools {

// Whether `bytes` is well-formed UTF-8 (RFC 3629: no overlong forms, no surrogates).
bool is_utf8(std::string_view bytes);

// `bytes` made safe for a terminal and a single line: control characters and bytes that are not
// UTF-8 as \xNN, a backslash as two.
std::string printable(std::string_view bytes);

// "0 B", "17 B", "4.0 KiB", "1.5 GiB": bytes in units of 1024, two digits at least.
std::string human_size(std::uint64_t bytes);
// "850 ns", "12.5 us", "3.40 ms", "12.0 s", "3 min 20 s", "2 h 5 min".
std::string human_duration(std::uint64_t nanoseconds);
// "0.0 %" to "100.0 %"; "-" where `whole` is 0.
std::string human_percent(std::uint64_t part, std::uint64_t whole);
// UTC, as "2025-07-01 12:00:00 UTC"; "not recorded" for 0.
std::string human_time(std::int64_t nanoseconds_since_epoch);
// "1 page", "3 pages": `plural` is used for every count but 1.
std::string human_count(std::uint64_t count, std::string_view singular, std::string_view plural);

// An unsigned number: decimal, or hexadecimal after 0x. Throws UsageError naming `what` for
// anything else and for values above `maximum`.
std::uint64_t parse_number(std::string_view text, std::string_view what,
                           std::uint64_t maximum = UINT64_MAX);
// The same with an optional suffix K, M, G, T (powers of 1024, "KiB" and so on too): bytes.
std::uint64_t parse_size(std::string_view text, std::string_view what,
                         std::uint64_t maximum = UINT64_MAX);

// "a,b,c" → a, b, c; empty parts are left out.
std::vector<std::string> split_list(std::string_view text, char separator = ',');

// The closest of `candidates` to a mistyped `word`, or empty where none is close.
std::string closest(std::string_view word, const std::vector<std::string>& candidates);

} // namespace rrpcp::tools
