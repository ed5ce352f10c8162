#include "legacy/index_file.h"

#include "base/file.h"
#include "legacy/invariants.h"
#include "legacy/machine.h"
#include "legacy/packed_message.h"

namespace rrpcp::compat {

namespace {

using Index2022 = legacy::rr2022::PersistentCheckpoints;
using Index2024 = legacy::rr2024::PersistentCheckpoints;

constexpr std::uint32_t kMaxEntries = 1 << 20;

// Calls `use` with the entries of the index in the type of its generation.
template <typename Use> decltype(auto) with_entries(const IndexFile& index, Use use) {
  if (index.generation == Generation::kRr2022) {
    return use(index.message->getRoot<Index2022>().asReader().getCheckpoints());
  }
  return use(index.message->getRoot<Index2024>().asReader().getCheckpoints());
}

template <typename Info> legacy::MarkData::Reader clone_mark(Info info) {
  return info.isExplicit() ? info.getExplicit() : info.getNonExplicit().getCloneMark();
}

// What speaks against an entry being what it was decoded as; empty: nothing.
template <typename Info> std::vector<std::string> check_entry(Info info, std::size_t record_size) {
  std::vector<std::string> violations;
  const std::string_view file = text(info.getCloneCompletionFile());
  const std::string expected = "checkpoint-" + std::to_string(info.getId());
  if (base_name(file) != expected) {
    violations.push_back("its id is " + std::to_string(info.getId()) +
                         ", but its file is called '" + std::string(base_name(file)) + "'");
  }
  const auto check = [&](legacy::MarkData::Reader mark, const std::string& name) {
    if (mark.getTime() <= 0) {
      violations.push_back(name + " is at event " + std::to_string(mark.getTime()));
    }
    if (mark.getRegs().getRaw().size() != record_size) {
      violations.push_back(name + " has " + std::to_string(mark.getRegs().getRaw().size()) +
                           " bytes of registers instead of " + std::to_string(record_size));
    }
  };
  if (info.isExplicit()) {
    check(info.getExplicit(), "its mark");
  } else {
    check(info.getNonExplicit().getCloneMark(), "its clone mark");
    check(info.getNonExplicit().getCheckpointMark(), "its checkpoint mark");
  }
  if (info.getNextSerial() == 0) {
    violations.emplace_back("its next serial is 0");
  }
  return violations;
}

} // namespace

std::uint32_t IndexFile::size() const {
  return with_entries(*this, [](auto entries) { return entries.size(); });
}

std::string IndexFile::completion_file(std::uint32_t position) const {
  return with_entries(*this, [&](auto entries) {
    return std::string(text(entries[position].getCloneCompletionFile()));
  });
}

std::uint64_t IndexFile::id(std::uint32_t position) const {
  return with_entries(*this, [&](auto entries) { return entries[position].getId(); });
}

std::int64_t IndexFile::event(std::uint32_t position) const {
  return with_entries(*this, [&](auto entries) { return clone_mark(entries[position]).getTime(); });
}

LegacyMessage IndexFile::load(std::uint32_t position, std::span<const std::byte> completion,
                              legacy::Machine machine) const {
  if (generation == Generation::kRr2022) {
    using Completion = legacy::rr2022::CloneCompletionInfo;
    const auto decoded = read_packed<Completion>(completion, "the clone's message");
    return upgrade_2022(message->getRoot<Index2022>().asReader().getCheckpoints()[position],
                        decoded->getRoot<Completion>().asReader(), machine);
  }
  using Completion = legacy::rr2024::CloneCompletionInfo;
  const auto decoded = read_packed<Completion>(completion, "the clone's message");
  return upgrade_2024(message->getRoot<Index2024>().asReader().getCheckpoints()[position],
                      decoded->getRoot<Completion>().asReader(), machine);
}

IndexCandidate decode_index(std::span<const std::byte> bytes, Generation generation,
                            legacy::Machine machine) {
  IndexCandidate candidate;
  IndexFile index;
  index.generation = generation;
  try {
    index.message = generation == Generation::kRr2022 ? read_packed<Index2022>(bytes, "the index")
                                                      : read_packed<Index2024>(bytes, "the index");
    const std::size_t record_size = register_record_size(elf_machine(machine));
    candidate.objection = with_entries(index, [&](auto entries) -> std::string {
      if (entries.size() > kMaxEntries) {
        return "it has " + std::to_string(entries.size()) + " entries";
      }
      for (unsigned e = 0; e < entries.size(); ++e) {
        const auto violations = check_entry(entries[e], record_size);
        if (!violations.empty()) {
          return "entry " + std::to_string(e) + ": " + join_violations(violations);
        }
      }
      return {};
    });
    candidate.index = std::move(index);
  } catch (const Error& error) {
    candidate.objection = error.what();
  } catch (const kj::Exception& exception) {
    candidate.objection = exception.getDescription().cStr();
  }
  return candidate;
}

} // namespace rrpcp::compat
