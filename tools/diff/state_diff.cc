#include "diff/state_diff.h"

#include "common/progress.h"
#include "common/text.h"
#include "diff/diff_memory.h"
#include "diff/diff_message.h"
#include "diff/diff_report.h"
#include "diff/registers.h"

#include <algorithm>
#include <capnp/message.h>
#include <map>
#include <set>
#include <tuple>
#include <utility>

namespace rrpcp::tools {
namespace {

constexpr std::uint32_t kNoIndex = schema::NO_INDEX;

std::string index_path(const char* list, std::uint64_t index) {
  return std::string(list) + "[" + std::to_string(index) + "]";
}

// Elements of two lists that stand for each other, as the references to them show.
class Pairs {
public:
  // Notes that `a` and `b` were referred to in the same place. Returns false where one of them is
  // paired with another already.
  bool add(std::uint32_t a, std::uint32_t b) {
    const auto [a_entry, a_new] = to_b_.emplace(a, b);
    const auto [b_entry, b_new] = to_a_.emplace(b, a);
    if (a_new && b_new) {
      order_.emplace_back(a, b);
    }
    return a_entry->second == b && b_entry->second == a;
  }

  bool are(std::uint32_t a, std::uint32_t b) const {
    const auto found = to_b_.find(a);
    return found != to_b_.end() && found->second == b;
  }

  // Pairs what no reference paired, in order. Returns what is left over on each side.
  std::pair<std::vector<std::uint32_t>, std::vector<std::uint32_t>> complete(std::uint32_t a_size,
                                                                             std::uint32_t b_size) {
    auto a_rest = unpaired(to_b_, a_size);
    auto b_rest = unpaired(to_a_, b_size);
    const std::size_t both = std::min(a_rest.size(), b_rest.size());
    for (std::size_t i = 0; i < both; ++i) {
      add(a_rest[i], b_rest[i]);
    }
    a_rest.erase(a_rest.begin(), a_rest.begin() + static_cast<std::ptrdiff_t>(both));
    b_rest.erase(b_rest.begin(), b_rest.begin() + static_cast<std::ptrdiff_t>(both));
    return {a_rest, b_rest};
  }

  // In the order in which they were found; grows while it is walked.
  const std::vector<std::pair<std::uint32_t, std::uint32_t>>& all() const { return order_; }

private:
  static std::vector<std::uint32_t> unpaired(const std::map<std::uint32_t, std::uint32_t>& paired,
                                             std::uint32_t size) {
    std::vector<std::uint32_t> rest;
    for (std::uint32_t i = 0; i < size; ++i) {
      if (paired.count(i) == 0) {
        rest.push_back(i);
      }
    }
    return rest;
  }

  std::map<std::uint32_t, std::uint32_t> to_b_;
  std::map<std::uint32_t, std::uint32_t> to_a_;
  std::vector<std::pair<std::uint32_t, std::uint32_t>> order_;
};

// Compares two states. What is stored once and referred to from several places (address spaces,
// file tables, open files, memory objects, …) is matched by the references to it, so that another
// order in the file is no difference.
class StateDiff {
public:
  StateDiff(DiffReport& report, const CheckpointReader& a, const CheckpointReader& b,
            const DiffOptions& options, Progress& progress)
      : report_(report), reader_a_(a), options_(options), a_(a.state()), b_(b.state()),
        messages_(report,
                  [this](std::string_view field, const Place& place, MessageDiff::Struct left,
                         MessageDiff::Struct right) { return handle(field, place, left, right); }),
        memory_(report, a, b, options.files, options.max_ranges, progress) {}

