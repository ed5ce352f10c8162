// Making the processes of one checkpoint from those of another one: sharing what is the same.
#pragma once

#include "replay/checkpoint/process_group.h"

#include <optional>

namespace rrpcp::replay {

// Makes the processes of `next` by forking those of `previous`, which stand still as they were
// restored from `reader`, and changing what differs: pages that nobody changed stay shared, copy on
// write. Shared memory is made anew. A process that has no counterpart (another program since), or
// shares all its memory with another one, makes this impossible: nothing is returned then, and the
// caller restores as usual. The forked group is as restore_group gives it. Throws Error as that
// does; nothing is left behind then.
std::optional<RestoredGroup> fork_group(const CheckpointReader& reader, RestoredGroup& previous,
                                        const CheckpointReader& next,
                                        const GroupRestoreOptions& options);

} // namespace rrpcp::replay
