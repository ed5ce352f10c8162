#include "base/file.h"
#include "base/hex.h"
#include "legacy/checkpoint_impl.h"
#include "legacy/findings.h"
#include "legacy/index_file.h"
#include "legacy/invariants.h"
#include "legacy/machine.h"
#include "legacy/packed_message.h"
#include "legacy/pending_directory.h"
#include "rrpcp/compat/legacy.h"

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <fcntl.h>
#include <filesystem>
#include <set>
#include <sys/stat.h>

namespace rrpcp {

namespace {

using namespace compat;

constexpr std::uint64_t kMaxMessageFile = std::uint64_t{256} << 20;
constexpr std::string_view kPrefix = "checkpoint-";
constexpr std::string_view kMetadataName = "metadata";

// Where an entry is in an index that others may have been removed from.
std::uint32_t position_of(const IndexFile& index, const LegacyEntry& entry) {
  for (std::uint32_t position = 0; position < index.size(); ++position) {
    if (index.id(position) == entry.id && index.event(position) == entry.event) {
      return position;
    }
  }
  throw Error(ErrorCode::kNotFound, "the index of checkpoints names it no longer")
      .with_diagnostic("legacy.index");
}

// The number behind "checkpoint-", where nothing else follows.
std::optional<std::uint64_t> number_in_name(std::string_view name) {
  if (!name.starts_with(kPrefix)) {
    return std::nullopt;
  }
  name.remove_prefix(kPrefix.size());
  std::uint64_t number = 0;
  const auto [end, status] = std::from_chars(name.data(), name.data() + name.size(), number);
  if (name.empty() || status != std::errc() || end != name.data() + name.size()) {
    return std::nullopt;
  }
  return number;
}

legacy::Machine trace_machine(const RrTrace& trace) {
  const auto machine = legacy_machine(trace.header().machine);
  if (!machine) {
    throw Error(ErrorCode::kDamaged, "the trace is of an unknown machine")
        .in_file(join_path(trace.directory(), "version"));
  }
  return *machine;
}

Error with_code(const Error& error, std::string_view code) {
  return error.diagnostic().empty() ? error.with_diagnostic(code) : error;
}

// The code for a message file that cannot be read.
Error message_problem(const Error& error) {
  const bool unfinished =
      error.code() == ErrorCode::kIncomplete || error.code() == ErrorCode::kNotFound;
  return with_code(error, unfinished ? "legacy.incomplete" : "legacy.message");
}

Finding finding_about(const Error& error) {
  return finding_of(error.diagnostic(), error.file(), error.message());
}

class Finder {
public:
  explicit Finder(LegacyTrace::Impl& impl)
      : impl_(impl), directory_(impl.trace.directory()), fd_(open_directory(directory_)),
        machine_(trace_machine(impl.trace)) {}

  void run() {
    const std::vector<std::string> names = list_directory(directory_);
    has_index_ = std::find(names.begin(), names.end(), kIndexName) != names.end();
    if (has_index_) {
      read_index();
    }
    for (const std::string& name : names) {
      if (name.starts_with(kRemovalPrefix)) {
        read_note(name);
      }
    }
    for (const std::string& name : names) {
      if (name.starts_with(kPrefix) && !claimed_.contains(name)) {
        look_at(name);
      }
    }
    std::stable_sort(impl_.entries.begin(), impl_.entries.end(),
                     [](const LegacyEntry& a, const LegacyEntry& b) { return a.event < b.event; });
  }

private:
  std::string path_of(std::string_view name) const { return join_path(directory_, name); }

  // The note of a removal that goes on or was interrupted.
  void read_note(const std::string& name) {
    try {
      const auto names = list_directory(path_of(name));
      doomed_.insert(names.begin(), names.end());
    } catch (const Error&) {
      // Gone meanwhile, or no note of ours.
    }
  }

