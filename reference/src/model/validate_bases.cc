// Base checkpoints: what the manifest says of them, and what lies beside the file.
#include "model/validate_bases.h"

#include "base/bytes.h"
#include "container/bases.h"
#include "model/state_check.h"
#include "rrpcp/error.h"
#include "rrpcp/series.h"

#include <algorithm>
#include <set>
#include <string>
#include <vector>

namespace rrpcp {

namespace {

constexpr std::size_t kIdBytes = 16, kSealBytes = 32;

std::vector<kj::byte> bytes_of(capnp::Data::Reader data) {
  return {data.begin(), data.end()};
}

// A finding about a base, from what kept it from being opened.
void report(Findings& findings, const Path& at, const Error& error) {
  if (error.diagnostic() == "base.missing") {
    findings.in("base.missing", at, error.what());
  } else if (error.diagnostic() == "base.ambiguous") {
    findings.in("base.ambiguous", at, error.what());
  } else {
    findings.in("base.unusable", at, error.what());
  }
}

bool is_among_bases(const CheckpointReader& base, const CheckpointId& id) {
  const std::vector<CheckpointId> ids = base_ids(base);
  return std::find(ids.begin(), ids.end(), id) != ids.end();
}

} // namespace

void StateCheck::check_bases(const Path& path) {
  if (rules_.minor < format::kMinorOfBaseRuns) {
    return; // undefined there, which is said
  }
  auto bases = state_.getBases();
  bases_used_.assign(bases.size(), false);
  if (bases.size() > format::kMaxBases) {
    findings_.in("base.count", path, "there are " + std::to_string(bases.size()));
  }
  if (bases.size() != 0 && !rules_.base_runs) {
    findings_.in("base.feature", path, "incompatible feature bit 1 is not set");
  }
  std::set<std::vector<kj::byte>> ids;
  each(path, bases, [&](const Path& at, schema::BaseCheckpoint::Reader base) {
    const capnp::Data::Reader id = base.getId();
    if (id.size() != kIdBytes) {
      findings_.in("base.id", at / "id", "it has " + std::to_string(id.size()) + " bytes");
    } else if (!ids.insert(bytes_of(id)).second) {
      findings_.in("base.id", at / "id", "the base is listed before");
    }
    if (std::equal(id.begin(), id.end(), rules_.id.bytes.begin(), rules_.id.bytes.end())) {
      findings_.in("base.cycle", at / "id", "it is the id of this checkpoint");
    }
    const std::uint64_t page_size = rules_.page_size;
    if (base.getPageCount() == 0 || base.getPageCount() > format::kMaxStreamBytes / page_size) {
      findings_.in("base.geometry", at / "pageCount", std::to_string(base.getPageCount()));
    }
    if (base.getChunkPages() == 0 || base.getChunkPages() > format::kMaxChunkPages ||
        base.getChunkPages() * page_size > format::kMaxChunkLength) {
      findings_.in("base.geometry", at / "chunkPages", std::to_string(base.getChunkPages()));
    }
    if (base.getSeal().size() != 0 && base.getSeal().size() != kSealBytes) {
      findings_.in("base.seal", at / "seal",
                   "it has " + std::to_string(base.getSeal().size()) + " bytes");
    }
  });
}

void StateCheck::check_base_run(const Path& path, schema::PageRun::Reader run, bool wraps,
                                std::uint64_t end) {
  if (run.getSource() >= bases_used_.size()) {
    findings_.in("run.base", path, "there is no base " + std::to_string(run.getSource()));
    return;
  }
  bases_used_[run.getSource()] = true;
  const std::uint64_t pages = state_.getBases()[run.getSource()].getPageCount();
  if (wraps || end > pages) {
    findings_.in("run.base", path,
                 std::to_string(run.getPages()) + " pages from " + std::to_string(run.getFirst()) +
                     " on, where the base has " + std::to_string(pages));
  }
}

void StateCheck::check_unused_bases(const Path& path) {
  for (std::size_t i = 0; i < bases_used_.size(); ++i) {
    if (!bases_used_[i]) {
      findings_.in("base.unreferenced", path[i], "no run refers to it");
    }
  }
}

std::optional<std::uint64_t> StateCheck::pages_of_stream(schema::PageRun::Reader run) const {
  if (run.getKind() == schema::RunKind::STREAM) {
    return rules_.page_count;
  }
  if (run.getKind() == schema::RunKind::BASE && run.getSource() < bases_used_.size()) {
    return state_.getBases()[run.getSource()].getPageCount();
  }
  return std::nullopt;
}

void validate_bases(const Header& header, const CheckpointId& id, schema::State::Reader state,
                    const PageTails& tails, const BasePlace& place, const ReadLimits& limits,
                    Findings& findings) {
  if ((header.incompatible & format::kIncompatBaseRuns) == 0 ||
      header.minor < format::kMinorOfBaseRuns) {
    return;
  }
  const BaseContext context{place.file, header.trace_uuid, header.page_size, place.directory};
  const Path path("state.bases");
  auto bases = state.getBases();
  for (unsigned i = 0; i < std::min(bases.size(), format::kMaxBases); ++i) {
    const Path at = path[i];
    std::optional<BaseReference> reference;
    try {
      reference = base_reference(bases[i], place.file);
    } catch (const Error&) {
      continue; // which a rule of the model says
    }
    if (reference->id == id) {
      continue;
    }
    try {
      const auto base = open_base(*reference, context, limits);
      if (is_among_bases(*base, id)) {
        findings.in("base.cycle", at, base->name() + " has this checkpoint among its own bases");
      }
      for (const auto& [source, tail] : tails.of_bases) {
        if (source != i) {
          continue;
        }
        base->read_stream(tail.page, 1, [&, &used = tail.used, &name = tail.path](auto page) {
          if (!is_zero(page.subspan(used))) {
            findings.in("object.tail", name.c_str(),
                        "its last page, in " + base->name() + ", is not zero from byte " +
                            std::to_string(used) + " on");
          }
        });
      }
    } catch (const Error& error) {
      report(findings, at, error);
    }
  }
}

} // namespace rrpcp