  void compare() {
    messages_.compare({}, a_, b_);
    compare_tasks();
    compare_paired(
        "addressSpaces", "address space", spaces_, a_.getAddressSpaces(), b_.getAddressSpaces(),
        [&](const Place& place, std::uint32_t i, std::uint32_t j) { compare_spaces(place, i, j); });
    compare_paired("fileTables", "file table", file_tables_, a_.getFileTables(), b_.getFileTables(),
                   [&](const Place& place, std::uint32_t i, std::uint32_t j) {
                     messages_.compare(place, a_.getFileTables()[i], b_.getFileTables()[j]);
                   });
    compare_paired(
        "fileSystemContexts", "file system context", contexts_, a_.getFileSystemContexts(),
        b_.getFileSystemContexts(), [&](const Place& place, std::uint32_t i, std::uint32_t j) {
          messages_.compare(place, a_.getFileSystemContexts()[i], b_.getFileSystemContexts()[j]);
        });
    compare_paired(
        "signalHandlerTables", "signal handlers", handlers_, a_.getSignalHandlerTables(),
        b_.getSignalHandlerTables(), [&](const Place& place, std::uint32_t i, std::uint32_t j) {
          messages_.compare(place, a_.getSignalHandlerTables()[i], b_.getSignalHandlerTables()[j]);
        });
    compare_paired("openFiles", "open file", open_files_, a_.getOpenFiles(), b_.getOpenFiles(),
                   [&](const Place& place, std::uint32_t i, std::uint32_t j) {
                     messages_.compare(place, a_.getOpenFiles()[i], b_.getOpenFiles()[j]);
                   });
    compare_paired("memoryObjects", "memory object", objects_, a_.getMemoryObjects(),
                   b_.getMemoryObjects(),
                   [&](const Place& place, std::uint32_t i, std::uint32_t j) {
                     compare_objects(place, i, j);
                   });
  }

private:
  // Fields that need more than a comparison of their values. True: nothing else is to be done.
  bool handle(std::string_view field, const Place& place, MessageDiff::Struct left,
              MessageDiff::Struct right) {
    const auto index = [](MessageDiff::Struct value, const char* name) {
      return static_cast<std::uint32_t>(value.get(name).as<std::uint64_t>());
    };
    const auto pair = [&](Pairs& pairs, const char* name, const char* words) {
      compare_references(place.part(words, name), pairs, index(left, name), index(right, name));
      return true;
    };
    static const std::set<std::string_view> kElsewhere = {"State.processes",
                                                          "State.tasks",
                                                          "State.addressSpaces",
                                                          "State.memoryObjects",
                                                          "State.openFiles",
                                                          "State.fileTables",
                                                          "State.fileSystemContexts",
                                                          "State.pageStream",
                                                          "State.signalHandlerTables",
                                                          "Mapping.runs",
                                                          "MemoryObject.runs",
                                                          "Task.process",
                                                          "State.bases"};
    static const std::set<std::string_view> kOfTheMachine = {
        "FileIdentity.digests",    "FileIdentity.gid",   "FileIdentity.mode",
        "FileIdentity.modifiedAt", "FileIdentity.uid",   "Mapping.device",
        "Mapping.inode",           "Memfd.gid",          "Memfd.mode",
        "Memfd.modifiedAt",        "Memfd.uid",          "MemoryObject.device",
        "MemoryObject.inode",      "ResourceLimit.hard", "State.cpu",
        "TraceBinding.cursor"};
    if (options_.of_replays && kOfTheMachine.count(field) != 0) {
      return true;
    }
    if (kElsewhere.count(field) != 0) {
      return compare_elsewhere(field, place, left, right);
    }
    if (field == "Task.addressSpace") {
      return pair(spaces_, "addressSpace", "address space");
    }
    if (field == "Task.fileTable") {
      return pair(file_tables_, "fileTable", "file table");
    }
    if (field == "Task.fileSystemContext") {
      return pair(contexts_, "fileSystemContext", "file system context");
    }
    if (field == "Task.signalHandlers") {
      return pair(handlers_, "signalHandlers", "signal handlers");
    }
    if (field == "FileDescriptor.openFile") {
      return pair(open_files_, "openFile", "open file");
    }
    if (field == "AddressSpace.executable") {
      return pair(objects_, "executable", "executable");
    }
    if (field == "Mapping.object") {
      return pair(objects_, "object", "memory object");
    }
    if (field == "OpenFile.memfd.object") {
      return pair(objects_, "object", "memory object");
    }
    if (field == "RegisterSet.data") {
      return compare_registers(place, left.as<schema::RegisterSet>(),
                               right.as<schema::RegisterSet>());
    }
    return false;
  }

