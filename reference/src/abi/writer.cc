#include "rrpcp/writer.h"

#include "abi/error.h"
#include "abi/handles.h"
#include "rrpcp/validate.h"
#include "store/atomic_file.h"
#include "store/pending_checkpoint.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <optional>
#include <string>

using namespace rrpcp;
using namespace rrpcp::abi;

struct rrpcp_writer {
  rrpcp_draft* draft = nullptr;
  rrpcp_write_options options = {};
  std::int64_t event = 0;
  std::uint32_t page_size = 0;
  // Where it goes: one of the three.
  std::unique_ptr<PendingCheckpoint> in_directory;
  std::unique_ptr<PendingPath> in_file;
  std::unique_ptr<Output> to_descriptor;
  std::string path;
  // Destroyed before the output that it writes to.
  std::optional<CheckpointWriter> writer;
  bool finished = false;

  Output& output() {
    return in_directory ? in_directory->output() : in_file ? in_file->output() : *to_descriptor;
  }
};

namespace {

Profile profile_of(std::int32_t number) {
  switch (number) {
  case RRPCP_PROFILE_DEFAULT:
    return Profile::kDefault;
  case RRPCP_PROFILE_RAW:
    return Profile::kRaw;
  case RRPCP_PROFILE_FAST:
    return Profile::kFast;
  case RRPCP_PROFILE_SMALL:
    return Profile::kSmall;
  default:
    throw Error(ErrorCode::kInvalidArgument, "there is no profile " + std::to_string(number));
  }
}

template <typename Target>
rrpcp_status start(rrpcp_draft* draft, const rrpcp_write_options* options, rrpcp_writer** writer,
                   rrpcp_error** error, Target target) {
  return guarded(
      error,
      [&] {
        require(draft, "the draft");
        auto result = std::make_unique<rrpcp_writer>();
        result->draft = draft;
        if (options != nullptr) {
          std::memcpy(&result->options, options, std::min(options->size, sizeof result->options));
        }
        WriterOptions settings;
        settings.profile = profile_of(result->options.profile);
        settings.threads = result->options.threads;
        settings.seal = result->options.seal != 0;
        const HeaderFields fields = header_fields(draft->manifest().getState());
        result->event = fields.event;
        result->page_size = fields.page_size;
        target(*result);
        result->writer.emplace(result->output(), fields, settings);
        *writer = result.release();
      },
      ErrorCode::kInvalidArgument);
}

CheckpointWriter& unfinished(rrpcp_writer* writer) {
  require(writer, "the writer");
  if (writer->finished || !writer->writer) {
    throw Error(ErrorCode::kInvalidArgument, "the writer has finished");
  }
  return *writer->writer;
}

// Runs that say no more than none.
bool is_default(capnp::List<schema::PageRun>::Reader runs, schema::RunKind kind) {
  return runs.size() == 1 && runs[0].getKind() == kind;
}

void leave_out_default_runs(schema::State::Builder state) {
  for (auto space : state.getAddressSpaces()) {
    for (auto mapping : space.getMappings()) {
      const auto kind = mapping.getObject() == schema::NO_INDEX ? schema::RunKind::ZERO
                                                                : schema::RunKind::BACKING;
      if (mapping.hasRuns() && is_default(mapping.asReader().getRuns(), kind)) {
        mapping.disownRuns();
      }
    }
  }
  for (auto object : state.getMemoryObjects()) {
    if (object.isFile() && object.hasRuns() &&
        is_default(object.asReader().getRuns(), schema::RunKind::BACKING)) {
      object.disownRuns();
    }
  }
}

} // namespace

rrpcp_status rrpcp_write_directory(const char* directory, rrpcp_draft* draft,
                                   const rrpcp_write_options* options, rrpcp_writer** writer,
                                   rrpcp_error** error) {
  return start(draft, options, writer, error, [&](rrpcp_writer& made) {
    require(directory, "the directory");
    made.in_directory = std::make_unique<PendingCheckpoint>(directory);
  });
}

rrpcp_status rrpcp_write_file(const char* path, int replace, rrpcp_draft* draft,
                              const rrpcp_write_options* options, rrpcp_writer** writer,
                              rrpcp_error** error) {
  return start(draft, options, writer, error, [&](rrpcp_writer& made) {
    require(path, "the path");
    made.path = path;
    made.in_file = std::make_unique<PendingPath>(path, replace != 0);
  });
}

rrpcp_status rrpcp_write_fd(int fd, const char* name, rrpcp_draft* draft,
                            const rrpcp_write_options* options, rrpcp_writer** writer,
                            rrpcp_error** error) {
  return start(draft, options, writer, error, [&](rrpcp_writer& made) {
    require(name, "the name");
    if (made.options.validate != 0) {
      throw Error(ErrorCode::kInvalidArgument, "what goes to a descriptor cannot be judged before");
    }
    made.to_descriptor = std::make_unique<Output>(fd, name);
  });
}

void rrpcp_writer_free(rrpcp_writer* writer) {
  if (writer != nullptr) {
    writer->writer.reset();
  }
  delete writer;
}

rrpcp_status rrpcp_writer_append(rrpcp_writer* writer, const void* pages, size_t size,
                                 rrpcp_runs* runs, rrpcp_error** error) {
  return guarded(error, [&] {
    CheckpointWriter& out = unfinished(writer);
    require(runs, "the runs");
    if (size % writer->page_size != 0) {
      throw Error(ErrorCode::kInvalidArgument, "what is stored are whole pages of " +
                                                   std::to_string(writer->page_size) + " bytes");
    }
    out.append({static_cast<const std::byte*>(pages), size}, runs->runs);
  });
}

rrpcp_status rrpcp_writer_finish(rrpcp_writer* writer, uint8_t* id, char** path,
                                 rrpcp_error** error) {
  return guarded(
      error,
      [&] {
        CheckpointWriter& out = unfinished(writer);
        writer->finished = true;
        auto manifest = writer->draft->manifest();
        leave_out_default_runs(manifest.getState());
        if (manifest.getProvenance().getCreator().size() == 0) {
          manifest.getProvenance().setCreator("rrpcp " RRPCP_VERSION);
        }
        const CheckpointId made = out.finish(manifest);
        std::string published = writer->path;
        if (writer->in_directory) {
          std::function<void(const CheckpointReader&)> verify;
          if (writer->options.validate != 0) {
            verify = [](const CheckpointReader& reader) {
              require_valid(reader.fd(), reader.name());
            };
          }
          published = writer->in_directory->publish(writer->event, made, verify).path;
        } else if (writer->in_file) {
          if (writer->options.validate != 0) {
            require_valid(writer->in_file->reopen().get(), writer->path);
          }
          writer->in_file->publish();
        }
        if (path != nullptr) {
          *path = writer->to_descriptor ? nullptr : ::strdup(published.c_str());
          if (*path == nullptr && !writer->to_descriptor) {
            throw std::bad_alloc();
          }
        }
        if (id != nullptr) {
          std::copy(made.bytes.begin(), made.bytes.end(), id);
        }
      },
      ErrorCode::kInvalidArgument);
}
