// What recording has to know of the code in a program's file.
#pragma once

#include "replay/buffer/call_sites.h"
#include "replay/engine/code_scanner.h"
#include "trace/file_cache.h"

#include <optional>
#include <vector>

namespace rrpcp::replay {

struct FileCode {
  bool elf = false;  // it is a program or a library
  ScannedCode found; // offsets in the file
  std::vector<buffer::CallSite> calls;
};

// What the cache has of a file that is one, and giving it that.
std::optional<FileCode> find_code(const trace::FileCache& cache, const trace::FileCache::Key& key);
void keep_code(const trace::FileCache& cache, const trace::FileCache::Key& key,
               const FileCode& code);

} // namespace rrpcp::replay
