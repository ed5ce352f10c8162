// The state of a replay's supervisor in a checkpoint.
#pragma once

#include "replay/engine/supervisor_state.h"
#include "rrpcp/reader.h"
#include "rrpcp/schema/state.capnp.h"

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <string_view>
#include <vector>

namespace rrpcp::replay {

// Registered id and version of the extension (spec/registry.md) that holds what State has no
// fields for.
inline constexpr std::string_view kReplayExtension = "org.rrpcp.rr.replay";
inline constexpr std::uint32_t kReplayExtensionVersion = 1;

// Sets session, serials and the fields of a replayer in `state`, whose processes and tasks are
// there with their recorded ids. The address spaces need not be there.
void store_supervisor(const SupervisorState& supervisor, schema::State::Builder state);

// An object of the replay where it is found in the checkpoint.
struct StoredObject {
  // Index in State.memoryObjects; schema::NO_INDEX: the bytes are `contents`.
  std::uint32_t memory_object = 0xffffffff;
  // By offset; what is not there is zeros. Of any, what is not zero behind its end.
  std::map<std::uint64_t, std::vector<std::byte>> contents = {};
};

// Sets the extension and the fields of address spaces: the last step. `objects` are by the numbers
// of SupervisorState::objects.
void store_extension(const SupervisorState& supervisor,
                     const std::map<std::uint32_t, StoredObject>& objects,
                     schema::State::Builder state);

// The reverse of both. Throws Error: kUnsupportedState where the checkpoint is not one of this
// replay host, kDamaged where its parts do not agree with each other.
SupervisorState load_supervisor(const CheckpointReader& reader);
std::map<std::uint32_t, StoredObject> load_objects(const CheckpointReader& reader);

} // namespace rrpcp::replay
