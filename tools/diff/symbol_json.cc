#include "diff/symbol_json.h"

namespace rrpcp::tools {

Json symbol_json(const std::optional<SymbolName>& symbol) {
  if (!symbol) {
    return nullptr;
  }
  return Json{{"name", json_bytes_as_text(symbol->name)},
              {"offset", symbol->offset},
              {"size", symbol->size},
              {"module", json_bytes_as_text(symbol->module)},
              {"function", symbol->function},
              {"source", symbol->line != 0 ? json_bytes_as_text(symbol->source) : Json(nullptr)},
              {"line", symbol->line != 0 ? Json(symbol->line) : Json(nullptr)}};
}

} // namespace rrpcp::tools
