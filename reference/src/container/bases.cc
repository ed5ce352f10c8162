#include "container/bases.h"

#include "base/bytes.h"
#include "base/open_file.h"
#include "base/scoped_fd.h"
#include "container/kj_errors.h"
#include "container/manifest_bytes.h"
#include "container/same_stream.h"
#include "rrpcp/error.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <climits>
#include <cstdio>
#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>
#include <vector>

namespace rrpcp {

namespace {

using Readers = std::vector<std::unique_ptr<CheckpointReader>>;

std::string describe(const BaseReference& base) {
  return "base " + base.id.to_string() +
         (base.event != 0 ? " (event " + std::to_string(base.event) + ")" : "");
}

// Whether the footer of a file, whatever else it is, says this id.
bool claims_id(int fd, const CheckpointId& id) {
  struct stat status;
  std::array<std::byte, format::kFooterEndSize> end;
  if (::fstat(fd, &status) != 0 || !S_ISREG(status.st_mode) ||
      status.st_size < static_cast<off_t>(format::kHeaderSize + format::kFooterSize) ||
      ::pread(fd, end.data(), end.size(), status.st_size - static_cast<off_t>(end.size())) !=
          static_cast<ssize_t>(end.size())) {
    return false;
  }
  const auto length = load_le<std::uint32_t>(end, format::kFooterEndLength);
  CheckpointId found;
  return length >= format::kFooterSize && length <= format::kMaxFooterSize &&
         length <= status.st_size &&
         ::pread(fd, found.bytes.data(), found.bytes.size(),
                 status.st_size - static_cast<off_t>(length) +
                     static_cast<off_t>(format::kFooterCheckpointId)) ==
             static_cast<ssize_t>(found.bytes.size()) &&
         found == id;
}

void verify(const CheckpointReader& found, const BaseReference& base, const BaseContext& context) {
  const auto other = [&](ErrorCode code, const std::string& what) {
    return Error(code, "it has the id of the base that " + context.file + " needs, but " + what)
        .in_file(found.name());
  };
  const Header& header = found.header();
  if (header.trace_uuid != context.trace) {
    throw other(ErrorCode::kForeignTrace, "belongs to another trace");
  }
  if (header.page_size != context.page_size || header.chunk_pages != base.chunk_pages ||
      found.footer().page_count != base.page_count || header.event != base.event) {
    throw other(ErrorCode::kDamaged, "another page stream");
  }
  std::vector<ChunkEntry> chunks;
  chunks.reserve(found.chunk_count());
  for (std::uint64_t i = 0; i < found.chunk_count(); ++i) {
    chunks.push_back(found.chunk(i));
  }
  const CheckpointId id =
      with_kj_errors(found.name(), [&] { return checkpoint_id(found.state(), chunks); });
  if (id != base.id) {
    throw other(ErrorCode::kDamaged, "not the content");
  }
  if (base.seal && found.seal_digest() != base.seal) {
    throw other(ErrorCode::kDamaged, "not its seal");
  }
}

// Looks at one file; the first error of one that claims the id is kept.
void look_at(int directory, const std::string& name, const BaseReference& base,
             const BaseContext& context, const ReadLimits& limits, Readers& found,
             std::optional<Error>& problem) {
  ScopedFd file = open_file(directory, name.c_str(), O_RDONLY);
  if (!file || !claims_id(file.get(), base.id)) {
    return;
  }
  try {
    auto reader = std::make_unique<CheckpointReader>(
        CheckpointReader::open_fd(file.release(), context.directory + "/" + name, limits));
    verify(*reader, base, context);
    found.push_back(std::move(reader));
  } catch (const Error& error) {
    if (!problem) {
      problem = error.diagnostic().empty() ? error.with_diagnostic("base.unusable") : error;
    }
  }
}

std::vector<std::string> checkpoints_in(int directory, const std::string& path) {
  const int again = ::openat(directory, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  std::unique_ptr<DIR, int (*)(DIR*)> stream(again < 0 ? nullptr : ::fdopendir(again), &::closedir);
  if (stream == nullptr) {
    const int saved = errno;
    if (again >= 0) {
      ::close(again);
    }
    throw system_error(saved, "cannot read the directory").in_file(path);
  }
  std::vector<std::string> names;
  while (const dirent* item = ::readdir(stream.get())) {
    const std::string name = item->d_name;
    if (name.ends_with(".pcp") && !name.starts_with('.')) {
      names.push_back(name);
    }
  }
  std::sort(names.begin(), names.end());
  return names;
}

} // namespace

BaseReference base_reference(schema::BaseCheckpoint::Reader base, const std::string& file) {
  BaseReference reference;
  if (base.getId().size() != reference.id.bytes.size()) {
    throw Error(ErrorCode::kDamaged, "the id of a base has not 16 bytes")
        .in_file(file)
        .with_diagnostic("base.id");
  }
  std::copy(base.getId().begin(), base.getId().end(), reference.id.bytes.begin());
  reference.page_count = base.getPageCount();
  reference.chunk_pages = base.getChunkPages();
  reference.event = base.getEvent();
  if (base.getSeal().size() != 0) {
    reference.seal.emplace();
    if (base.getSeal().size() != reference.seal->size()) {
      throw Error(ErrorCode::kDamaged, "the seal of a base has not 32 bytes")
          .in_file(file)
          .with_diagnostic("base.seal");
    }
    const auto bytes = std::as_bytes(std::span(base.getSeal().begin(), base.getSeal().end()));
    std::copy(bytes.begin(), bytes.end(),
              std::as_writable_bytes(std::span(*reference.seal)).begin());
  }
  return reference;
}

std::string directory_of(int fd) {
  std::array<char, PATH_MAX> target;
  const std::string link = "/proc/self/fd/" + std::to_string(fd);
  const ssize_t n = ::readlink(link.c_str(), target.data(), target.size());
  const std::string path(target.data(), n > 0 ? static_cast<std::size_t>(n) : 0);
  const std::size_t slash = path.rfind('/');
  return slash == std::string::npos ? "" : slash == 0 ? "/" : path.substr(0, slash);
}

std::unique_ptr<CheckpointReader> open_base(const BaseReference& base, const BaseContext& context,
                                            const ReadLimits& limits) {
  Readers found;
  std::optional<Error> problem;
  const ScopedFd directory(context.directory.empty() ? -1
                                                     : ::open(context.directory.c_str(),
                                                              O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (directory) {
    const std::vector<std::string> names = checkpoints_in(directory.get(), context.directory);
    const std::string id = base.id.to_string();
    // Files of traces have the id in their names; others have any name.
    for (const bool named : {true, false}) {
      for (const std::string& name : names) {
        if ((name.find(id) != std::string::npos) == named) {
          look_at(directory.get(), name, base, context, limits, found, problem);
        }
      }
      if (!found.empty()) {
        break;
      }
    }
  }
  if (found.empty() && problem) {
    throw *problem;
  }
  if (found.empty()) {
    throw Error(ErrorCode::kNotFound,
                describe(base) + " is missing" +
                    (context.directory.empty() ? ": the file lies in no directory"
                                               : " in " + context.directory))
        .in_file(context.file)
        .with_diagnostic("base.missing")
        .with_hint("put the base's file back beside this one: the pages it holds are nowhere else");
  }
  for (std::size_t i = 1; i < found.size(); ++i) {
    if (!same_stream(*found.front(), *found[i])) {
      throw Error(ErrorCode::kDamaged, describe(base) + " is ambiguous: " + found[0]->name() +
                                           " and " + found[i]->name() +
                                           " have its id and hold different pages")
          .in_file(context.file)
          .with_diagnostic("base.ambiguous")
          .with_hint("move away the one that does not belong to this checkpoint");
    }
  }
  return std::move(found.front());
}

} // namespace rrpcp
