// From rr's message to the model, all but the contents of memory.
#pragma once

#include "legacy/checkpoint_impl.h"
#include "rrpcp/schema/state.capnp.h"

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace rrpcp::compat {

// Ids of extensions that an import writes (spec/registry.md).
inline constexpr char kReplayStepExtension[] = "org.rr-project.replay-trace-step";
inline constexpr char kDetailsExtension[] = "org.rr-project.persistent-checkpoint";
// Versions of the first one: how actions are numbered, and a structure that is not understood.
inline constexpr std::uint32_t kReplayStepRr2022 = 1;
inline constexpr std::uint32_t kReplayStepCurrent = 2;
inline constexpr std::uint32_t kReplayStepUnknown = 3;
inline constexpr std::uint32_t kDetailsVersion = 1;

inline constexpr char kRrProducer[] = "org.rr-project.rr";
inline constexpr char kRrTraceFormat[] = "org.rr-project.trace";

// mmap(2), the values of Linux on every machine that rr runs on.
inline constexpr std::uint32_t kMapShared = 1;
inline constexpr std::uint32_t kMapTypeMask = 0xf;
inline constexpr std::uint32_t kMapAnonymous = 0x20;
inline bool is_shared(std::uint32_t flags) {
  return (flags & kMapTypeMask) == kMapShared || (flags & kMapTypeMask) == 3;
}

// Numbers of the kinds of mapping, as rr's union has them.
enum class Arm : std::uint16_t {
  kFile,
  kGuardSegment,
  kSharedAnon,
  kPrivateAnon,
  kSyscallBuffer,
  kRrPage,
  kSharedSystemV,
};
Arm arm_of(legacy::rr2024::KernelMapping::Reader mapping);
// The kind that a mapping of the model implies.
Arm implied_arm(schema::Mapping::Reader mapping, bool object_is_system_v);

// One object of the model in the making.
struct PlannedObject {
  bool shared = false;
  bool system_v = false;
  // rr's own memory: its system-call buffer or one of its pages.
  bool replayers = false;
  std::uint64_t device = 0;
  std::uint64_t inode = 0;
  std::string name;
  // Among objects that differ in nothing but their contents.
  std::uint32_t variant = 0;
  // Bytes that the mappings reach.
  std::uint64_t length = 0;
  // The trace's record of the file, where there is one.
  const RrTraceMapping* record = nullptr;
  // Mappings that show it.
  struct Part {
    std::uint32_t space = 0;
    // Index in the message.
    std::uint32_t mapping = 0;
    std::uint64_t offset = 0;
    std::uint64_t length = 0;
  };
  std::vector<Part> parts;
};

// Where the mappings of the message went.
struct ImportPlan {
  // Per space: indexes in the message, in the order of the model (by address).
  std::vector<std::vector<std::uint32_t>> order;
  // Per space and index in the message: index of the object.
  std::vector<std::vector<std::uint32_t>> object;
  std::vector<PlannedObject> objects;
  // Objects whose contents differ between spaces, one sentence each.
  std::vector<std::string> differences;
};

// Decides which mappings show the same object; reads page files to see whether shared memory that
// should be the same is.
ImportPlan plan_import(const LegacyCheckpoint::Impl& legacy);

// Fills everything but page runs and the files' digests. `cursor` may be missing.
void build_state(const LegacyCheckpoint::Impl& legacy, const ImportPlan& plan,
                 const std::optional<RrTraceCursor>& cursor, schema::State::Builder state);

} // namespace rrpcp::compat
