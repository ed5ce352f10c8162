#include "core/core_notes.h"

#include "base/bytes.h"
#include "core/xsave_layouts.h"
#include "model/signal_info.h"
#include "rrpcp/error.h"

#include <algorithm>
#include <cstring>
#include <elf.h>
#include <span>
#include <string_view>

namespace rrpcp {

namespace {

constexpr std::uint32_t kPrfpreg = NT_PRFPREG;
// Of an XSAVE area: the legacy area, which NT_PRFPREG is, and the place where the kernel says which
// components the processor has (Linux, asm/sigcontext.h: sw_reserved.xfeatures).
constexpr std::size_t kLegacyArea = 512;
constexpr std::size_t kXfeatures = 464;
constexpr std::size_t kXsaveHeaderEnd = 576;

class NoteWriter {
public:
  explicit NoteWriter(unsigned word) : word_(word) {}

  void add(std::string_view owner, std::uint32_t type, std::span<const std::byte> data) {
    number<std::uint32_t>(static_cast<std::uint32_t>(owner.size() + 1));
    number<std::uint32_t>(static_cast<std::uint32_t>(data.size()));
    number(type);
    bytes(std::as_bytes(std::span(owner)));
    bytes_.push_back(std::byte{0});
    pad();
    bytes(data);
    pad();
  }

  std::vector<std::byte> take() { return std::move(bytes_); }

  // An unsigned long of the machine.
  void word(std::vector<std::byte>& out, std::uint64_t value) const {
    const auto raw = std::as_bytes(std::span(&value, 1)).first(word_);
    out.insert(out.end(), raw.begin(), raw.end());
  }

private:
  template <typename T> void number(T value) { bytes(std::as_bytes(std::span(&value, 1))); }
  void bytes(std::span<const std::byte> data) {
    bytes_.insert(bytes_.end(), data.begin(), data.end());
  }
  void pad() { bytes_.resize(align_up(bytes_.size(), 4)); }

