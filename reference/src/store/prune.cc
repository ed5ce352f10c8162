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
#include <span>
#include <sys/file.h>
#include <sys/stat.h>
#include <tuple>
#include <unistd.h>

namespace rrpcp {

namespace {

namespace fs = std::filesystem;
using Fate = PruneEntry::Fate;

// Files that are locked at once while it is looked whether somebody needs them.
constexpr std::size_t kLocked = 128;

// A checkpoint of the directory and what it takes over pages of.
struct Node {
  PruneEntry entry;
  Header header;
  std::vector<CheckpointId> bases;
  struct stat status = {}; // when that was read
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
    if (::stat(entry.path.c_str(), &node.status) != 0) {
      continue; // it vanished
    }
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
          now - node.status.st_mtim.tv_sec > options_.max_age) {
        node.entry.fate = Fate::kRemoved;
      }
    }
  }

  void choose_by_size() {
    if (options_.max_bytes == 0) {
      return;
    }
    std::uint64_t bytes = 0;
    std::map<CheckpointId, std::size_t> dependents; // that stay
    std::multimap<CheckpointId, Node*> by_id;
    for (Node& node : nodes_) {
      if (node.entry.id) {
        by_id.emplace(*node.entry.id, &node);
      }
      if (stays(node)) {
        bytes += node.entry.bytes;
        for (const CheckpointId& base : node.bases) {
          ++dependents[base];
        }
      }
    }
    const auto is_needed = [&](const Node& node) {
      return has_unreadable() || (node.entry.id && dependents[*node.entry.id] > 0);
    };
    // Those that may go, the oldest first: a base only after all that need it, which are younger.
    const auto older = [](const Node* a, const Node* b) {
      return std::tuple(a->status.st_mtim.tv_sec, a->entry.event, a) <
             std::tuple(b->status.st_mtim.tv_sec, b->entry.event, b);
    };
    std::set<Node*, decltype(older)> may_go(older);
    for (Node& node : nodes_) {
      if (node.entry.fate == Fate::kKept && !is_needed(node)) {
        may_go.insert(&node);
      }
    }
    while (bytes > options_.max_bytes && !may_go.empty()) {
      std::vector<Node*> going = {*may_go.begin()};
      may_go.erase(may_go.begin());
      while (!going.empty()) {
        Node& node = *going.back();
        going.pop_back();
        node.entry.fate = Fate::kRemoved;
        bytes -= node.entry.bytes;
        for (const CheckpointId& base : node.bases) {
          if (--dependents[base] != 0) {
            continue;
          }
          const auto [first, last] = by_id.equal_range(base);
          for (auto it = first; it != last; ++it) {
            if (it->second->entry.fate == Fate::kNeeded) {
              going.push_back(it->second); // it stayed for the sake of others alone
            } else if (it->second->entry.fate == Fate::kKept) {
              may_go.insert(it->second);
            }
          }
        }
      }
    }
  }

  // There is a file of which nobody knows what it needs.
  bool has_unreadable() const {
    return std::any_of(nodes_.begin(), nodes_.end(),
                       [](const Node& node) { return !node.readable; });
  }

  // Marks what would go but is needed by what stays, and unmarks what is needed no more.
  void keep_needed() {
    const bool unknown = has_unreadable();
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
      std::vector<Node*> going;
      for (Node& node : nodes_) {
        if (node.entry.fate == Fate::kRemoved && !removed_.contains(node.entry.path) &&
            !(node.entry.id && still_needed.contains(*node.entry.id))) {
          going.push_back(&node);
        }
      }
      for (std::size_t i = 0; i < going.size(); i += kLocked) {
        const std::span<Node*> some(going.data() + i, std::min(kLocked, going.size() - i));
        progress = remove(directory.get(), some) || progress;
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

  static std::string name_of(const Node& node) {
    return fs::path(node.entry.path).filename().string();
  }

  // Those of the files that nobody is using: locks all of them, and looks then what appeared
  // meanwhile. Returns whether one of them is gone.
  bool remove(int directory, std::span<Node*> nodes) {
    std::vector<ScopedFd> locks;
    std::vector<Node*> locked;
    bool gone = false;
    for (Node* node : nodes) {
      ScopedFd file = open_file(directory, name_of(*node).c_str(), O_RDONLY);
      if (!file) {
        removed_.insert(node->entry.path); // somebody else was faster
        gone = true;
        continue;
      }
      struct stat held, named;
      // Whoever makes a checkpoint from this one holds the lock until that is there.
      if (::flock(file.get(), LOCK_EX | LOCK_NB) != 0 || ::fstat(file.get(), &held) != 0 ||
          ::fstatat(directory, name_of(*node).c_str(), &named, 0) != 0 ||
          held.st_ino != named.st_ino || held.st_dev != named.st_dev) { // it was just replaced
        node->entry.fate = Fate::kInUse;
        continue;
      }
      locks.push_back(std::move(file));
      locked.push_back(node);
    }
    const std::optional<std::set<CheckpointId>> needed = bases_of_new_files();
    for (Node* node : locked) {
      if (!needed || (node->entry.id && needed->contains(*node->entry.id))) {
        node->entry.fate = Fate::kNeeded;
        continue;
      }
      if (::unlinkat(directory, name_of(*node).c_str(), 0) != 0 && errno != ENOENT) {
        throw system_error(errno, "cannot remove").in_file(node->entry.path);
      }
      removed_.insert(node->entry.path);
      gone = true;
    }
    return gone;
  }

  // What files take over pages of that appeared, or were replaced, since the directory was read:
  // of what is locked no more can appear. Nothing: one of them cannot be read.
  std::optional<std::set<CheckpointId>> bases_of_new_files() const {
    std::map<std::string, const struct stat*> known;
    for (const Node& node : nodes_) {
      known[node.entry.path] = &node.status;
    }
    std::set<CheckpointId> needed;
    std::error_code error;
    for (fs::directory_iterator file(directory_, error), end; !error && file != end;
         file.increment(error)) {
      const std::string name = file->path().filename().string();
      if (!name.ends_with(".pcp") || name.starts_with('.')) {
        continue;
      }
      const std::string path = directory_ + "/" + name;
      struct stat now;
      if (::stat(path.c_str(), &now) != 0) {
        continue; // it vanished
      }
      const auto before = known.find(path);
      if (before != known.end() && before->second->st_ino == now.st_ino &&
          before->second->st_dev == now.st_dev &&
          before->second->st_mtim.tv_sec == now.st_mtim.tv_sec &&
          before->second->st_mtim.tv_nsec == now.st_mtim.tv_nsec) {
        continue;
      }
      try {
        const std::vector<CheckpointId> bases = bases_of(path);
        needed.insert(bases.begin(), bases.end());
      } catch (const Error& failure) {
        if (failure.code() != ErrorCode::kNotFound && may_need_others(failure)) {
          return std::nullopt;
        }
      }
    }
    if (error) {
      throw system_error(error.value(), "cannot read the directory").in_file(directory_);
    }
    return needed;
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