  void read_index() {
    const std::string path = path_of(kIndexName);
    std::vector<std::byte> bytes;
    try {
      bytes = read_beneath(fd_.get(), kIndexName, path, kMaxMessageFile);
    } catch (const Error& error) {
      impl_.findings.push_back(finding_about(with_code(error, "legacy.index")));
      return;
    }
    if (bytes.empty()) {
      impl_.findings.push_back(
          finding_of("legacy.incomplete", path, "the index of checkpoints is empty"));
      return;
    }
    IndexCandidate older = decode_index(bytes, Generation::kRr2022, machine_);
    IndexCandidate newer = decode_index(bytes, Generation::kRr2024, machine_);
    const bool fits_older = older.index && older.objection.empty();
    const bool fits_newer = newer.index && newer.objection.empty();
    if (fits_older && fits_newer && older.index->size() == 0 && newer.index->size() == 0) {
      return;
    }
    if (fits_older == fits_newer) {
      const bool decoded = older.index || newer.index;
      impl_.findings.push_back(
          finding_of(decoded ? "legacy.generation-unknown" : "legacy.index", path,
                     fits_older ? "the index fits both rr-2022 and rr-2024"
                                : "the index is neither of rr-2022 (" + older.objection +
                                      ") nor of rr-2024 (" + newer.objection + ")"));
      return;
    }
    add_indexed(fits_older ? *older.index : *newer.index);
  }

  void add_indexed(const IndexFile& index) {
    for (std::uint32_t position = 0; position < index.size(); ++position) {
      LegacyEntry entry;
      entry.generation = index.generation;
      entry.index_position = position;
      entry.id = index.id(position);
      entry.event = index.event(position);
      entry.name = std::string(base_name(index.completion_file(position)));
      entry.path = path_of(entry.name);
      const std::string pages = entry.name + std::to_string(entry.event);
      entry.page_directory = path_of(pages);
      claimed_.insert(entry.name);
      claimed_.insert(pages);
      try {
        const auto bytes = read_beneath(fd_.get(), entry.name, entry.path, kMaxMessageFile);
        check(index.load(position, bytes, machine_), entry);
      } catch (const Error& error) {
        entry.problem = message_problem(error.in_file(entry.path));
      }
      impl_.entries.push_back(std::move(entry));
    }
  }

  // A name that no index entry explains.
  void look_at(const std::string& name) {
    struct stat info = {};
    if (::fstatat(fd_.get(), name.c_str(), &info, AT_SYMLINK_NOFOLLOW) != 0) {
      return;
    }
    if (doomed_.contains(name)) {
      impl_.findings.push_back(finding_of("legacy.orphan", path_of(name),
                                          "the removal of this checkpoint was interrupted"));
      return;
    }
    if (!S_ISDIR(info.st_mode) && !S_ISLNK(info.st_mode)) {
      impl_.findings.push_back(finding_of("legacy.orphan", path_of(name),
                                          "the file has the name of a checkpoint, but no index "
                                          "names it"));
      return;
    }
    if (has_index_ &&
        ::fstatat(fd_.get(), (name + "/metadata").c_str(), &info, AT_SYMLINK_NOFOLLOW) != 0) {
      impl_.findings.push_back(finding_of("legacy.orphan", path_of(name),
                                          "the directory of page files belongs to no checkpoint "
                                          "that the index names"));
      return;
    }
    LegacyEntry entry;
    entry.generation = Generation::kRr2025;
    entry.name = name;
    entry.page_directory = path_of(name);
    entry.path = join_path(entry.page_directory, kMetadataName);
    const auto number = number_in_name(name);
    entry.event = number && *number <= INT64_MAX ? static_cast<std::int64_t>(*number) : 0;
    try {
      const auto bytes =
          read_beneath(fd_.get(), join_path(name, kMetadataName), entry.path, kMaxMessageFile);
      LegacyMessage message;
      message.message = read_packed<legacy::rr2025::CheckpointInfo>(bytes, "the metadata");
      check(message, entry);
      entry.id = message.root().getId();
      const std::int64_t event = message.clone_mark().getTime();
      if (event != entry.event) {
        impl_.findings.push_back(
            finding_of("legacy.name", entry.page_directory,
                       "it holds a checkpoint at event " + std::to_string(event)));
        entry.event = event;
      }
    } catch (const Error& error) {
      if (error.code() == ErrorCode::kNotFound && !number) {
        return; // not a name that rr gives
      }
      entry.problem = message_problem(error.file().empty() ? error.in_file(entry.path) : error);
    }
    impl_.entries.push_back(std::move(entry));
  }

