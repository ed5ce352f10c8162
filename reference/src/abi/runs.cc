#include "abi/error.h"
#include "abi/handles.h"

#include <memory>

using namespace rrpcp;
using namespace rrpcp::abi;

rrpcp_status rrpcp_runs_new(rrpcp_runs** runs, rrpcp_error** error) {
  return guarded(error, [&] { *runs = std::make_unique<rrpcp_runs>().release(); });
}

void rrpcp_runs_free(rrpcp_runs* runs) {
  delete runs;
}

rrpcp_status rrpcp_runs_add(rrpcp_runs* runs, int kind, uint64_t pages, rrpcp_error** error) {
  return guarded(error, [&] {
    require(runs, "the runs");
    const auto run = static_cast<schema::RunKind>(kind);
    if (kind < 0 || kind > RRPCP_RUN_GUARD || run == schema::RunKind::STREAM) {
      throw Error(ErrorCode::kInvalidArgument,
                  "there is no kind of run " + std::to_string(kind) + " that stores nothing");
    }
    append_run(runs->runs, {run, pages, 0});
  });
}
