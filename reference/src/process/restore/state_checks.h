// What is checked of a checkpoint before anything of its state is used.
#pragma once

#include "rrpcp/reader.h"

namespace rrpcp::process::restore {

// What has to be right before anything of the state can be looked at: the kind of machine and the
// size of its pages. Throws Error(kUnsupportedState).
void check_machine(const CheckpointReader& reader);

// Every rule of the model, so that the rest of a restore can rely on it, and that every base is
// there and the right one. Throws Error(kDamaged) with the rule's diagnostic, kUnsupportedState for
// a critical extension that is not known, and as CheckpointReader::base() does.
void check_rules(const CheckpointReader& reader);

} // namespace rrpcp::process::restore
