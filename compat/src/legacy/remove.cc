#include "base/file.h"
#include "legacy/index_file.h"
#include "legacy/machine.h"
#include "legacy/pending_directory.h"
#include "rrpcp/compat/legacy.h"
#include "rrpcp/store.h"

#include <algorithm>
#include <capnp/message.h>
#include <capnp/serialize-packed.h>
#include <cerrno>
#include <fcntl.h>
#include <optional>
#include <set>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

namespace rrpcp {

namespace {

using namespace compat;

constexpr std::uint64_t kMaxIndexFile = std::uint64_t{256} << 20;
constexpr std::string_view kCheckpointPrefix = "checkpoint-";

// The index without the entries at `positions`, packed. Root is the generation's type.
template <typename Root>
std::vector<std::byte> shortened(const IndexFile& index, const std::set<std::uint32_t>& positions) {
  const auto entries = index.message->getRoot<Root>().asReader().getCheckpoints();
  capnp::MallocMessageBuilder message;
  auto kept = message.initRoot<Root>().initCheckpoints(
      static_cast<unsigned>(entries.size() - positions.size()));
  unsigned at = 0;
  for (unsigned e = 0; e < entries.size(); ++e) {
    if (!positions.contains(e)) {
      kept.setWithCaveats(at++, entries[e]);
    }
  }
  kj::VectorOutputStream packed;
  capnp::writePackedMessage(packed, message);
  const auto bytes = std::as_bytes(std::span(packed.getArray().begin(), packed.getArray().size()));
  return {bytes.begin(), bytes.end()};
}

void sync_directory(int fd, const std::string& path) {
  if (::fsync(fd) != 0) {
    throw system_error(errno, "cannot sync the directory").in_file(path);
  }
}

// Removes the file or directory of files `name`; one that is gone is no error.
void remove_name(const std::string& directory, int directory_fd, const std::string& name) {
  struct stat info = {};
  if (::fstatat(directory_fd, name.c_str(), &info, AT_SYMLINK_NOFOLLOW) != 0 && errno == ENOENT) {
    return;
  }
  if (S_ISDIR(info.st_mode)) {
    remove_directory(directory, name);
  } else if (::unlinkat(directory_fd, name.c_str(), 0) != 0) {
    throw system_error(errno, "cannot remove").in_file(join_path(directory, name));
  }
}

// The index of a trace: that there is none, what it is, or that nobody knows.
struct CurrentIndex {
  bool exists = false;
  std::optional<IndexFile> index;
};

CurrentIndex read_index(const RrTrace& trace, int directory_fd) {
  CurrentIndex current;
  struct stat info = {};
  if (::fstatat(directory_fd, kIndexName, &info, AT_SYMLINK_NOFOLLOW) != 0) {
    return current;
  }
  current.exists = true;
  const auto bytes = read_beneath(directory_fd, kIndexName,
                                  join_path(trace.directory(), kIndexName), kMaxIndexFile);
  const auto machine = legacy_machine(trace.header().machine).value_or(legacy::Machine::X8664);
  for (const Generation generation : {Generation::kRr2022, Generation::kRr2024}) {
    IndexCandidate candidate = decode_index(bytes, generation, machine);
    if (candidate.index && candidate.objection.empty()) {
      current.index = std::move(candidate.index);
    }
  }
  return current;
}

// Removes what a removal that was interrupted between the index and the files has left: the names
// in notes whose writers died, unless the index names them (then the index was never replaced).
void finish_removals(const RrTrace& trace, int directory_fd) {
  const std::string& directory = trace.directory();
  std::optional<std::set<std::string>> named;
  for (const std::string& name : list_directory(directory)) {
    if (!name.starts_with(kRemovalPrefix)) {
      continue;
    }
    const ScopedFd note(
        ::openat(directory_fd, name.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
    if (!note || ::flock(note.get(), LOCK_EX | LOCK_NB) != 0) {
      continue;
    }
    if (!named) {
      const CurrentIndex current = read_index(trace, directory_fd);
      if (current.exists && !current.index) {
        return; // what it names cannot be known
      }
      named.emplace();
      for (std::uint32_t p = 0; current.index && p < current.index->size(); ++p) {
        const std::string file(base_name(current.index->completion_file(p)));
        named->insert(file + std::to_string(current.index->event(p)));
        named->insert(file);
      }
    }
    for (const std::string& doomed : list_directory(join_path(directory, name))) {
      if (doomed.starts_with(kCheckpointPrefix) && !named->contains(doomed)) {
        remove_name(directory, directory_fd, doomed);
      }
    }
    remove_flat_directory(directory_fd, name, join_path(directory, name));
  }
}

// Takes the entries out of the index file, which is replaced in one step.
void remove_indexed(const RrTrace& trace, int directory_fd,
                    const std::vector<const LegacyEntry*>& entries) {
  const std::string& directory = trace.directory();
  const CurrentIndex current = read_index(trace, directory_fd);
  const std::string path = join_path(directory, kIndexName);
  if (!current.index) {
    throw Error(ErrorCode::kDamaged, "the index of checkpoints changed meanwhile")
        .in_file(path)
        .with_diagnostic("legacy.index");
  }
  const IndexFile& index = *current.index;
  std::set<std::uint32_t> positions;
  std::set<std::string> names;
  for (const LegacyEntry* entry : entries) {
    // By id: the index may have changed since it was read.
    for (std::uint32_t p = 0; p < index.size(); ++p) {
      if (index.id(p) == entry->id && index.event(p) == entry->event) {
        positions.insert(p);
        names.insert(entry->name);
        names.insert(std::string(base_name(entry->page_directory)));
      }
    }
  }
  if (positions.empty()) {
    return;
  }
  PendingDirectory note(directory, kRemovalPrefix);
  for (const std::string& name : names) {
    note.create(name);
  }
  note.keep();
  if (positions.size() == index.size()) {
    remove_name(directory, directory_fd, kIndexName);
  } else {
    const auto rest = index.generation == Generation::kRr2022
                          ? shortened<legacy::rr2022::PersistentCheckpoints>(index, positions)
                          : shortened<legacy::rr2024::PersistentCheckpoints>(index, positions);
    write_file_atomically(path, true, [&](Output& output) { output.write(rest); });
  }
  sync_directory(directory_fd, directory);
  for (const std::string& name : names) {
    remove_name(directory, directory_fd, name);
  }
  note.discard();
}

} // namespace

void remove_legacy(const LegacyTrace& trace, const std::vector<LegacyEntry>& entries) {
  const std::string& directory = trace.trace().directory();
  const ScopedFd directory_fd = open_directory(directory);
  if (::flock(directory_fd.get(), LOCK_EX) != 0) {
    throw system_error(errno, "cannot lock the directory").in_file(directory);
  }
  remove_dead_directories(directory_fd.get(), directory);
  finish_removals(trace.trace(), directory_fd.get());
  std::vector<const LegacyEntry*> indexed;
  for (const LegacyEntry& entry : entries) {
    if (entry.generation == Generation::kRr2025) {
      remove_directory(directory, entry.name);
    } else {
      indexed.push_back(&entry);
    }
  }
  if (!indexed.empty()) {
    remove_indexed(trace.trace(), directory_fd.get(), indexed);
  }
}

} // namespace rrpcp