  void check(const LegacyMessage& message, const LegacyEntry& entry) const {
    const auto violations =
        check_message(message, {impl_.trace.header().machine, impl_.trace.header().page_size});
    if (!violations.empty()) {
      throw Error(ErrorCode::kDamaged, join_violations(violations))
          .in_file(entry.path)
          .with_diagnostic("legacy.invariant");
    }
  }

  LegacyTrace::Impl& impl_;
  std::string directory_;
  ScopedFd fd_;
  legacy::Machine machine_;
  std::set<std::string> claimed_;
  // Names in the notes of removals (remove_legacy).
  std::set<std::string> doomed_;
  bool has_index_ = false;
};

// Finds the page files of a decoded message and says what is wrong with them.
class PageFileFinder {
public:
  explicit PageFileFinder(LegacyCheckpoint::Impl& impl) : impl_(impl) {}

  void run() {
    open_directory_of_pages();
    const auto spaces = impl_.message.root().getCloneCompletion().getAddressSpaces();
    std::set<std::string> seen;
    for (unsigned s = 0; s < spaces.size(); ++s) {
      const auto mappings = spaces[s].getProcessSpace().getVirtualAddressSpace();
      std::vector<LegacyPageFile>& files = impl_.page_files.emplace_back();
      files.resize(mappings.size());
      for (unsigned m = 0; m < mappings.size(); ++m) {
        if (!mappings[m].getMapType().isGuardSegment()) {
          find(mappings[m], files[m], seen);
        }
      }
    }
    if (elsewhere_) {
      impl_.findings.push_back(
          finding_of("legacy.elsewhere", impl_.entry.path,
                     "the message names page files in '" + impl_.original_directory + "'"));
    }
  }

private:
  void open_directory_of_pages() {
    const std::string& path = impl_.entry.page_directory;
    std::error_code ignored;
    real_directory_ = std::filesystem::weakly_canonical(path, ignored).string();
    const ScopedFd trace_fd = open_directory(std::string(directory_name(path)));
    BeneathResult opened = open_beneath(trace_fd.get(), base_name(path), O_RDONLY | O_DIRECTORY);
    if (opened.problem == BeneathProblem::kSymlink) {
      impl_.findings.push_back(
          finding_of("legacy.page-symlink", path, "is a symbolic link, which is not followed"));
    } else if (opened.problem != BeneathProblem::kNone) {
      impl_.findings.push_back(finding_of("legacy.page-missing", path,
                                          "the directory of the page files cannot be opened"));
    }
    fd_ = std::move(opened.fd);
  }

  void find(legacy::rr2024::KernelMapping::Reader mapping, LegacyPageFile& file,
            std::set<std::string>& seen) {
    const std::string_view path = text(contents_path(mapping));
    file.name = std::string(base_name(path));
    file.path = join_path(impl_.entry.page_directory, file.name);
    const std::string where = "mapping at " + hex_text(mapping.getStart());
    if (file.name.empty() || file.name == "." || file.name == "..") {
      add("legacy.page-path", "the " + where + " has the page file '" + std::string(path) + "'");
      return;
    }
    const std::string_view directory = directory_name(path);
    if (impl_.original_directory.empty()) {
      impl_.original_directory = std::string(directory);
    }
    elsewhere_ = elsewhere_ || directory != real_directory_;
    if (("/" + std::string(directory) + "/").find("/../") != std::string::npos) {
      add("legacy.page-path",
          "the path of the page file of the " + where + " has a '..': '" + std::string(path) + "'");
      return;
    }
    if (base_name(directory) != base_name(impl_.entry.page_directory) &&
        base_name(directory) != base_name(impl_.original_directory)) {
      add("legacy.page-path", "the page file of the " + where + " lies in another directory: '" +
                                  std::string(path) + "'");
      return;
    }
    if (!seen.insert(file.name).second) {
      add("legacy.page-path", "two mappings have the page file '" + file.name + "'");
      return;
    }
    if (fd_) {
      examine(mapping, file, where);
    }
  }

