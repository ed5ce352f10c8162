#include "rrpcp/page_run.h"

namespace rrpcp {

bool is_of_stream(schema::RunKind kind) {
  return kind == schema::RunKind::STREAM || kind == schema::RunKind::BASE;
}

void append_run(std::vector<PageRun>& runs, const PageRun& run) {
  if (run.pages == 0) {
    return;
  }
  if (!runs.empty()) {
    PageRun& last = runs.back();
    bool continues = last.kind == run.kind && last.source == run.source &&
                     (!is_of_stream(run.kind) || last.first + last.pages == run.first);
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
    run.setSource(runs[i].source);
  }
}

} // namespace rrpcp
