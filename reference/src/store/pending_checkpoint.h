// A checkpoint on its way into a directory.
#pragma once

#include "rrpcp/output.h"
#include "rrpcp/store.h"
#include "store/atomic_file.h"

#include <cstdint>
#include <functional>
#include <optional>
#include <string>

namespace rrpcp {

// publish_checkpoint() for those who write piece by piece. What is not published is gone with the
// object.
class PendingCheckpoint {
public:
  // Makes the directory if need be. Throws Error.
  explicit PendingCheckpoint(std::string directory);

  Output& output() { return output_; }
  // Gives the finished file its name, as publish_checkpoint() does. Throws Error.
  PublishedCheckpoint publish(std::int64_t event, const CheckpointId& id,
                              const std::function<void(const CheckpointReader&)>& verify,
                              const std::function<std::optional<std::string>()>& instead = {});

private:
  CheckpointReader reopen() const;

  std::string directory_;
  std::string temporary_;
  PendingFile file_;
  Output output_;
};

// The name of a checkpoint's file; `copy` counts those of equal id and other content from 1.
std::string checkpoint_file_name(std::int64_t event, const CheckpointId& id, unsigned copy);

} // namespace rrpcp