  void examine(legacy::rr2024::KernelMapping::Reader mapping, const LegacyPageFile& file,
               const std::string& where) {
    struct stat info = {};
    if (::fstatat(fd_.get(), file.name.c_str(), &info, AT_SYMLINK_NOFOLLOW) != 0) {
      add("legacy.page-missing", "the page file of the " + where + " is missing", file.path);
      return;
    }
    if (S_ISLNK(info.st_mode)) {
      add("legacy.page-symlink", "the page file of the " + where + " is a symbolic link",
          file.path);
      return;
    }
    if (!S_ISREG(info.st_mode)) {
      add("legacy.page-type", "the page file of the " + where + " is not a regular file",
          file.path);
      return;
    }
    const std::uint64_t length = mapping.getEnd() - mapping.getStart();
    if (static_cast<std::uint64_t>(info.st_size) != length) {
      add("legacy.page-size",
          "the page file of the " + where + " has " + std::to_string(info.st_size) +
              " bytes instead of " + std::to_string(length),
          file.path);
    }
    impl_.stored_bytes += static_cast<std::uint64_t>(info.st_size);
  }

  void add(std::string_view code, std::string message, const std::string& file = {}) {
    impl_.findings.push_back(
        finding_of(code, file.empty() ? impl_.entry.path : file, std::move(message)));
  }

