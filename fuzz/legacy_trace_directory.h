// A trace directory whose files a fuzz target replaces.
#pragma once

#include <cstdint>
#include <span>
#include <string>

namespace rrpcp::fuzz {

// A temporary trace of an x86-64 machine with empty streams, in memory where the system has a
// directory there; removed at the end of the process.
class TraceDirectory {
public:
  TraceDirectory();
  TraceDirectory(const TraceDirectory&) = delete;
  TraceDirectory& operator=(const TraceDirectory&) = delete;
  ~TraceDirectory();

  const std::string& path() const { return path_; }
  // Writes a file of the trace; its directory is made if need be.
  void write(const std::string& name, std::span<const std::uint8_t> bytes) const;
  void write(const std::string& name, const std::string& text) const;

private:
  std::string path_;
};

// Finds every checkpoint of the trace, reads it, and imports what can be imported to nowhere. What
// goes wrong must be an Error.
void import_all(const std::string& trace);

} // namespace rrpcp::fuzz
