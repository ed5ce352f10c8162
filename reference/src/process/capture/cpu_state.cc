#include "process/capture/cpu_state.h"

#include <array>
#include <cpuid.h>
#include <cstdint>
#include <cstring>
#include <elf.h>

namespace rrpcp::process::capture {

namespace {

// Intel SDM volume 1, chapter 13: XSTATE_BV is the first word of the XSAVE header, which follows
// the 512 bytes of the legacy area.
constexpr std::size_t kXstateBvOffset = 512;
constexpr unsigned kXsaveLeaf = 0xd;

struct Leaf {
  unsigned eax = 0;
  unsigned ebx = 0;
  unsigned ecx = 0;
  unsigned edx = 0;
};

Leaf cpuid(unsigned leaf, unsigned subleaf) {
  Leaf result;
  __cpuid_count(leaf, subleaf, result.eax, result.ebx, result.ecx, result.edx);
  return result;
}

std::uint64_t xsave_features_in_use(schema::State::Reader state) {
  std::uint64_t features = 0;
  for (schema::Task::Reader task : state.getTasks()) {
    for (schema::RegisterSet::Reader set : task.getRegisters()) {
      capnp::Data::Reader bytes = set.getData();
      std::uint64_t xstate_bv = 0;
      if (set.getNoteType() == NT_X86_XSTATE &&
          bytes.size() >= kXstateBvOffset + sizeof xstate_bv) {
        std::memcpy(&xstate_bv, bytes.begin() + kXstateBvOffset, sizeof xstate_bv);
        features |= xstate_bv;
      }
    }
  }
  return features;
}

void describe_layout(schema::Cpu::Builder cpu) {
  std::vector<std::array<std::uint32_t, 3>> components;
  for (unsigned number = 2; number < 63; ++number) {
    Leaf leaf = cpuid(kXsaveLeaf, number);
    bool supervisor = (leaf.ecx & 1) != 0;
    if (leaf.eax != 0 && !supervisor) {
      components.push_back({number, leaf.ebx, leaf.eax});
    }
  }
  auto out = cpu.initXsaveLayout(static_cast<unsigned>(components.size()));
  for (unsigned i = 0; i < out.size(); ++i) {
    out[i].setNumber(static_cast<std::uint8_t>(components[i][0]));
    out[i].setOffset(components[i][1]);
    out[i].setSize(components[i][2]);
  }
}

void describe_features(schema::Cpu::Builder cpu) {
  constexpr unsigned kExtended = 0x80000000;
  constexpr unsigned kOsxsaveBit = 1u << 27; // leaf 1 ecx: set by the kernel, not by the processor
  constexpr unsigned kOspkeBit = 1u << 4;    // leaf 7 ecx: likewise
  struct Entry {
    unsigned leaf;
    unsigned subleaf;
    Leaf words;
  };
  std::vector<Entry> entries;
  const unsigned highest = cpuid(0, 0).eax;
  Leaf words = cpuid(1, 0);
  entries.push_back({1, 0, {0, 0, words.ecx & ~kOsxsaveBit, words.edx}});
  if (highest >= 7) {
    words = cpuid(7, 0);
    const unsigned subleaves = words.eax;
    entries.push_back({7, 0, {0, words.ebx, words.ecx & ~kOspkeBit, words.edx}});
    if (subleaves >= 1) {
      entries.push_back({7, 1, {cpuid(7, 1).eax, 0, 0, 0}});
    }
  }
  if (highest >= kXsaveLeaf) {
    words = cpuid(kXsaveLeaf, 0);
    entries.push_back({kXsaveLeaf, 0, {words.eax, 0, 0, words.edx}}); // bits of XCR0
    entries.push_back({kXsaveLeaf, 1, {cpuid(kXsaveLeaf, 1).eax, 0, 0, 0}});
  }
  if (cpuid(kExtended, 0).eax >= kExtended + 1) {
    words = cpuid(kExtended + 1, 0);
    entries.push_back({kExtended + 1, 0, {0, 0, words.ecx, words.edx}});
  }
  auto out = cpu.initCpuid(static_cast<unsigned>(entries.size()));
  for (unsigned i = 0; i < out.size(); ++i) {
    out[i].setLeaf(entries[i].leaf);
    out[i].setSubleaf(entries[i].subleaf);
    out[i].setEax(entries[i].words.eax);
    out[i].setEbx(entries[i].words.ebx);
    out[i].setEcx(entries[i].words.ecx);
    out[i].setEdx(entries[i].words.edx);
  }
}

} // namespace

void collect_cpu(schema::State::Reader state, const std::vector<AuxvEntry>& auxv,
                 schema::Cpu::Builder cpu) {
  std::uint64_t features = xsave_features_in_use(state);
  cpu.setXsaveFeatures(features);
  describe_layout(cpu);
  describe_features(cpu);
  cpu.setHwcap(find_auxv(auxv, AT_HWCAP).value_or(0));
  cpu.setHwcap2(find_auxv(auxv, AT_HWCAP2).value_or(0));
}

} // namespace rrpcp::process::capture