  LegacyCheckpoint::Impl& impl_;
  ScopedFd fd_;
  std::string real_directory_;
  bool elsewhere_ = false;
};

} // namespace

const std::vector<RrTraceMapping>& LegacyTrace::Impl::mappings() const {
  std::call_once(mappings_once_, [&] {
    try {
      mappings_ = trace.mappings();
    } catch (const Error&) {
      mappings_.clear(); // no mapping has a backing file then; validation tells
    }
  });
  return mappings_;
}

RrTraceCursor LegacyTrace::Impl::cursor(std::int64_t event) const {
  std::call_once(cursors_once_, [&] {
    std::vector<std::int64_t> events;
    for (const LegacyEntry& entry : entries) {
      if (!entry.problem) {
        events.push_back(entry.event);
      }
    }
    std::vector<std::optional<RrTraceCursor>> places;
    try {
      places = trace.cursors(events);
    } catch (const Error&) {
      // A stream is damaged somewhere: events before that place still have their cursor.
      for (const std::int64_t wanted : events) {
        try {
          places.push_back(trace.cursors({wanted}).front());
        } catch (const Error&) {
          places.emplace_back();
        }
      }
    }
    for (std::size_t e = 0; e < events.size(); ++e) {
      cursors_.emplace_back(events[e], places[e]);
    }
  });
  for (const auto& [known, place] : cursors_) {
    if (known == event && place) {
      return *place;
    }
  }
  throw Error(ErrorCode::kDamaged, "the trace has no event " + std::to_string(event))
      .in_file(trace.directory());
}

LegacyTrace::LegacyTrace(std::shared_ptr<const Impl> impl) : impl_(std::move(impl)) {}

LegacyTrace LegacyTrace::open(const std::string& directory, const RrTraceLimits& limits) {
  const auto impl = std::make_shared<Impl>(RrTrace::open(directory, limits));
  Finder(*impl).run();
  return LegacyTrace(impl);
}

const RrTrace& LegacyTrace::trace() const {
  return impl_->trace;
}

const std::vector<LegacyEntry>& LegacyTrace::entries() const {
  return impl_->entries;
}

const std::vector<Finding>& LegacyTrace::findings() const {
  return impl_->findings;
}

LegacyCheckpoint LegacyTrace::load(const LegacyEntry& entry) const {
  return LegacyCheckpoint::Impl::load(impl_, entry);
}

LegacyCheckpoint LegacyCheckpoint::Impl::load(std::shared_ptr<const LegacyTrace::Impl> context,
                                              const LegacyEntry& entry) {
  if (entry.problem) {
    throw *entry.problem;
  }
  const RrTrace& trace = context->trace;
  const std::string& directory = trace.directory();
  const ScopedFd fd = open_directory(directory);
  const auto loaded = std::make_shared<LegacyCheckpoint::Impl>();
  loaded->context = std::move(context);
  loaded->entry = entry;
  try {
    if (entry.generation == Generation::kRr2025) {
      const auto bytes =
          read_beneath(fd.get(), join_path(entry.name, kMetadataName), entry.path, kMaxMessageFile);
      loaded->stored_bytes = bytes.size();
      loaded->message.message = read_packed<legacy::rr2025::CheckpointInfo>(bytes, "the metadata");
    } else {
      const auto index_bytes =
          read_beneath(fd.get(), kIndexName, join_path(directory, kIndexName), kMaxMessageFile);
      const auto bytes = read_beneath(fd.get(), entry.name, entry.path, kMaxMessageFile);
      loaded->stored_bytes = bytes.size();
      const legacy::Machine machine = trace_machine(trace);
      const IndexCandidate index = decode_index(index_bytes, entry.generation, machine);
      if (!index.index || !index.objection.empty()) {
        throw Error(ErrorCode::kDamaged, "the index of checkpoints changed meanwhile")
            .with_diagnostic("legacy.index");
      }
      loaded->message = index.index->load(position_of(*index.index, entry), bytes, machine);
    }
  } catch (const Error& error) {
    throw message_problem(error.file().empty() ? error.in_file(entry.path) : error);
  }
  const auto violations =
      check_message(loaded->message, {trace.header().machine, trace.header().page_size});
  if (!violations.empty()) {
    throw Error(ErrorCode::kDamaged, join_violations(violations))
        .in_file(entry.path)
        .with_diagnostic("legacy.invariant");
  }
  PageFileFinder(*loaded).run();
  return LegacyCheckpoint(loaded);
}

LegacyCheckpoint::LegacyCheckpoint(std::shared_ptr<const Impl> impl) : impl_(std::move(impl)) {}

const LegacyEntry& LegacyCheckpoint::entry() const {
  return impl_->entry;
}

const RrTrace& LegacyCheckpoint::trace() const {
  return impl_->context->trace;
}

std::int64_t LegacyCheckpoint::event() const {
  return impl_->message.clone_mark().getTime();
}

std::int64_t LegacyCheckpoint::ticks() const {
  return impl_->message.clone_mark().getTicks();
}

std::uint32_t LegacyCheckpoint::task_count() const {
  std::uint32_t count = 0;
  for (const auto space : impl_->message.root().getCloneCompletion().getAddressSpaces()) {
    count += 1 + space.getMemberState().size();
  }
  return count;
}

std::uint32_t LegacyCheckpoint::address_space_count() const {
  return impl_->message.root().getCloneCompletion().getAddressSpaces().size();
}

std::uint32_t LegacyCheckpoint::mapping_count() const {
  std::uint32_t count = 0;
  for (const auto space : impl_->message.root().getCloneCompletion().getAddressSpaces()) {
    count += space.getProcessSpace().getVirtualAddressSpace().size();
  }
  return count;
}

std::uint64_t LegacyCheckpoint::stored_bytes() const {
  return impl_->stored_bytes;
}

const std::vector<Finding>& LegacyCheckpoint::findings() const {
  return impl_->findings;
}

bool LegacyCheckpoint::importable() const {
  return !has_error(impl_->findings);
}

} // namespace rrpcp
