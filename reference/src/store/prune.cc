// Removing checkpoints that nobody needs.
#include "base/open_file.h"
#include "base/scoped_fd.h"
#include "rrpcp/error.h"
#include "rrpcp/series.h"
#include "rrpcp/store.h"
#include "store/atomic_file.h"

#include <algorithm>
#include <cerrno>
#include <ctime>
#include <fcntl.h>
#include <filesystem>
#include <map>
#include <set>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

namespace rrpcp {

namespace {

namespace fs = std::filesystem;
using Fate = PruneEntry::Fate;

// A checkpoint of the directory and what it takes over pages of.
struct Node {
  PruneEntry entry;
  Header header;
  std::vector<CheckpointId> bases;
  std::int64_t written = 0; // seconds since 1970
  bool readable = false;
};

std::vector<CheckpointId> bases_of(const std::string& path) {
  return base_ids(CheckpointReader::open(path));
}

// What cannot be read need not be a checkpoint: then it needs nothing.
bool may_need_others(const Error& error) {
  return error.code() != ErrorCode::kNotACheckpoint && error.code() != ErrorCode::kIncomplete;
}

std::vector<Node> read_directory(const std::string& directory) {
  std::vector<Node> nodes;
  for (const StoreEntry& entry : Store(directory).list()) {
    Node node;
    node.entry.path = entry.path;
    node.entry.bytes = entry.file_size;
    node.entry.event = entry.header.event;
    node.entry.id = entry.id;
    node.header = entry.header;
    struct stat status;
    if (::stat(entry.path.c_str(), &status) != 0) {
      continue; // it vanished
    }
    node.written = status.st_mtim.tv_sec;
    try {
      if (entry.problem) {
        throw Error(*entry.problem);
      }
      node.bases = bases_of(entry.path);
      node.readable = true;
    } catch (const Error& error) {
      if (error.code() == ErrorCode::kNotFound) {
        continue;
      }
      node.entry.fate = Fate::kUnknown;
      node.readable = !may_need_others(error);
    }
    nodes.push_back(std::move(node));
  }
  return nodes;
}

class Pruning {
public:
  Pruning(const std::string& directory, const PruneOptions& options)
      : directory_(directory), options_(options), nodes_(read_directory(directory)) {}

  std::vector<PruneEntry> run() {
    choose();
    remove_all();
    std::vector<PruneEntry> entries;
    for (Node& node : nodes_) {
      entries.push_back(std::move(node.entry));
    }
    return entries;
  }

private:
  // Who goes by the options alone.
  void choose() {
    choose_by_spacing();
    choose_by_age();
    keep_needed();
    choose_by_size();
  }

  static bool stays(const Node& node) { return node.entry.fate != Fate::kRemoved; }

  void choose_by_spacing() {
    std::map<TraceUuid, std::int64_t> last; // event of the last one that is kept
    for (Node& node : nodes_) {
      const TraceUuid& trace = node.header.trace_uuid;
      if (options_.spacing == 0 || trace.is_nil() || node.entry.fate == Fate::kUnknown) {
        continue;
      }
      const auto found = last.find(trace);
      if (found != last.end() && node.entry.event - found->second < options_.spacing) {
        node.entry.fate = Fate::kRemoved;
      } else {
        last[trace] = node.entry.event;
      }
    }
  }

  void choose_by_age() {
    const std::int64_t now = std::time(nullptr);
    for (Node& node : nodes_) {
      if (options_.max_age != 0 && node.entry.fate == Fate::kKept &&
          now - node.written > options_.max_age) {
        node.entry.fate = Fate::kRemoved;
      }
    }
  }

  void choose_by_size() {
    if (options_.max_bytes == 0) {
      return;
    }
    std::vector<Node*> oldest_first;
    for (Node& node : nodes_) {
      oldest_first.push_back(&node);
    }
    std::stable_sort(oldest_first.begin(), oldest_first.end(), [](const Node* a, const Node* b) {
      return std::pair(a->written, a->entry.event) < std::pair(b->written, b->entry.event);
    });
    for (Node* node : oldest_first) {
      std::uint64_t bytes = 0;
      for (const Node& other : nodes_) {
        bytes += stays(other) ? other.entry.bytes : 0;
      }
      if (bytes <= options_.max_bytes) {
        return;
      }
      if (node->entry.fate == Fate::kKept) {
        node->entry.fate = Fate::kRemoved;
        keep_needed();
      }
    }
  }

