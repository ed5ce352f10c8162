// One self-contained file from a checkpoint that takes over pages of others.
#include "container/kj_errors.h"
#include "framing/preamble.h"
#include "model/stream_cache.h"
#include "rrpcp/error.h"
#include "rrpcp/page_run.h"
#include "rrpcp/rewrite.h"

#include <capnp/message.h>
#include <vector>

namespace rrpcp {

namespace {

class Flattening {
public:
  Flattening(const CheckpointReader& checkpoint, CheckpointWriter& writer)
      : checkpoint_(checkpoint), writer_(writer) {}

  // Stores the pages of a mapping's or object's runs and says where they are now.
  template <typename Owner> void store(Owner owner) {
    if (!owner.hasRuns()) {
      return;
    }
    std::vector<PageRun> runs;
    for (const schema::PageRun::Reader run : owner.asReader().getRuns()) {
      if (!is_of_stream(run.getKind())) {
        append_run(runs, {run.getKind(), run.getPages(), run.getFirst(), run.getSource()});
        continue;
      }
      const CheckpointReader& source = checkpoint_.source(run);
      for (std::uint64_t done = 0; done < run.getPages();) {
        const std::span<const std::byte> pages =
            cache_.pages(source, run.getFirst() + done, run.getPages() - done);
        writer_.append(pages, runs);
        done += pages.size() / source.header().page_size;
      }
    }
    set_runs(owner.initRuns(static_cast<unsigned>(runs.size())), runs);
  }

private:
  const CheckpointReader& checkpoint_;
  CheckpointWriter& writer_;
  StreamCache cache_;
};

// Runs that would say no more than none: pages of zeros that had been stored became zero runs.
bool says_nothing(schema::Mapping::Reader mapping) {
  const auto runs = mapping.getRuns();
  return runs.size() == 1 && runs[0].getKind() == schema::RunKind::ZERO &&
         mapping.getObject() == schema::NO_INDEX;
}

} // namespace

CheckpointId flatten_checkpoint(const CheckpointReader& checkpoint, Output& output,
                                const WriterOptions& options) {
  if (!checkpoint.header().fully_known()) {
    throw Error(ErrorCode::kUnsupportedFeature,
                "the checkpoint is newer than this release, which does not know all that its runs "
                "may say")
        .in_file(checkpoint.name())
        .with_hint("use a newer release");
  }
  return with_kj_errors(checkpoint.name(), [&] {
    checkpoint.open_bases();
    capnp::MallocMessageBuilder message;
    message.setRoot(checkpoint.manifest());
    auto manifest = message.getRoot<schema::Manifest>();
    schema::State::Builder state = manifest.getState();
    WriterOptions with_seal = options;
    with_seal.seal = options.seal || checkpoint.find_section(format::kSectionSeal) != nullptr;
    CheckpointWriter writer(output, header_fields(state.asReader()), with_seal);
    Flattening flattening(checkpoint, writer);
    for (schema::AddressSpace::Builder space : state.getAddressSpaces()) {
      for (schema::Mapping::Builder mapping : space.getMappings()) {
        flattening.store(mapping);
        if (says_nothing(mapping.asReader())) {
          mapping.disownRuns();
        }
      }
    }
    for (schema::MemoryObject::Builder object : state.getMemoryObjects()) {
      flattening.store(object);
    }
    state.disownBases();
    return writer.finish(manifest);
  });
}

} // namespace rrpcp
