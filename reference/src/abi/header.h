// A header as the C interface shows it.
#pragma once

#include "rrpcp/reader.h"
#include "rrpcp/rrpcp.h"

namespace rrpcp::abi {

// `footer` is null for a file that has none.
void fill_header(const Header& header, const Footer* footer, std::uint64_t file_size,
                 rrpcp_header* out, std::size_t size);

} // namespace rrpcp::abi
