// Where the components of an XSAVE area lie, for cores that do not say it.
#pragma once

#include "core/core_reader.h"

#include <cstdint>
#include <optional>
#include <vector>

namespace rrpcp {

// The layout of an area in the standard format of `size` bytes, of a processor with `features`
// (XCR0). Nothing where no processor is known that has it so.
std::optional<std::vector<XsaveRow>> known_xsave_layout(std::uint64_t features, std::uint64_t size);

// The layout that every debugger takes for granted, of the components of `layout`: before gdb 14 it
// was the only one that gdb knew, and areas of other processors are not read. Nothing where a
// component is not known there, or has another size.
std::optional<std::vector<XsaveRow>> common_xsave_layout(const std::vector<XsaveRow>& layout);

} // namespace rrpcp