  bool compare_elsewhere(std::string_view field, const Place& place, MessageDiff::Struct left,
                         MessageDiff::Struct right) {
    if (field == "State.pageStream") {
      // How the stream is cut says nothing about the state; the size of its pages does.
      const auto a_size = a_.getPageStream().getPageSize();
      const auto b_size = b_.getPageStream().getPageSize();
      if (a_size != b_size) {
        report_.changed(place.part("page size", "pageStream.pageSize"), a_size, b_size);
      }
    } else if (field == "Task.process") {
      const auto pid = [](schema::State::Reader state, std::uint32_t index) {
        const auto processes = state.getProcesses();
        return index < processes.size() ? Json(processes[index].getPid()) : Json();
      };
      const Json a_pid = pid(a_, left.as<schema::Task>().getProcess());
      const Json b_pid = pid(b_, right.as<schema::Task>().getProcess());
      if (a_pid != b_pid) {
        report_.changed(place.part("process", "process"), a_pid, b_pid);
      }
    }
    return true;
  }

  void compare_references(const Place& place, Pairs& pairs, std::uint32_t i, std::uint32_t j) {
    if (i == kNoIndex && j == kNoIndex) {
      return;
    }
    if (i == kNoIndex) {
      report_.only_in_b(place);
    } else if (j == kNoIndex) {
      report_.only_in_a(place);
    } else if (!pairs.add(i, j)) {
      report_.remark(place, "is shared with others than in the other checkpoint");
    }
  }

  bool compare_registers(const Place& place, schema::RegisterSet::Reader left,
                         schema::RegisterSet::Reader right) {
    if (left.getData() == right.getData()) {
      return true;
    }
    const auto a_registers = decode_registers(a_, left);
    const auto b_registers = decode_registers(b_, right);
    if (!a_registers || !b_registers) {
      return false;
    }
    const std::uint64_t before = report_.count();
    Place general = place; // "task 1: rax", not "task 1: NT_PRSTATUS rax"
    if (general.words.ends_with(": NT_PRSTATUS")) {
      general.words.erase(general.words.rfind(':'));
    }
    std::map<std::string, Register> rest;
    for (const Register& reg : *b_registers) {
      rest.emplace(reg.name, reg);
    }
    const bool alike = std::any_of(a_registers->begin(), a_registers->end(),
                                   [&](const auto& reg) { return rest.count(reg.name) != 0; });
    if (!alike) {
      const auto size = [](schema::RegisterSet::Reader set) {
        return std::to_string(set.getData().size()) + " bytes of";
      };
      report_.changed(place, left.getData().size(), right.getData().size(),
                      size(left) + " one kind of machine", size(right) + " another");
      return true;
    }
    const auto value = [](const Register& reg) {
      return reg.is_scalar() ? Json(reg.value())
                             : Json(hex(std::span<const std::uint8_t>(reg.bytes)));
    };
    for (const Register& reg : *a_registers) {
      const auto found = rest.find(reg.name);
      if (found == rest.end()) {
        report_.only_in_a(general.part(reg.name, reg.name));
        continue;
      }
      if (found->second.bytes != reg.bytes) {
        report_.changed(general.part(reg.name, reg.name), value(reg), value(found->second),
                        reg.text(), found->second.text());
      }
      rest.erase(found);
    }
    for (const auto& [name, reg] : rest) {
      report_.only_in_b(general.part(name, name));
    }
    // Bytes that belong to no register.
    return report_.count() != before;
  }

  // Tasks by tid and processes by pid; several with the same one in the order in which they are
  // stored.
  void compare_tasks() {
    compare_by_id(
        "processes", "process", a_.getProcesses(), b_.getProcesses(),
        [](schema::Process::Reader process) { return process.getPid(); },
        [](schema::Process::Reader) { return std::string(); });
    compare_by_id(
        "tasks", "task", a_.getTasks(), b_.getTasks(),
        [](schema::Task::Reader task) { return task.getTid(); },
        [](schema::Task::Reader task) {
          const auto name = task.getName();
          return printable(std::string_view(name.asChars().begin(), name.size()));
        });
  }

  template <typename List, typename Id, typename Name>
  void compare_by_id(const char* list, const char* words, List a, List b, Id id, Name name) {
    const auto place_of = [&](auto element) {
      const std::string number = std::to_string(id(element));
      return Place{words + (" " + number), std::string(list) + "[" + number + "]"};
    };
    std::multimap<std::int32_t, decltype(b[0])> rest;
    for (const auto element : b) {
      rest.emplace(id(element), element);
    }
    for (const auto element : a) {
      const auto found = rest.lower_bound(id(element));
      if (found == rest.end() || found->first != id(element)) {
        report_.only_in_a(place_of(element), name(element));
        continue;
      }
      messages_.compare(place_of(element), element, found->second);
      rest.erase(found);
    }
    for (const auto& [number, element] : rest) {
      report_.only_in_b(place_of(element), name(element));
    }
  }

