// Real traces with rr's checkpoints, unpacked for one test.
#pragma once

#include "legacy/packed_message.h"
#include "rrpcp/compat/legacy.h"
#include "rrpcp/reader.h"
#include "support/checkpoint_bytes.h"
#include "support/temp_dir.h"

#include <capnp/serialize-packed.h>
#include <functional>
#include <string>

namespace rrpcp::test {

// The golden NAME ("rr-2025/tiny_ticks") in a directory of its own.
class Golden {
public:
  explicit Golden(const std::string& name);

  // The trace directory.
  std::string trace() const { return directory_.path() + "/" + base_ + "/trace"; }
  // A path for something else of the test.
  std::string file(const std::string& name) const { return directory_.file(name); }

private:
  TempDir directory_;
  std::string base_;
};

// Writes a packed message to a file, behind the text `before`.
void write_packed(const std::string& path, capnp::MessageBuilder& message,
                  const std::string& before = {});

// Changes the packed message that the file `path` holds.
template <typename Root>
void change_packed(const std::string& path,
                   const std::function<void(typename Root::Builder)>& change) {
  const auto message = compat::read_packed<Root>(read_file(path), "the message");
  change(message->template getRoot<Root>());
  write_packed(path, *message);
}

// Removes everything of rr's checkpoints from a trace.
void remove_checkpoints(const std::string& trace);

// Imports into the file `path` and returns the reader of it.
CheckpointReader import_to(const LegacyCheckpoint& legacy, const std::string& path);

// A copy of `checkpoint` with its state changed by `change`; pages are kept.
CheckpointReader rewrite(const CheckpointReader& checkpoint, const std::string& path,
                         const std::function<void(schema::State::Builder)>& change);

// Whether a finding of the code is there.
bool has_code(const std::vector<Finding>& findings, std::string_view code);

// The checkpoint of an event.
const LegacyEntry& entry_at(const LegacyTrace& trace, std::int64_t event);

} // namespace rrpcp::test
