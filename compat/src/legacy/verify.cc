#include "base/hex.h"
#include "legacy/checkpoint_impl.h"
#include "legacy/compare_messages.h"
#include "legacy/export_message.h"
#include "legacy/findings.h"
#include "legacy/import_state.h"
#include "legacy/page_file.h"
#include "rrpcp/compat/legacy.h"
#include "rrpcp/memory_view.h"

#include <algorithm>
#include <capnp/message.h>
#include <cstring>

namespace rrpcp {

namespace {

using namespace compat;

class Verifier {
public:
  Verifier(const LegacyCheckpoint::Impl& legacy, const CheckpointReader& imported,
           const std::function<void(std::uint64_t, std::uint64_t)>& progress)
      : legacy_(legacy), imported_(imported), progress_(progress) {}

  void run() {
    check_header();
    check_message();
    check_memory();
  }

private:
  [[noreturn]] void fail(const std::string& what) const {
    throw Error(ErrorCode::kInternal,
                "the checkpoint differs from what it was made from or into: " + what)
        .in_file(imported_.name());
  }

  void check_header() const {
    const Header& header = imported_.header();
    if (header.trace_uuid != legacy_.context->trace.header().uuid ||
        header.event != legacy_.message.clone_mark().getTime()) {
      fail("its trace or event");
    }
  }

  void check_message() const {
    capnp::MallocMessageBuilder message;
    auto again = message.initRoot<legacy::rr2025::CheckpointInfo>();
    build_message(imported_.state(), legacy_.entry.page_directory, again);
    const std::string difference = first_difference(legacy_.message.root(), again.asReader());
    if (!difference.empty()) {
      fail("the field " + difference);
    }
    const auto spaces = imported_.state().getAddressSpaces();
    for (std::size_t s = 0; s < legacy_.message.monitoring_skipped.size(); ++s) {
      std::size_t count = 0;
      for (const auto mapping : spaces[static_cast<unsigned>(s)].getMappings()) {
        count += mapping.getRr().getMonitoringSkipped() ? 1 : 0;
      }
      if (count != legacy_.message.monitoring_skipped[s].size()) {
        fail("the flags that monitoring is skipped");
      }
    }
  }

  void check_memory() {
    const auto spaces = legacy_.message.root().getCloneCompletion().getAddressSpaces();
    std::uint64_t total = 0;
    for (const auto space : spaces) {
      for (const auto mapping : space.getProcessSpace().getVirtualAddressSpace()) {
        total += mapping.getMapType().isGuardSegment() ? 0 : mapping.getEnd() - mapping.getStart();
      }
    }
    std::uint64_t done = 0;
    std::vector<std::byte> mine(kReadBytes);
    std::vector<std::byte> theirs(kReadBytes);
    for (unsigned s = 0; s < spaces.size(); ++s) {
      MemoryView view(imported_, s, {legacy_.context->trace.directory(), true});
      const auto mappings = spaces[s].getProcessSpace().getVirtualAddressSpace();
      for (unsigned m = 0; m < mappings.size(); ++m) {
        if (mappings[m].getMapType().isGuardSegment()) {
          continue;
        }
        const PageFile file(legacy_, s, m);
        for (std::uint64_t at = 0; at < file.size(); at += kReadBytes) {
          const auto count =
              static_cast<std::size_t>(std::min<std::uint64_t>(kReadBytes, file.size() - at));
          file.read(at, std::span(mine).first(count));
          const std::uint64_t address = mappings[m].getStart() + at;
          if (view.read(address, std::span(theirs).first(count)) != count ||
              std::memcmp(mine.data(), theirs.data(), count) != 0) {
            fail("memory at " + hex_text(address) + " of address space " + std::to_string(s));
          }
          done += count;
          if (progress_) {
            progress_(done, total);
          }
        }
      }
    }
  }

  const LegacyCheckpoint::Impl& legacy_;
  const CheckpointReader& imported_;
  const std::function<void(std::uint64_t, std::uint64_t)>& progress_;
};

} // namespace

void verify_import(const LegacyCheckpoint& legacy, const CheckpointReader& imported,
                   const std::function<void(std::uint64_t, std::uint64_t)>& progress) {
  Verifier(legacy.impl(), imported, progress).run();
}

} // namespace rrpcp
