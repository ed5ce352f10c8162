// rr_round_trip FILE TRACE DIRECTORY: loads a checkpoint into the adapter's structure, saves that into
// DIRECTORY, and finds it there. Prints the path of what was saved. Reads the memory of both and
// compares it.

#include "PersistentCheckpoint.h"

#include <stdio.h>
#include <string.h>

#include <string>
#include <vector>

using namespace rr::pcp;

namespace {

bool same_memory(CheckpointFile& one, CheckpointFile& other, std::string* error) {
  const std::vector<AddressSpace>& spaces = one.checkpoint().address_spaces;
  std::vector<char> mine(1 << 20), theirs(1 << 20);
  for (size_t s = 0; s < spaces.size(); ++s) {
    for (const Mapping& mapping : spaces[s].mappings) {
      for (uint64_t at = mapping.start; at < mapping.end;) {
        size_t size = mine.size();
        if (size > mapping.end - at) {
          size = static_cast<size_t>(mapping.end - at);
        }
        std::string other_error;
        const bool read = one.read_memory(s, at, mine.data(), size, error);
        if (read != other.read_memory(s, at, theirs.data(), size, &other_error) ||
            (read && memcmp(mine.data(), theirs.data(), size) != 0)) {
          *error = "memory differs in a mapping at " + std::to_string(mapping.start) + " " +
                   *error + other_error;
          return false;
        }
        at += size;
      }
    }
  }
  return true;
}

} // namespace

int main(int argc, char** argv) {
  if (argc != 4) {
    fprintf(stderr, "usage: rr_round_trip FILE TRACE DIRECTORY\n");
    return 2;
  }
  std::string error;
  const auto fail = [&](const char* what) {
    fprintf(stderr, "%s: %s: %s\n", argv[1], what, error.c_str());
    return 1;
  };
  CheckpointFile first;
  if (!first.open(argv[1], argv[2], &error)) {
    return fail("cannot be loaded");
  }
  PersistentCheckpoint checkpoint = first.checkpoint();
  if (!digest_backing_files(&checkpoint, argv[2], &error)) {
    return fail("cannot be digested");
  }
  std::string path;
  if (!save(checkpoint, argv[3], first.page_source(), &path, &error)) {
    return fail("cannot be saved");
  }
  std::vector<Listed> listed;
  if (!list(argv[3], &listed, &error)) {
    return fail("cannot be listed");
  }
  const Listed* best = choose(listed, checkpoint.position.clone.time, checkpoint.trace.uuid);
  if (!best || best->event != checkpoint.position.clone.time || !best->problem.empty()) {
    return fail("is not found");
  }
  if (choose(listed, checkpoint.position.clone.time, Bytes(16, 1)) || choose(listed, -1, checkpoint.trace.uuid)) {
    return fail("another one is found");
  }
  CheckpointFile again;
  if (!again.open(path, argv[2], &error)) {
    return fail("cannot be loaded again");
  }
  if (!same_memory(first, again, &error)) {
    return fail("has other memory");
  }
  printf("%s\n", path.c_str());
  return 0;
}
