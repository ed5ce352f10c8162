#include "replay/engine/cpuid_model.h"

#include "base/bytes.h"
#include "rrpcp/error.h"

#include <algorithm>
#include <cpuid.h>
#include <elf.h>
#include <iterator>

namespace rrpcp::replay {

namespace {

constexpr const char* kNames[] = {"native", "x86-64", "x86-64-v2", "x86-64-v3"};

constexpr std::uint32_t kFeatures = 1;
constexpr std::uint32_t kMoreFeatures = 7;
constexpr std::uint32_t kXsave = 0xd;
constexpr std::uint32_t kExtended = 0x80000000;

constexpr std::uint32_t bits(std::initializer_list<unsigned> numbers) {
  std::uint32_t word = 0;
  for (const unsigned number : numbers) {
    word |= std::uint32_t{1} << number;
  }
  return word;
}

// Features by level (System V ABI, AMD64 supplement, table "Micro-Architecture Levels"; their bits:
// Intel SDM volume 2A, CPUID; AMD64 Architecture Programmer's Manual volume 3, appendix E).
constexpr std::uint32_t kBase1d =
    bits({0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 11, 12, 13, 14, 15, 16, 17, 19, 23, 24, 25, 26, 28});
constexpr std::uint32_t kV2Of1c = bits({0, 9, 13, 19, 20, 23});   // SSE3 to SSE4.2, POPCNT, CX16
constexpr std::uint32_t kV3Of1c = bits({12, 22, 26, 27, 28, 29}); // FMA, MOVBE, XSAVE, AVX, F16C
constexpr std::uint32_t kV3Of7b = bits({3, 5, 8});                // BMI1, AVX2, BMI2
constexpr std::uint32_t kBaseExtendedD =
    bits({0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 11, 12, 13, 14, 15, 16, 17, 20, 23, 24, 29});
constexpr std::uint64_t kV3State = 7; // x87, SSE, AVX

constexpr unsigned kPkruNumber = 9;
constexpr std::uint64_t kPkru = std::uint64_t{1} << kPkruNumber;

CpuidWords cpuid(std::uint32_t leaf, std::uint32_t subleaf) {
  CpuidWords words;
  __cpuid_count(leaf, subleaf, words.eax, words.ebx, words.ecx, words.edx);
  return words;
}

std::uint64_t own_extended_state() {
  constexpr unsigned kOsxsave = 27;
  if ((cpuid(kFeatures, 0).ecx >> kOsxsave & 1) == 0) {
    return 0;
  }
  std::uint32_t low;
  std::uint32_t high;
  asm("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return (std::uint64_t{high} << 32) | low;
}

} // namespace

std::string CpuidModel::names() {
  std::string text;
  for (const char* name : kNames) {
    text += (text.empty() ? "" : ", ") + std::string(name);
  }
  return text;
}

CpuidModel::CpuidModel(const std::string& name) : name_(name.empty() ? kNames[0] : name) {
  const auto* const found = std::find(std::begin(kNames), std::end(kNames), name_);
  if (found == std::end(kNames)) {
    throw Error(ErrorCode::kInvalidArgument, "there is no processor model '" + name_ + "'")
        .with_hint("the models are " + names());
  }
  level_ = static_cast<int>(found - std::begin(kNames));
}

CpuidWords CpuidModel::answer(std::uint32_t leaf, std::uint32_t subleaf) const {
  CpuidWords words = cpuid(leaf, subleaf);
  if (native()) {
    return words;
  }
  const bool v2 = level_ >= 2;
  const bool v3 = level_ >= 3;
  switch (leaf) {
  case 0:
    words.eax = std::min(words.eax, v3 ? kXsave : kMoreFeatures);
    return words;
  case kFeatures:
    words.ecx &= (v2 ? kV2Of1c : 0) | (v3 ? kV3Of1c : 0);
    words.edx &= kBase1d;
    return words;
  case 2: // caches, as old processors tell of them
  case 4:
    return words;
  case kMoreFeatures:
    return {0, subleaf == 0 && v3 ? words.ebx & kV3Of7b : 0, 0, 0};
  case kXsave:
    if (!v3) {
      return {};
    }
    switch (subleaf) {
    case 0: {
      const CpuidWords avx = cpuid(kXsave, 2);
      const std::uint32_t size = avx.ebx + avx.eax;
      return {words.eax & static_cast<std::uint32_t>(kV3State), size, size, 0};
    }
    case 2:
      return words;
    default:
      return {};
    }
  case kExtended:
    words.eax = std::min(words.eax, kExtended + 8);
    return words;
  case kExtended + 1:
    words.ecx &= (v2 ? bits({0}) : 0) | (v3 ? bits({5}) : 0); // LAHF, LZCNT
    words.edx &= kBaseExtendedD;
    return words;
  case kExtended + 2: // name of the processor
  case kExtended + 3:
  case kExtended + 4:
  case kExtended + 5: // caches
  case kExtended + 6:
    return words;
  case kExtended + 8: // sizes of addresses
    return {words.eax, 0, 0, 0};
  default:
    return {};
  }
}

std::uint64_t CpuidModel::extended_state() const {
  const std::uint64_t own = own_extended_state();
  return native() ? own : level_ >= 3 ? own & kV3State : 0;
}

bool CpuidModel::has(std::uint32_t leaf, std::uint32_t CpuidWords::*word, unsigned bit) const {
  return answer(0, 0).eax >= leaf && (answer(leaf, 0).*word >> bit & 1) != 0;
}

void CpuidModel::restrict(schema::Cpu::Builder cpu) const {
  if (native()) {
    return;
  }
  for (schema::CpuidLeaf::Builder leaf : cpu.getCpuid()) {
    const CpuidWords words = answer(leaf.getLeaf(), leaf.getSubleaf());
    leaf.setEax(leaf.getEax() & words.eax);
    leaf.setEbx(leaf.getEbx() & words.ebx);
    leaf.setEcx(leaf.getEcx() & words.ecx);
    leaf.setEdx(leaf.getEdx() & words.edx);
  }
  cpu.setHwcap(answer(kFeatures, 0).edx);
  cpu.setHwcap2(0);
}

bool offers_protection_keys(schema::Cpu::Reader cpu) {
  constexpr unsigned kPku = 3; // of ecx
  for (const schema::CpuidLeaf::Reader leaf : cpu.getCpuid()) {
    if (leaf.getLeaf() == kMoreFeatures && leaf.getSubleaf() == 0) {
      return (leaf.getEcx() >> kPku & 1) != 0;
    }
  }
  return false;
}

void drop_protection_keys(std::span<std::byte> area) {
  constexpr std::uint32_t kKernelsOwn = 0x55555554; // init_pkru_value of arch/x86/mm/pkeys.c
  if (area.size() < kXstateBv + sizeof(std::uint64_t)) {
    return;
  }
  const auto in_use = load_le<std::uint64_t>(area, kXstateBv);
  if ((in_use & kPkru) == 0) {
    return;
  }
  const CpuidWords where = cpuid(kXsave, kPkruNumber);
  if (where.eax < sizeof(std::uint32_t) || where.ebx > area.size() - sizeof(std::uint32_t)) {
    return;
  }
  const auto value = load_le<std::uint32_t>(area, where.ebx);
  if (value == kKernelsOwn || value == 0) {
    store_le<std::uint64_t>(area, kXstateBv, in_use & ~kPkru);
    store_le<std::uint32_t>(area, where.ebx, 0);
  }
}

void restrict_state(schema::State::Builder state, schema::Cpu::Reader told) {
  schema::Cpu::Builder cpu = state.getCpu();
  cpu.setCpuid(told.getCpuid());
  cpu.setHwcap(told.getHwcap());
  cpu.setHwcap2(told.getHwcap2());
  if (offers_protection_keys(told)) {
    return;
  }
  std::uint64_t in_use = 0;
  for (schema::Task::Builder task : state.getTasks()) {
    for (schema::RegisterSet::Builder set : task.getRegisters()) {
      if (set.getNoteType() != NT_X86_XSTATE) {
        continue;
      }
      capnp::Data::Builder data = set.getData();
      const std::span<std::byte> area(reinterpret_cast<std::byte*>(data.begin()), data.size());
      drop_protection_keys(area);
      if (area.size() >= kXstateBv + sizeof(std::uint64_t)) {
        in_use |= load_le<std::uint64_t>(area, kXstateBv);
      }
    }
  }
  if ((in_use & kPkru) == 0) {
    cpu.setXsaveFeatures(cpu.getXsaveFeatures() & ~kPkru);
  }
}

} // namespace rrpcp::replay
