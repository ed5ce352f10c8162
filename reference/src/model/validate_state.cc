#include "model/validate_state.h"

#include "model/state_check.h"

#include <algorithm>

namespace rrpcp {

namespace {

constexpr std::uint16_t kMachines[] = {3, 62, 183}; // EM_386, EM_X86_64, EM_AARCH64

} // namespace

PageTails StateCheck::run() {
  const Path path("state");
  guarded("", [&] { check_values(); });
  if (!manifest_.hasState()) {
    return {};
  }
  if (machine_ != 0 && // which the header's check reports
      std::find(std::begin(kMachines), std::end(kMachines), machine_) == std::end(kMachines)) {
    findings_.in("state.machine", path / "machine",
                 "machine " + std::to_string(machine_) + " is not known");
  }
  if (const unsigned elf_class = state_.getElfClass(); elf_class != 1 && elf_class != 2) {
    findings_.in("state.elf-class", path / "elfClass", "it is " + std::to_string(elf_class));
  }
  if (const unsigned encoding = state_.getDataEncoding(); encoding != 1 && encoding != 2) {
    findings_.in("state.elf-class", path / "dataEncoding", "it is " + std::to_string(encoding));
  }
  guarded(path / "producer", [&] {
    if (!is_reverse_dns(state_.getProducer())) {
      findings_.in("state.producer", path / "producer", "it is not a reverse-DNS id");
    }
  });
  // Before everything that has registers: marks and tasks.
  guarded(path / "cpu", [&] {
    has_cpu_ = state_.hasCpu();
    if (has_cpu_) {
      check_cpu(path / "cpu", state_.getCpu());
    }
  });
  guarded(path / "position", [&] { check_position_and_trace(path); });
  guarded(path / "processes", [&] { check_processes(path / "processes"); });
  guarded(path / "tasks", [&] { check_tasks(path / "tasks"); });
  // Before everything that has runs.
  guarded(path / "bases", [&] { check_bases(path / "bases"); });
  guarded(path / "addressSpaces", [&] { check_address_spaces(path / "addressSpaces"); });
  guarded(path / "fileTables", [&] { check_file_tables(path / "fileTables"); });
  guarded(path / "openFiles", [&] { check_open_files(path / "openFiles"); });
  // After everything that can refer to an object.
  guarded(path / "memoryObjects", [&] { check_memory_objects(path / "memoryObjects"); });
  guarded(path / "fileSystemContexts",
          [&] { check_file_system_contexts(path / "fileSystemContexts"); });
  guarded(path / "signalHandlerTables",
          [&] { check_signal_handlers(path / "signalHandlerTables"); });
  guarded(path / "namespaceSets", [&] { check_namespace_sets(path / "namespaceSets"); });
  guarded(path, [&] { check_clocks_and_omissions(path); });
  guarded(path / "session", [&] {
    if (state_.hasSession()) {
      check_session(path / "session", state_.getSession());
    }
  });
  guarded(path / "extensions", [&] { check_extensions(path / "extensions"); });
  check_references();
  check_unused_bases(path / "bases");
  std::sort(tails_.own.begin(), tails_.own.end(),
            [](const PageTail& a, const PageTail& b) { return a.page < b.page; });
  return std::move(tails_);
}

void StateCheck::check_cpu(const Path& path, schema::Cpu::Reader cpu) {
  xsave_features_ = cpu.getXsaveFeatures();
  xsave_layout_ = cpu.getXsaveLayout();
  std::uint64_t described = 3; // components 0 and 1 lie in the legacy area
  unsigned previous = 1;
  each(path / "xsaveLayout", xsave_layout_, [&](const Path& at, schema::XsaveComponent::Reader c) {
    const unsigned number = c.getNumber();
    if (number <= previous || number > 62) {
      findings_.in("cpu.xsave-layout", at / "number",
                   "component " + std::to_string(number) + " after component " +
                       std::to_string(previous));
    } else {
      described |= std::uint64_t{1} << number;
    }
    previous = std::max(previous, number);
    if (c.getOffset() < 576 || c.getSize() == 0) {
      findings_.in("cpu.xsave-layout", at,
                   "a component of " + std::to_string(c.getSize()) + " bytes cannot lie at byte " +
                       std::to_string(c.getOffset()));
    }
  });
  if ((xsave_features_ & ~described) != 0) {
    findings_.in("cpu.xsave-layout", path / "xsaveFeatures",
                 "a component in use is missing in the layout");
  }
  auto leaves = cpu.getCpuid();
  each_pair(path / "cpuid", leaves,
            [&](const Path& at, schema::CpuidLeaf::Reader a, schema::CpuidLeaf::Reader b) {
              if (std::pair(a.getLeaf(), a.getSubleaf()) >=
                  std::pair(b.getLeaf(), b.getSubleaf())) {
                findings_.in("cpu.cpuid", at, "it does not come after the leaf before it");
              }
            });
}

void StateCheck::check_extensions(const Path& path) {
  auto extensions = state_.getExtensions();
  each(path, extensions, [&](const Path& at, schema::Extension::Reader extension) {
    auto id = extension.getId();
    if (!is_reverse_dns(id)) {
      findings_.in("extension.id", at / "id", "it is not a reverse-DNS id");
      return;
    }
    if (is_known_extension({id.begin(), id.size()}, extension.getVersion())) {
      return;
    }
    std::string message = "extension " + std::string(id.begin(), id.size()) + ", version " +
                          std::to_string(extension.getVersion()) + ", is not known";
    if (extension.getCritical()) {
      findings_.in("extension.critical", at, std::move(message));
    } else {
      findings_.in("extension.unknown", at, std::move(message));
    }
  });
  each_pair(path, extensions,
            [&](const Path& at, schema::Extension::Reader a, schema::Extension::Reader b) {
              if (std::string_view(a.getId().begin(), a.getId().size()) >=
                  std::string_view(b.getId().begin(), b.getId().size())) {
                findings_.in("extension.order", at, "its id does not come after the one before it");
              }
            });
}

void StateCheck::check_clocks_and_omissions(const Path& path) {
  const std::size_t boot_id = state_.getClocks().getBootId().size();
  if (boot_id != 0 && boot_id != 16) {
    findings_.in("state.clocks", path / "clocks" / "bootId",
                 "it has " + std::to_string(boot_id) + " bytes");
  }
  auto omissions = state_.getOmissions();
  each(path / "omissions", omissions, [&](const Path& at, schema::Omission::Reader omission) {
    if (omission.getName().size() == 0) {
      findings_.in("state.omission", at / "name", "there is no name");
    }
  });
  each_pair(path / "omissions", omissions,
            [&](const Path& at, schema::Omission::Reader a, schema::Omission::Reader b) {
              auto key = [](schema::Omission::Reader of) {
                return std::pair(std::string_view(of.getName().begin(), of.getName().size()),
                                 std::string_view(of.getWhat().begin(), of.getWhat().size()));
              };
              if (key(a) >= key(b)) {
                findings_.in("state.omission", at, "it does not come after the one before it");
              }
            });
}

void StateCheck::check_references() {
  const Path path("state");
  for (const ReferenceCounter* counter :
       {&spaces_, &objects_, &open_files_, &file_tables_, &contexts_, &handlers_, &namespaces_}) {
    const Path list = path / counter->list();
    bool complete = true;
    for (std::uint64_t i = 0; i < counter->size(); ++i) {
      if (!counter->used()[i]) {
        complete = false;
        findings_.in("state.unreferenced", list[i], "nothing refers to it");
      }
    }
    if (complete && !counter->in_order()) {
      findings_.in("state.reference-order", list,
                   "the entries are not in the order in which they are first referred to");
    }
  }
  for (std::uint64_t i = 0; i < processes_.size(); ++i) {
    if (!processes_.used()[i]) {
      const Path list = path / processes_.list();
      findings_.in("process.empty", list[i], "no task belongs to it");
    }
  }
  std::uint64_t next = 0;
  auto gap = [&](std::uint64_t begin, std::uint64_t end) {
    if (begin < end) {
      findings_.in("stream.unreferenced", path / "pageStream",
                   "nothing refers to pages " + std::to_string(begin) + " to " +
                       std::to_string(end - 1));
    }
  };
  for (const auto& [begin, end] : stream_.joined()) {
    gap(next, begin);
    next = end;
  }
  gap(next, rules_.page_count);
}

StateRules state_rules(const Header& header, const Footer& footer) {
  StateRules rules;
  rules.page_size = header.page_size;
  rules.page_count = footer.page_count;
  rules.minor = header.minor;
  rules.base_runs = (header.incompatible & format::kIncompatBaseRuns) != 0;
  rules.id = footer.id;
  rules.fully_known = header.fully_known();
  return rules;
}

PageTails validate_state(schema::Manifest::Reader manifest, const StateRules& rules,
                         Findings& findings) {
  try {
    return StateCheck(manifest, rules, findings).run();
  } catch (const kj::Exception& exception) {
    findings.in("manifest.message", "state", exception.getDescription().cStr());
    return {};
  }
}

} // namespace rrpcp