  // Marks what would go but is needed by what stays, and unmarks what is needed no more.
  void keep_needed() {
    const bool unknown =
        std::any_of(nodes_.begin(), nodes_.end(), [](const Node& node) { return !node.readable; });
    for (Node& node : nodes_) {
      if (node.entry.fate == Fate::kNeeded) {
        node.entry.fate = Fate::kRemoved;
      }
    }
    // Whatever stays can be read, also what stays only because another one needs it.
    for (bool progress = true; progress;) {
      progress = false;
      std::set<CheckpointId> needed;
      for (const Node& node : nodes_) {
        if (stays(node)) {
          needed.insert(node.bases.begin(), node.bases.end());
        }
      }
      for (Node& node : nodes_) {
        if (!stays(node) && (unknown || (node.entry.id && needed.contains(*node.entry.id)))) {
          node.entry.fate = Fate::kNeeded;
          progress = true;
        }
      }
    }
  }

  void remove_all() {
    if (options_.dry_run) {
      return;
    }
    const ScopedFd directory(::open(directory_.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (!directory) {
      if (errno == ENOENT) {
        return;
      }
      throw system_error(errno, "cannot open the directory").in_file(directory_);
    }
    // Whoever depends on others before these: again and again those that nobody has as a base.
    for (bool progress = true; progress;) {
      progress = false;
      std::set<CheckpointId> still_needed;
      for (const Node& node : nodes_) {
        if (!removed_.contains(node.entry.path)) {
          still_needed.insert(node.bases.begin(), node.bases.end());
        }
      }
      for (Node& node : nodes_) {
        if (node.entry.fate != Fate::kRemoved || removed_.contains(node.entry.path) ||
            (node.entry.id && still_needed.contains(*node.entry.id))) {
          continue;
        }
        remove(directory.get(), node);
        progress = progress || node.entry.fate == Fate::kRemoved;
      }
      if (progress) {
        sync_directory(directory.get(), directory_);
      }
    }
    for (Node& node : nodes_) { // a dependent could not go
      if (node.entry.fate == Fate::kRemoved && !removed_.contains(node.entry.path)) {
        node.entry.fate = Fate::kNeeded;
      }
    }
  }

  void remove(int directory, Node& node) {
    const std::string name = fs::path(node.entry.path).filename().string();
    const ScopedFd file = open_file(directory, name.c_str(), O_RDONLY);
    if (!file) {
      removed_.insert(node.entry.path); // somebody else was faster
      return;
    }
    // Whoever makes a checkpoint from this one holds the lock until that is there.
    if (::flock(file.get(), LOCK_EX | LOCK_NB) != 0) {
      node.entry.fate = Fate::kInUse;
      return;
    }
    struct stat held, named;
    if (::fstat(file.get(), &held) != 0 || ::fstatat(directory, name.c_str(), &named, 0) != 0 ||
        held.st_ino != named.st_ino || held.st_dev != named.st_dev) {
      node.entry.fate = Fate::kInUse; // it was just replaced
      return;
    }
    if (node.entry.id && is_needed_now(*node.entry.id)) {
      node.entry.fate = Fate::kNeeded;
      return;
    }
    if (::unlinkat(directory, name.c_str(), 0) != 0 && errno != ENOENT) {
      throw system_error(errno, "cannot remove").in_file(node.entry.path);
    }
    removed_.insert(node.entry.path);
  }

  // Whether a file that appeared meanwhile takes over pages of it: none can any more while its lock
  // is held.
  bool is_needed_now(const CheckpointId& id) const {
    std::set<std::string> known;
    for (const Node& node : nodes_) {
      known.insert(node.entry.path);
    }
    for (const StoreEntry& entry : Store(directory_).list()) {
      if (known.contains(entry.path)) {
        continue;
      }
      try {
        const std::vector<CheckpointId> bases = bases_of(entry.path);
        if (std::find(bases.begin(), bases.end(), id) != bases.end()) {
          return true;
        }
      } catch (const Error& error) {
        if (error.code() != ErrorCode::kNotFound && may_need_others(error)) {
          return true;
        }
      }
    }
    return false;
  }

  const std::string& directory_;
  const PruneOptions& options_;
  std::vector<Node> nodes_;
  std::set<std::string> removed_;
};

} // namespace

std::vector<PruneEntry> prune_checkpoints(const std::string& directory,
                                          const PruneOptions& options) {
  return Pruning(directory, options).run();
}

} // namespace rrpcp