  template <typename List, typename Compare>
  void compare_paired(const char* list, const char* words, Pairs& pairs, List a, List b,
                      Compare compare) {
    const auto [only_a, only_b] = pairs.complete(a.size(), b.size());
    const auto place = [&](std::uint32_t index) {
      return Place{words + (" " + std::to_string(index)), index_path(list, index)};
    };
    for (const auto& [i, j] : std::vector(pairs.all())) {
      if (i < a.size() && j < b.size()) {
        compare(place(i), i, j);
      }
    }
    for (const std::uint32_t i : only_a) {
      report_.only_in_a(place(i));
    }
    for (const std::uint32_t j : only_b) {
      report_.only_in_b(place(j));
    }
  }

  static std::vector<schema::Mapping::Reader> sorted(schema::AddressSpace::Reader space) {
    std::vector<schema::Mapping::Reader> mappings;
    for (const auto mapping : space.getMappings()) {
      mappings.push_back(mapping);
    }
    std::stable_sort(mappings.begin(), mappings.end(),
                     [](const auto& x, const auto& y) { return x.getStart() < y.getStart(); });
    return mappings;
  }

  // Whether `next`, which follows `mapping`, is a part of the same thing.
  static bool goes_on(schema::Mapping::Reader mapping, schema::Mapping::Reader next) {
    const auto kind = [](schema::Mapping::Reader of) {
      return std::tuple(of.getProtection(), of.getFlags(), of.getAdvice(), of.getRole(),
                        of.getPkey(), of.getObject(), of.getDevice(), of.getInode(),
                        of.getMaximumProtection());
    };
    return next.getStart() == mapping.getEnd() && kind(mapping) == kind(next) &&
           mapping.getName() == next.getName() &&
           (mapping.getObject() == schema::NO_INDEX ||
            next.getObjectOffset() ==
                mapping.getObjectOffset() + (mapping.getEnd() - mapping.getStart()));
  }

  // The space with each row of such mappings as one. Whether the kernel keeps them apart depends on
  // the order in which their pages were written first, and on the process that wrote them.
  static schema::AddressSpace::Reader joined(schema::AddressSpace::Reader space,
                                             capnp::MallocMessageBuilder& message) {
    message.setRoot(space);
    auto root = message.getRoot<schema::AddressSpace>();
    const auto orphan = root.disownMappings();
    const auto mappings = orphan.getReader();
    std::vector<std::pair<unsigned, std::uint64_t>> rows; // first mapping, end
    for (unsigned i = 0; i < mappings.size(); ++i) {
      if (i == 0 || !goes_on(mappings[i - 1], mappings[i])) {
        rows.emplace_back(i, 0);
      }
      rows.back().second = mappings[i].getEnd();
    }
    auto out = root.initMappings(static_cast<unsigned>(rows.size()));
    for (unsigned i = 0; i < rows.size(); ++i) {
      out.setWithCaveats(i, mappings[rows[i].first]);
      out[i].setEnd(rows[i].second);
    }
    return root.asReader();
  }

  void compare_spaces(const Place& place, std::uint32_t i, std::uint32_t j) {
    capnp::MallocMessageBuilder joined_a;
    capnp::MallocMessageBuilder joined_b;
    messages_.compare(place, joined(a_.getAddressSpaces()[i], joined_a),
                      joined(b_.getAddressSpaces()[j], joined_b));
    if (page_size_of(a_) != page_size_of(b_)) {
      return;
    }
    // Looked for when memory differs: then names are as in A.
    std::optional<Symbols> symbols;
    if (options_.names) {
      report_.set_names([&, i](std::uint64_t address) {
        if (!symbols) {
          symbols.emplace(reader_a_, i, options_.files);
        }
        return symbols->find(address);
      });
    }
    const auto left = sorted(a_.getAddressSpaces()[i]);
    const auto right = sorted(b_.getAddressSpaces()[j]);
    auto x = left.begin();
    auto y = right.begin();
    while (x != left.end() && y != right.end()) {
      const std::uint64_t start = std::max(x->getStart(), y->getStart());
      const std::uint64_t end = std::min(x->getEnd(), y->getEnd());
      if (start < end) {
        compare_range(place, i, *x, j, *y, start, end);
      }
      if (x->getEnd() < y->getEnd()) {
        ++x;
      } else {
        ++y;
      }
    }
    report_.set_names(nullptr);
  }

