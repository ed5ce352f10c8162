#include "process/restore/xsave_area.h"

#include "base/bytes.h"
#include "rrpcp/error.h"

#include <cpuid.h>
#include <cstring>

namespace rrpcp::process::restore {

namespace {

// Intel SDM volume 1, section 13.4: the legacy region, then the XSAVE header.
constexpr std::size_t kLegacyBytes = 512;
constexpr std::size_t kHeaderBytes = 64;
constexpr std::size_t kXstateBv = kLegacyBytes;
// Bytes 464 to 511 of the legacy region are the system's; Linux keeps a feature mask there.
constexpr std::size_t kSoftwareBytes = 464;
constexpr std::uint32_t kXsaveLeaf = 0xd;

struct Cpuid {
  std::uint32_t eax = 0;
  std::uint32_t ebx = 0;
  std::uint32_t ecx = 0;
  std::uint32_t edx = 0;
};

// Zeros for a leaf that the processor does not have.
Cpuid cpuid(std::uint32_t leaf, std::uint32_t subleaf) {
  Cpuid value;
  if (__get_cpuid_count(leaf, subleaf, &value.eax, &value.ebx, &value.ecx, &value.edx) == 0) {
    return {};
  }
  return value;
}

std::uint64_t read_xcr0() {
  constexpr std::uint32_t kOsxsave = 1u << 27;
  if ((cpuid(1, 0).ecx & kOsxsave) == 0) {
    return 3; // x87 and SSE, which every x86-64 processor has
  }
  std::uint32_t low;
  std::uint32_t high;
  asm("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return (static_cast<std::uint64_t>(high) << 32) | low;
}

struct ComponentName {
  std::uint64_t bits;
  const char* name;
};

constexpr ComponentName kComponentNames[] = {
    {1u << 0, "x87"},     {1u << 1, "SSE"},  {1u << 2, "AVX"},  {3u << 3, "MPX"},
    {7u << 5, "AVX-512"}, {1u << 9, "PKRU"}, {3u << 11, "CET"}, {1u << 14, "UINTR"},
    {3u << 17, "AMX"},    {1u << 19, "APX"},
};

std::string component_numbers(std::uint64_t bits) {
  std::string text;
  int count = 0;
  for (unsigned i = 0; i < 64; ++i) {
    if ((bits >> i & 1) == 0) {
      continue;
    }
    unsigned last = i;
    while (last < 63 && (bits >> (last + 1) & 1) != 0) {
      ++last;
    }
    text += (text.empty() ? "" : ", ") + std::to_string(i);
    count += static_cast<int>(last - i) + 1;
    if (last > i) {
      text += "-" + std::to_string(last);
    }
    i = last;
  }
  return (count == 1 ? "component " : "components ") + text;
}

// Feature bits of CPUID (Intel SDM volume 2A, CPUID; AMD APM volume 3, appendix E) that user code
// tests before it uses the instructions.
struct InstructionSet {
  std::uint32_t leaf;
  std::uint32_t subleaf;
  char output; // 'a', 'b', 'c', 'd'
  unsigned bit;
  const char* name;
};

constexpr InstructionSet kInstructionSets[] = {
    {1, 0, 'c', 0, "SSE3"},
    {1, 0, 'c', 1, "PCLMULQDQ"},
    {1, 0, 'c', 9, "SSSE3"},
    {1, 0, 'c', 12, "FMA"},
    {1, 0, 'c', 13, "CMPXCHG16B"},
    {1, 0, 'c', 19, "SSE4.1"},
    {1, 0, 'c', 20, "SSE4.2"},
    {1, 0, 'c', 22, "MOVBE"},
    {1, 0, 'c', 23, "POPCNT"},
    {1, 0, 'c', 25, "AES"},
    {1, 0, 'c', 28, "AVX"},
    {1, 0, 'c', 29, "F16C"},
    {1, 0, 'c', 30, "RDRAND"},
    {7, 0, 'b', 0, "FSGSBASE"},
    {7, 0, 'b', 3, "BMI1"},
    {7, 0, 'b', 4, "HLE"},
    {7, 0, 'b', 5, "AVX2"},
    {7, 0, 'b', 8, "BMI2"},
    {7, 0, 'b', 11, "RTM"},
    {7, 0, 'b', 16, "AVX512F"},
    {7, 0, 'b', 17, "AVX512DQ"},
    {7, 0, 'b', 18, "RDSEED"},
    {7, 0, 'b', 19, "ADX"},
    {7, 0, 'b', 21, "AVX512_IFMA"},
    {7, 0, 'b', 23, "CLFLUSHOPT"},
    {7, 0, 'b', 24, "CLWB"},
    {7, 0, 'b', 28, "AVX512CD"},
    {7, 0, 'b', 29, "SHA"},
    {7, 0, 'b', 30, "AVX512BW"},
    {7, 0, 'b', 31, "AVX512VL"},
    {7, 0, 'c', 1, "AVX512_VBMI"},
    {7, 0, 'c', 4, "OSPKE"},
    {7, 0, 'c', 5, "WAITPKG"},
    {7, 0, 'c', 6, "AVX512_VBMI2"},
    {7, 0, 'c', 8, "GFNI"},
    {7, 0, 'c', 9, "VAES"},
    {7, 0, 'c', 10, "VPCLMULQDQ"},
    {7, 0, 'c', 11, "AVX512_VNNI"},
    {7, 0, 'c', 12, "AVX512_BITALG"},
    {7, 0, 'c', 14, "AVX512_VPOPCNTDQ"},
    {7, 0, 'c', 22, "RDPID"},
    {7, 0, 'c', 27, "MOVDIRI"},
    {7, 0, 'c', 28, "MOVDIR64B"},
    {7, 0, 'd', 8, "AVX512_VP2INTERSECT"},
    {7, 0, 'd', 14, "SERIALIZE"},
    {7, 0, 'd', 22, "AMX-BF16"},
    {7, 0, 'd', 23, "AVX512_FP16"},
    {7, 0, 'd', 24, "AMX-TILE"},
    {7, 0, 'd', 25, "AMX-INT8"},
    {7, 1, 'a', 0, "SHA512"},
    {7, 1, 'a', 1, "SM3"},
    {7, 1, 'a', 2, "SM4"},
    {7, 1, 'a', 4, "AVX-VNNI"},
    {7, 1, 'a', 5, "AVX512_BF16"},
    {7, 1, 'a', 23, "AVX-IFMA"},
    {7, 1, 'd', 4, "AVX-VNNI-INT8"},
    {7, 1, 'd', 5, "AVX-NE-CONVERT"},
    {7, 1, 'd', 10, "AVX-VNNI-INT16"},
    {7, 1, 'd', 21, "APX_F"},
    {0xd, 1, 'a', 0, "XSAVEOPT"},
    {0xd, 1, 'a', 1, "XSAVEC"},
    {0x80000001, 0, 'c', 0, "LAHF"},
    {0x80000001, 0, 'c', 5, "LZCNT"},
    {0x80000001, 0, 'c', 6, "SSE4A"},
    {0x80000001, 0, 'c', 8, "PREFETCHW"},
    {0x80000001, 0, 'c', 11, "XOP"},
    {0x80000001, 0, 'c', 16, "FMA4"},
    {0x80000001, 0, 'c', 21, "TBM"},
    {0x80000001, 0, 'd', 27, "RDTSCP"},
};

bool bit_of(std::uint32_t a, std::uint32_t b, std::uint32_t c, std::uint32_t d,
            const InstructionSet& set) {
  const std::uint32_t word = set.output == 'a'   ? a
                             : set.output == 'b' ? b
                             : set.output == 'c' ? c
                                                 : d;
  return (word >> set.bit & 1) != 0;
}

} // namespace

XsaveLayout own_xsave_layout() {
  XsaveLayout layout;
  layout.features = read_xcr0();
  for (unsigned i = 2; i < 63; ++i) {
    if ((layout.features >> i & 1) != 0) {
      Cpuid leaf = cpuid(kXsaveLeaf, i);
      layout.components[i] = {leaf.ebx, leaf.eax};
    }
  }
  return layout;
}

XsaveLayout stored_xsave_layout(schema::Cpu::Reader cpu) {
  XsaveLayout layout;
  layout.features = cpu.getXsaveFeatures();
  for (schema::XsaveComponent::Reader component : cpu.getXsaveLayout()) {
    if (component.getNumber() < layout.components.size()) {
      layout.components[component.getNumber()] = {component.getOffset(), component.getSize()};
    }
  }
  return layout;
}

bool same_components(const XsaveLayout& a, const XsaveLayout& b) {
  for (std::size_t i = 0; i < a.components.size(); ++i) {
    if (a.components[i].size != b.components[i].size ||
        (a.components[i].size != 0 && a.components[i].offset != b.components[i].offset)) {
      return false;
    }
  }
  return true;
}

std::uint64_t xsave_components_in_use(std::span<const std::byte> area) {
  if (area.size() < kLegacyBytes + kHeaderBytes) {
    return 0;
  }
  return load_le<std::uint64_t>(area, kXstateBv);
}

std::string xsave_component_names(std::uint64_t bits) {
  std::string text;
  auto append = [&](const std::string& name, std::uint64_t which) {
    text += (text.empty() ? "" : ", ") + name + " (" + component_numbers(which) + ")";
    bits &= ~which;
  };
  for (const ComponentName& known : kComponentNames) {
    if ((bits & known.bits) != 0) {
      append(known.name, bits & known.bits);
    }
  }
  if (bits != 0) {
    append("unknown", bits);
  }
  return text;
}

void convert_xsave_area(std::span<const std::byte> area, const XsaveLayout& from,
                        std::span<std::byte> into, const XsaveLayout& to) {
  if (area.size() < kLegacyBytes + kHeaderBytes || into.size() < kLegacyBytes + kHeaderBytes) {
    throw Error(ErrorCode::kDamaged,
                "the XSAVE area of a task has only " + std::to_string(area.size()) + " bytes");
  }
  const std::uint64_t in_use = xsave_components_in_use(area);
  const std::uint64_t lacking = in_use & ~to.features;
  if (lacking != 0) {
    throw Error(ErrorCode::kUnsupportedState,
                "this processor or kernel lacks " + xsave_component_names(lacking));
  }
  std::memcpy(into.data(), area.data(), kSoftwareBytes);
  std::span<std::byte> header = into.subspan(kLegacyBytes, kHeaderBytes);
  std::fill(header.begin(), header.end(), std::byte{0});
  store_le<std::uint64_t>(into, kXstateBv, in_use);
  for (unsigned i = 2; i < to.components.size(); ++i) {
    const XsaveLayout::Component& target = to.components[i];
    if (target.size == 0) {
      continue;
    }
    if (target.offset > into.size() || target.size > into.size() - target.offset) {
      if ((in_use >> i & 1) != 0) {
        throw Error(ErrorCode::kUnsupportedState,
                    "the kernel does not take " + xsave_component_names(std::uint64_t{1} << i));
      }
      continue;
    }
    std::span<std::byte> out = into.subspan(target.offset, target.size);
    if ((in_use >> i & 1) == 0) {
      std::fill(out.begin(), out.end(), std::byte{0});
      continue;
    }
    const XsaveLayout::Component& source = from.components[i];
    if (source.size != target.size) {
      throw Error(ErrorCode::kUnsupportedState,
                  xsave_component_names(std::uint64_t{1} << i) + " has " +
                      std::to_string(target.size) + " bytes on this processor and " +
                      std::to_string(source.size) + " in the checkpoint");
    }
    if (source.offset > area.size() || source.size > area.size() - source.offset) {
      throw Error(ErrorCode::kDamaged, "the XSAVE area of a task is too short for its components");
    }
    std::memcpy(out.data(), area.data() + source.offset, source.size);
  }
}

std::vector<std::string> missing_instruction_sets(schema::Cpu::Reader cpu) {
  std::vector<std::string> names;
  for (schema::CpuidLeaf::Reader leaf : cpu.getCpuid()) {
    Cpuid own = cpuid(leaf.getLeaf(), leaf.getSubleaf());
    for (const InstructionSet& set : kInstructionSets) {
      if (set.leaf == leaf.getLeaf() && set.subleaf == leaf.getSubleaf() &&
          bit_of(leaf.getEax(), leaf.getEbx(), leaf.getEcx(), leaf.getEdx(), set) &&
          !bit_of(own.eax, own.ebx, own.ecx, own.edx, set)) {
        names.emplace_back(set.name);
      }
    }
  }
  return names;
}

} // namespace rrpcp::process::restore
