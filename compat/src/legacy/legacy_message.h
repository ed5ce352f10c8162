// One rr checkpoint of any generation as a message of the latest one.
#pragma once

#include "rrpcp/compat/legacy.h"
#include "rrpcp/legacy/rr_2022.capnp.h"
#include "rrpcp/legacy/rr_2024.capnp.h"
#include "rrpcp/legacy/rr_2025.capnp.h"

#include <capnp/message.h>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

namespace rrpcp::compat {

// The message, and what older generations had and the latest has not.
struct LegacyMessage {
  Generation generation = Generation::kRr2025;
  std::unique_ptr<capnp::MallocMessageBuilder> message;
  // rr-2022: per address space, indexes of the mappings with skipMonitoringMappedFd.
  std::vector<std::vector<std::uint32_t>> monitoring_skipped;

  legacy::rr2025::CheckpointInfo::Builder builder() const {
    return message->getRoot<legacy::rr2025::CheckpointInfo>();
  }
  legacy::rr2025::CheckpointInfo::Reader root() const { return builder().asReader(); }
  // The mark at which the state was taken.
  legacy::MarkData::Reader clone_mark() const;
};

// Steps from an older generation to the latest: nothing is judged, every field is carried over.
// `machine` is that of the trace; older generations had it nowhere.
LegacyMessage upgrade_2022(legacy::rr2022::CheckpointInfo::Reader info,
                           legacy::rr2022::CloneCompletionInfo::Reader completion,
                           legacy::Machine machine);
LegacyMessage upgrade_2024(legacy::rr2024::CheckpointInfo::Reader info,
                           legacy::rr2024::CloneCompletionInfo::Reader completion,
                           legacy::Machine machine);

// The path of a mapping's page file; null for a kind of mapping that has none.
capnp::Data::Reader contents_path(legacy::rr2024::KernelMapping::Reader mapping);
void set_contents_path(legacy::rr2024::KernelMapping::Builder mapping, std::string_view path);

inline std::string_view text(capnp::Data::Reader data) {
  return {reinterpret_cast<const char*>(data.begin()), data.size()};
}
inline capnp::Data::Reader as_data(std::string_view text) {
  return {reinterpret_cast<const capnp::byte*>(text.data()), text.size()};
}

} // namespace rrpcp::compat