  // Whether both show the same place of shared memory objects that are compared themselves.
  bool compared_as_objects(schema::Mapping::Reader left, schema::Mapping::Reader right,
                           std::uint64_t start) const {
    const auto is_shared = [](schema::State::Reader state, schema::Mapping::Reader mapping) {
      return mapping.getRuns().size() == 0 &&
             mapping.getObject() < state.getMemoryObjects().size() &&
             !state.getMemoryObjects()[mapping.getObject()].isFile();
    };
    return is_shared(a_, left) && is_shared(b_, right) &&
           objects_.are(left.getObject(), right.getObject()) &&
           left.getObjectOffset() + (start - left.getStart()) ==
               right.getObjectOffset() + (start - right.getStart());
  }

  void compare_range(const Place& place, std::uint32_t i, schema::Mapping::Reader left,
                     std::uint32_t j, schema::Mapping::Reader right, std::uint64_t start,
                     std::uint64_t end) {
    if (compared_as_objects(left, right, start)) {
      return;
    }
    const std::uint64_t page_size = page_size_of(a_);
    memory_.a().select(segments_of(a_, left), i, left.getStart());
    memory_.b().select(segments_of(b_, right), j, right.getStart());
    const bool several = a_.getAddressSpaces().size() > 1 || b_.getAddressSpaces().size() > 1;
    const auto name = left.getName();
    const std::string text = printable(std::string_view(name.asChars().begin(), name.size()));
    memory_.compare({several ? place.words + ": memory" : "memory", place.path + ".memory"}, start,
                    (start - left.getStart()) / page_size, (start - right.getStart()) / page_size,
                    (end - start) / page_size, text.empty() ? "" : " (" + text + ")");
  }

  // Where the first mapping of A shows the object.
  std::string mapped_at(std::uint32_t object) const {
    for (const auto space : a_.getAddressSpaces()) {
      for (const auto mapping : space.getMappings()) {
        if (mapping.getObject() == object) {
          return format_text(" (its byte 0x%llx is mapped at 0x%llx)",
                             static_cast<unsigned long long>(mapping.getObjectOffset()),
                             static_cast<unsigned long long>(mapping.getStart()));
        }
      }
    }
    return "";
  }

  void compare_objects(const Place& place, std::uint32_t i, std::uint32_t j) {
    const auto left = a_.getMemoryObjects()[i];
    const auto right = b_.getMemoryObjects()[j];
    messages_.compare(place, left, right);
    // The contents of files are compared where they are mapped.
    if (page_size_of(a_) != page_size_of(b_) || left.isFile() || right.isFile()) {
      return;
    }
    const std::uint64_t page_size = page_size_of(a_);
    const std::uint64_t length = std::min(left.getLength(), right.getLength());
    memory_.a().select(object_segments(a_, i), 0, 0);
    memory_.b().select(object_segments(b_, j), 0, 0);
    memory_.compare({place.words + ": bytes", place.path + ".contents"}, 0, 0, 0,
                    length / page_size + (length % page_size != 0 ? 1 : 0), mapped_at(i));
  }

  DiffReport& report_;
  const CheckpointReader& reader_a_;
  const DiffOptions& options_;
  schema::State::Reader a_;
  schema::State::Reader b_;
  MessageDiff messages_;
  MemoryDiff memory_;
  Pairs spaces_;
  Pairs file_tables_;
  Pairs contexts_;
  Pairs handlers_;
  Pairs open_files_;
  Pairs objects_;
};

} // namespace

void compare_checkpoints(DiffReport& report, const CheckpointReader& a, const CheckpointReader& b,
                         const DiffOptions& options, Console& console) {
  Progress progress(console, "Comparing memory");
  StateDiff(report, a, b, options, progress).compare();
  if (options.provenance) {
    const MessageDiff messages(report, [](auto&&...) { return false; });
    messages.compare({"provenance", "provenance"}, a.manifest().getProvenance(),
                     b.manifest().getProvenance());
  }
}

} // namespace rrpcp::tools
