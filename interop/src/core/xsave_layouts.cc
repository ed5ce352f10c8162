#include "core/xsave_layouts.h"

#include <algorithm>
#include <span>

namespace rrpcp {

namespace {

// Sources: CPUID leaf 0xD of processors of either vendor; Intel SDM volume 1, chapter 13; AMD
// architecture manual volume 2, section 11.5. Components above 1, ordered by number.
constexpr XsaveRow kIntel[] = {
    {2, 576, 256},   {3, 960, 64}, {4, 1024, 64},  {5, 1088, 64},    {6, 1152, 512},
    {7, 1664, 1024}, {9, 2688, 8}, {17, 2752, 64}, {18, 2816, 8192},
};
constexpr XsaveRow kAmd[] = {
    {2, 576, 256}, {5, 832, 64}, {6, 896, 512}, {7, 1408, 1024}, {9, 2432, 8},
};
// Zen 3: protection keys without AVX-512.
constexpr XsaveRow kAmdKeys[] = {{2, 576, 256}, {9, 832, 8}};

} // namespace

std::optional<std::vector<XsaveRow>> known_xsave_layout(std::uint64_t features,
                                                        std::uint64_t size) {
  const std::span<const XsaveRow> known[] = {kIntel, kAmd, kAmdKeys};
  for (const std::span<const XsaveRow> rows : known) {
    std::uint64_t end = 576;
    std::uint64_t found = 3;
    std::vector<XsaveRow> layout;
    for (const XsaveRow& row : rows) {
      if ((features >> row.number & 1) != 0) {
        layout.push_back(row);
        found |= std::uint64_t{1} << row.number;
        end = std::max<std::uint64_t>(end, row.offset + row.size);
      }
    }
    if ((found | 3) == (features | 3) && end == size) {
      return layout;
    }
  }
  return std::nullopt;
}

std::optional<std::vector<XsaveRow>> common_xsave_layout(const std::vector<XsaveRow>& layout) {
  std::vector<XsaveRow> out;
  for (const XsaveRow& row : layout) {
    const auto* known = std::find_if(std::begin(kIntel), std::end(kIntel), [&](const XsaveRow& k) {
      return k.number == row.number && k.size == row.size;
    });
    if (known == std::end(kIntel)) {
      return std::nullopt;
    }
    out.push_back(*known);
  }
  return out;
}

} // namespace rrpcp