  unsigned word_;
  std::vector<std::byte> bytes_;
};

std::span<const std::byte> span_of(capnp::Data::Reader data) {
  return std::as_bytes(std::span(data.begin(), data.size()));
}

// Stores the low `size` bytes of `value`.
void store(std::span<std::byte> out, std::size_t offset, std::size_t size, std::uint64_t value) {
  std::memcpy(out.subspan(offset, size).data(), &value, size);
}

std::uint64_t pending_bits(capnp::List<schema::SignalInfo>::Reader signals) {
  std::uint64_t bits = 0;
  for (const schema::SignalInfo::Reader signal : signals) {
    if (signal.getSignal() >= 1 && signal.getSignal() <= 64) {
      bits |= std::uint64_t{1} << (signal.getSignal() - 1);
    }
  }
  return bits;
}

void store_ids(std::span<std::byte> out, std::size_t offset, std::int32_t id,
               schema::Process::Reader process) {
  store_le(out, offset, id);
  store_le(out, offset + 4, process.getParentPid());
  store_le(out, offset + 8, process.getProcessGroup());
  store_le(out, offset + 12, process.getSessionId());
}

std::vector<std::byte> status_of(const CoreProcess& core, schema::Task::Reader task, int signal,
                                 bool has_fp) {
  const CoreLayout::Status& at = core.layout->status;
  std::vector<std::byte> out(at.size);
  store_le<std::int32_t>(out, 0, signal);
  store_le<std::int16_t>(out, 12, static_cast<std::int16_t>(signal));
  store(out, at.pending, core.layout->word, pending_bits(task.getPendingSignals()));
  if (task.getSignalMask() != ~std::uint64_t{0}) { // else it is not recorded
    store(out, at.held, core.layout->word, task.getSignalMask());
  }
  store_ids(out, at.pid, task.getTid(), core.process);
  store_le<std::int32_t>(out, at.has_fp, has_fp ? 1 : 0);
  for (const schema::RegisterSet::Reader set : task.getRegisters()) {
    if (set.getNoteType() == NT_PRSTATUS) {
      if (set.getData().size() != at.registers_size) {
        break;
      }
      std::memcpy(out.data() + at.registers, set.getData().begin(), at.registers_size);
      return out;
    }
  }
  throw Error(ErrorCode::kUnsupportedState, "thread " + std::to_string(task.getTid()) +
                                                " has no general registers of " +
                                                core.layout->name);
}

std::vector<std::byte> info_of(const CoreProcess& core) {
  const CoreLayout::Info& at = core.layout->info;
  std::vector<std::byte> out(at.size);
  out[1] = std::byte{'R'};
  const schema::Process::Reader process = core.process;
  const schema::Credentials::Reader credentials = process.getCredentials();
  store(out, at.uid, at.id_size, credentials.getRealUid());
  store(out, at.gid, at.id_size, credentials.getRealGid());
  store_ids(out, at.pid, process.getPid(), process);
  schema::Task::Reader leader = core.tasks.front();
  for (const schema::Task::Reader task : core.tasks) {
    if (task.getTid() == process.getPid()) {
      leader = task;
    }
  }
  out[3] = static_cast<std::byte>(leader.getAttributes().getScheduling().getNice());
  const auto name = span_of(leader.getName());
  std::copy_n(name.begin(), std::min(name.size(), kCoreNameSize - 1), out.begin() + at.name);
  std::size_t used = 0;
  for (const capnp::Data::Reader argument : process.getCommandLine()) {
    const auto text = span_of(argument);
    if (used != 0 && used < kCoreArgumentsSize - 1) {
      out[at.arguments + used++] = std::byte{' '};
    }
    const std::size_t n = std::min(text.size(), kCoreArgumentsSize - 1 - used);
    std::copy_n(text.begin(), n, out.begin() + at.arguments + static_cast<std::ptrdiff_t>(used));
    used += n;
  }
  return out;
}

// The registers as NT_PRFPREG has them; empty where they are not known.
std::span<const std::byte> floating_point(schema::Task::Reader task, std::uint16_t machine) {
  for (const schema::RegisterSet::Reader set : task.getRegisters()) {
    if (set.getNoteType() == kPrfpreg) {
      return span_of(set.getData());
    }
    if (set.getNoteType() == NT_X86_XSTATE && machine == EM_X86_64 &&
        set.getData().size() >= kLegacyArea) {
      return span_of(set.getData()).first(kLegacyArea);
    }
  }
  return {};
}

std::vector<XsaveRow> layout_of(schema::Cpu::Reader cpu) {
  std::vector<XsaveRow> out;
  for (const schema::XsaveComponent::Reader component : cpu.getXsaveLayout()) {
    out.push_back({component.getNumber(), component.getOffset(), component.getSize()});
  }
  return out;
}

// The layout in which XSAVE areas are written.
std::vector<XsaveRow> written_layout(schema::Cpu::Reader cpu) {
  const std::vector<XsaveRow> layout = layout_of(cpu);
  return common_xsave_layout(layout).value_or(layout);
}

// With its components where debuggers look for them, and with the word that says which components
// the processor has.
std::vector<std::byte> xsave_area(capnp::Data::Reader data, schema::Cpu::Reader cpu) {
  const auto bytes = span_of(data);
  std::vector<std::byte> area(bytes.begin(), bytes.end());
  if (area.size() < kXsaveHeaderEnd) {
    return area;
  }
  const std::vector<XsaveRow> from = layout_of(cpu);
  const std::vector<XsaveRow> to = written_layout(cpu);
  std::uint64_t features = cpu.getXsaveFeatures() | 3;
  std::size_t size = kXsaveHeaderEnd;
  for (const XsaveRow& row : to) {
    features |= row.number < 64 ? std::uint64_t{1} << row.number : 0;
    size = std::max<std::size_t>(size, row.offset + row.size);
  }
  bool moved = false;
  for (std::size_t i = 0; i < from.size(); ++i) {
    moved = moved || from[i].offset != to[i].offset;
  }
  if (moved) {
    std::vector<std::byte> out(bytes.begin(), bytes.begin() + kXsaveHeaderEnd);
    out.resize(size);
    for (std::size_t i = 0; i < from.size(); ++i) {
      if (std::size_t{from[i].offset} + from[i].size <= bytes.size()) {
        std::memcpy(out.data() + to[i].offset, bytes.data() + from[i].offset, from[i].size);
      }
    }
    area = std::move(out);
  }
  if (load_le<std::uint64_t>(area, kXfeatures) == 0) {
    store_le(std::span(area), kXfeatures, features);
  }
  return area;
}

// struct x86_xfeat_component of Linux (asm/elf.h): type, size, offset, flags.
std::vector<std::byte> xsave_layout(schema::Cpu::Reader cpu) {
  std::vector<std::byte> out;
  for (const XsaveRow& row : written_layout(cpu)) {
    const std::uint32_t words[] = {row.number, row.size, row.offset, 0};
    const auto bytes = std::as_bytes(std::span(words));
    out.insert(out.end(), bytes.begin(), bytes.end());
  }
  return out;
}

} // namespace

std::vector<std::byte>
core_notes(const CoreProcess& core, const std::vector<CoreFileRow>& files, std::uint64_t page_size,
           const std::vector<std::pair<std::uint64_t, std::uint64_t>>& zero_ranges) {
  const CoreLayout& layout = *core.layout;
  NoteWriter notes(layout.word);
  for (const schema::Task::Reader& task : core.tasks) {
    const bool first = &task == &core.tasks.front();
    const auto fp = floating_point(task, layout.machine);
    notes.add(kOwnerCore, NT_PRSTATUS, status_of(core, task, first ? core.signal : 0, !fp.empty()));
    if (first) {
      notes.add(kOwnerCore, NT_PRPSINFO, info_of(core));
      if (layout.word == 8) { // another layout on 32-bit machines
        notes.add(kOwnerCore, NT_SIGINFO,
                  core.signal != 0 ? encode_siginfo(core.state.getSession().getLastSignal())
                                   : std::array<std::byte, kSiginfoSize>{});
      }
      std::vector<std::byte> data;
      for (const schema::AuxiliaryEntry::Reader entry : core.space.getAuxv()) {
        notes.word(data, entry.getType());
        notes.word(data, entry.getValue());
      }
      notes.word(data, AT_NULL);
      notes.word(data, 0);
      notes.add(kOwnerCore, NT_AUXV, data);
      data.clear();
      notes.word(data, files.size());
      notes.word(data, page_size);
      for (const CoreFileRow& row : files) {
        notes.word(data, row.start);
        notes.word(data, row.end);
        notes.word(data, row.offset / page_size);
      }
      for (const CoreFileRow& row : files) {
        const auto path = std::as_bytes(std::span(row.path.c_str(), row.path.size() + 1));
        data.insert(data.end(), path.begin(), path.end());
      }
      notes.add(kOwnerCore, NT_FILE, data);
    }
    if (!fp.empty()) {
      notes.add(kOwnerCore, kPrfpreg, fp);
    }
    for (const schema::RegisterSet::Reader set : task.getRegisters()) {
      if (set.getNoteType() == NT_PRSTATUS || set.getNoteType() == kPrfpreg) {
        continue;
      }
      if (set.getNoteType() == NT_X86_XSTATE) {
        notes.add(kOwnerLinux, NT_X86_XSTATE, xsave_area(set.getData(), core.state.getCpu()));
      } else {
        notes.add(kOwnerLinux, set.getNoteType(), span_of(set.getData()));
      }
    }
    if (task.getName().size() != 0) {
      notes.add(kOwnerOurs, kNoteThreadName, span_of(task.getName()));
    }
  }
  if (const auto data = xsave_layout(core.state.getCpu()); !data.empty()) {
    notes.add(kOwnerLinux, kNoteXsaveLayout, data);
  }
  // There even where it is empty: it says who wrote the core.
  std::vector<std::byte> ranges;
  for (const auto& [start, end] : zero_ranges) {
    const std::uint64_t both[] = {start, end};
    const auto bytes = std::as_bytes(std::span(both));
    ranges.insert(ranges.end(), bytes.begin(), bytes.end());
  }
  notes.add(kOwnerOurs, kNoteZeroRanges, ranges);
  return notes.take();
}

} // namespace rrpcp
