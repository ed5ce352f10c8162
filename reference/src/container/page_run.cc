#include "rrpcp/page_run.h"

namespace rrpcp {

void append_run(std::vector<PageRun>& runs, const PageRun& run) {
  if (run.pages == 0) {
    return;
  }
  if (!runs.empty()) {
    PageRun& last = runs.back();
    bool continues = last.kind == run.kind &&
                     (run.kind != schema::RunKind::STREAM || last.first + last.pages == run.first);
    if (continues) {
      last.pages += run.pages;
      return;
    }
  }
  runs.push_back(run);
}

void set_runs(capnp::List<schema::PageRun>::Builder out, const std::vector<PageRun>& runs) {
  for (std::size_t i = 0; i < runs.size(); ++i) {
    auto run = out[static_cast<unsigned>(i)];
    run.setPages(runs[i].pages);
    run.setFirst(runs[i].first);
    run.setKind(runs[i].kind);
  }
}

} // namespace rrpcp
