// Rows of pages, as a writer collects them and a reader resolves them.
#pragma once

#include "rrpcp/export.h"
#include "rrpcp/schema/memory.capnp.h"

#include <capnp/list.h>
#include <cstdint>
#include <vector>

namespace RRPCP_PUBLIC rrpcp {

// One schema::PageRun as a value.
struct PageRun {
  schema::RunKind kind = schema::RunKind::ZERO;
  // At least 1 in a stored run.
  std::uint64_t pages = 0;
  // Index in the page stream for STREAM, in that of the base for BASE; 0 otherwise.
  std::uint64_t first = 0;
  // BASE: index of the base in State.bases; 0 otherwise.
  std::uint32_t source = 0;

  bool operator==(const PageRun&) const = default;
};

// Whether a run of this kind takes pages of a page stream: this file's, or a base's.
bool is_of_stream(schema::RunKind kind);

// Appends `run` to `runs`, joining it with the last one where it continues it.
void append_run(std::vector<PageRun>& runs, const PageRun& run);

// Writes `runs` into a list that was initialised with runs.size() entries.
void set_runs(capnp::List<schema::PageRun>::Builder out, const std::vector<PageRun>& runs);

} // namespace rrpcp
