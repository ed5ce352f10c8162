// Judging the bases of a checkpoint by the files that lie beside it.
#pragma once

#include "model/findings.h"
#include "model/validate_state.h"
#include "rrpcp/reader.h"

#include <string>

namespace rrpcp {

struct BasePlace {
  std::string file;      // the checkpoint, for messages
  std::string directory; // in which it lies
};

// Looks for each base of `state`, verifies it, and looks whether this checkpoint (`id`) is among
// its bases. `tails.of_bases` are judged where the base is there. Of bases that break a rule of the
// model nothing is said.
void validate_bases(const Header& header, const CheckpointId& id, schema::State::Reader state,
                    const PageTails& tails, const BasePlace& place, const ReadLimits& limits,
                    Findings& findings);

} // namespace rrpcp
