// Names of addresses in documents: spec/inspect-json.md, "Names".
#pragma once

#include "common/json.h"
#include "rrpcp/interop/symbols.h"

#include <optional>

namespace rrpcp::tools {

// {"name","offset","size","module","function","source","line"}, or null.
Json symbol_json(const std::optional<SymbolName>& symbol);

} // namespace rrpcp::tools
