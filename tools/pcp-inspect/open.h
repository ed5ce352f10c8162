// Opening what pcp-inspect looks at.
#pragma once

#include "common/console.h"
#include "rrpcp/reader.h"

#include <functional>
#include <string>
#include <vector>

namespace rrpcp::tools {

// The checkpoint in the file `path`. Throws Error.
CheckpointReader open_checkpoint(const std::string& path);

// Runs `read` on `reader` with Cap'n Proto's exceptions turned into Errors that name the file.
void with_manifest(const CheckpointReader& reader, const std::function<void()>& read);

// Opens each of `files` and shows it: as text, with a heading where there are several, or with
// --json as one document: an object for one file, an array for several. A file that cannot be read
// is reported, takes the place {"error":…} in the array, and does not keep the others from being
// shown. Returns kExitOk, or kExitTrouble where a file could not be read.
int show_checkpoints(Console& console, const std::vector<std::string>& files,
                     const std::function<Json(const CheckpointReader&)>& as_json,
                     const std::function<void(const CheckpointReader&)>& as_text);

} // namespace rrpcp::tools
