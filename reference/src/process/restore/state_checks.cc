#include "process/restore/state_checks.h"

#include "base/parallel.h"
#include "model/validate_state.h"
#include "rrpcp/error.h"

#include <elf.h>
#include <exception>
#include <string>
#include <unistd.h>

namespace rrpcp::process::restore {

namespace {

std::string machine_name(std::uint16_t machine) {
  switch (machine) {
  case EM_X86_64:
    return "x86-64";
  case EM_AARCH64:
    return "AArch64";
  case EM_386:
    return "32-bit x86";
  default:
    return "machine " + std::to_string(machine);
  }
}

} // namespace

void check_machine(const CheckpointReader& reader) {
  const std::uint16_t machine = reader.state().getMachine();
  if (machine != EM_X86_64) {
    throw Error(ErrorCode::kUnsupportedState, "the checkpoint is of a program for " +
                                                  machine_name(machine) +
                                                  ", and this machine is x86-64")
        .in_file(reader.name())
        .with_hint("restore it on a machine of that kind");
  }
  const long page_size = ::sysconf(_SC_PAGESIZE);
  if (static_cast<long>(reader.header().page_size) != page_size) {
    throw Error(ErrorCode::kUnsupportedState,
                "the checkpoint has pages of " + std::to_string(reader.header().page_size) +
                    " bytes, and this machine has pages of " + std::to_string(page_size))
        .in_file(reader.name());
  }
}

void check_rules(const CheckpointReader& reader) {
  Findings findings(reader.name(), 1);
  // Bases are verified meanwhile; what is wrong with the state is said first.
  std::exception_ptr unusable;
  const bool has_bases = (reader.header().incompatible & format::kIncompatBaseRuns) != 0;
  parallel_for(2, has_bases ? 2 : 1, [&](std::uint64_t task, unsigned) {
    if (task == 0) {
      validate_state(reader.manifest(), state_rules(reader.header(), reader.footer()), findings);
      return;
    }
    try {
      reader.open_bases();
    } catch (...) {
      unusable = std::current_exception();
    }
  });
  ValidationReport report;
  findings.finish(report);
  for (const Finding& finding : report.findings) {
    // What a later version or somebody else knows may be what confines the process, or what it
    // relies on: a reader may pass over it, a restore may not.
    const bool newer = finding.code == "value.newer";
    const bool beyond = newer || finding.code == "extension.critical";
    if (finding.severity != Severity::kError && !beyond) {
      continue;
    }
    throw Error(beyond ? ErrorCode::kUnsupportedState : ErrorCode::kDamaged,
                finding.path + ": " + finding.message)
        .in_file(reader.name())
        .with_diagnostic(finding.code)
        .with_hint(newer    ? "a newer release of this program is needed"
                   : beyond ? "a program that knows it is needed"
                            : "run pcp-validate on the file for the whole story");
  }
  if (unusable) {
    std::rethrow_exception(unusable);
  }
}

} // namespace rrpcp::process::restore
