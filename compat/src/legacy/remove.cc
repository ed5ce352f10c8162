#include "base/file.h"
#include "legacy/index_file.h"
#include "legacy/machine.h"
#include "legacy/pending_directory.h"
#include "rrpcp/compat.h"
#include "rrpcp/store.h"

#include <algorithm>
#include <capnp/message.h>
#include <capnp/serialize-packed.h>
#include <cerrno>
#include <fcntl.h>
#include <set>
#include <sys/file.h>
#include <unistd.h>

namespace rrpcp {

namespace {

using namespace compat;

constexpr std::uint64_t kMaxIndexFile = std::uint64_t{256} << 20;

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

void unlink_in(int directory_fd, const std::string& name, const std::string& path) {
  if (::unlinkat(directory_fd, name.c_str(), 0) != 0 && errno != ENOENT) {
    throw system_error(errno, "cannot remove").in_file(path);
  }
}

// Takes the entries out of the index file, which is replaced in one step.
void remove_indexed(const RrTrace& trace, const std::vector<const LegacyEntry*>& entries) {
  const std::string& directory = trace.directory();
  const ScopedFd fd = open_directory(directory);
  const std::string path = join_path(directory, "checkpoints");
  const auto bytes = read_beneath(fd.get(), "checkpoints", path, kMaxIndexFile);
  const auto machine = legacy_machine(trace.header().machine);
  const Generation generation = entries.front()->generation;
  const IndexCandidate index =
      decode_index(bytes, generation, machine.value_or(legacy::Machine::X8664));
  if (!index.index) {
    throw Error(ErrorCode::kDamaged, index.objection).in_file(path);
  }
  std::set<std::uint32_t> positions;
  for (const LegacyEntry* entry : entries) {
    // By id: the index may have changed since it was read.
    for (std::uint32_t p = 0; p < index.index->size(); ++p) {
      if (index.index->id(p) == entry->id && index.index->event(p) == entry->event) {
        positions.insert(p);
      }
    }
  }
  if (positions.size() == index.index->size()) {
    unlink_in(fd.get(), "checkpoints", path);
  } else if (!positions.empty()) {
    const auto rest =
        generation == Generation::kRr2022
            ? shortened<legacy::rr2022::PersistentCheckpoints>(*index.index, positions)
            : shortened<legacy::rr2024::PersistentCheckpoints>(*index.index, positions);
    write_file_atomically(path, true, [&](Output& output) { output.write(rest); });
  }
  if (::fsync(fd.get()) != 0) {
    throw system_error(errno, "cannot sync the directory").in_file(directory);
  }
  for (const LegacyEntry* entry : entries) {
    unlink_in(fd.get(), entry->name, entry->path);
    remove_directory(directory, std::string(base_name(entry->page_directory)));
  }
}

} // namespace

void remove_legacy(const LegacyTrace& trace, const std::vector<LegacyEntry>& entries) {
  std::vector<const LegacyEntry*> indexed;
  for (const LegacyEntry& entry : entries) {
    if (entry.generation == Generation::kRr2025) {
      remove_directory(trace.trace().directory(), entry.name);
    } else {
      indexed.push_back(&entry);
    }
  }
  if (!indexed.empty()) {
    remove_indexed(trace.trace(), indexed);
  }
}

} // namespace rrpcp
