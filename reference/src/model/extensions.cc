#include "model/validate_state.h"

namespace rrpcp {

namespace {

struct KnownExtension {
  std::string_view id;
  std::uint32_t newest_version;
};

// Extensions that this release understands, as spec/registry.md lists them.
constexpr KnownExtension kKnown[] = {
    {"org.rr-project.persistent-checkpoint", 1},
    {"org.rr-project.replay-trace-step", 3},
    {"org.rrpcp.rr.replay", 1},
};

} // namespace

bool is_known_extension(std::string_view id, std::uint32_t version) {
  for (const KnownExtension& known : kKnown) {
    if (known.id == id) {
      return version >= 1 && version <= known.newest_version;
    }
  }
  return false;
}

} // namespace rrpcp
