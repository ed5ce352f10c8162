// What a checkpoint needs of the file system.
#pragma once

#include "rrpcp/memory_view.h"
#include "rrpcp/schema/state.capnp.h"

#include <map>
#include <string>
#include <vector>

namespace rrpcp {

struct NeededFiles {
  struct File {
    std::string source;   // where it is now
    std::string build_id; // hexadecimal digits; empty: none
  };
  // By the path that the checkpoint names.
  std::map<std::string, File> files;
  std::map<std::string, std::string> directories; // to where it is now
  // What cannot be put into an archive or is not there.
  std::vector<std::string> remarks;
};

// Adds what `state` needs to `needed`. A file that is missing or another one is a remark with
// `allow_missing`, else throws Error(kBackingFile). Files of a trace are not among them.
void add_needed_files(schema::State::Reader state, const BackingFiles& files, bool allow_missing,
                      NeededFiles& needed);

} // namespace rrpcp
