#include "conformance/valid_cases.h"

#include "base/scoped_fd.h"
#include "conformance/corner_cases.h"
#include "support/sample_state.h"

#include <capnp/message.h>
#include <sys/mman.h>
#include <unistd.h>

namespace rrpcp::test {

namespace {

// The least that a checkpoint can hold: no page data, no tasks.
std::vector<std::byte> empty_checkpoint() {
  capnp::MallocMessageBuilder message;
  auto state = message.initRoot<schema::State>();
  state.setMachine(62);
  state.setElfClass(2);
  state.setDataEncoding(1);
  state.setProducer("org.rrpcp.process");
  auto geometry = state.initPageStream();
  geometry.setPageSize(4096);
  geometry.setChunkPages(64);
  capnp::MallocMessageBuilder provenance;
  ScopedFd file(::memfd_create("empty", MFD_CLOEXEC));
  Output output(file.get(), "empty");
  CheckpointWriter writer(output, header_fields(state.asReader()),
                          {.profile = Profile::kRaw, .threads = 1});
  writer.finish(state, provenance.initRoot<schema::Provenance>().asReader());
  std::vector<std::byte> bytes(output.offset());
  if (::pread(file.get(), bytes.data(), bytes.size(), 0) != static_cast<ssize_t>(bytes.size())) {
    throw std::runtime_error("cannot read the file back");
  }
  return bytes;
}

} // namespace

std::vector<ValidCase> valid_cases() {
  struct Description {
    const char* name;
    Sample sample;
    Profile profile;
    bool seal = false;
  };
  const Description descriptions[] = {
      {"x86-64-live-raw", {.machine = 62}, Profile::kRaw},
      {"x86-64-live-fast", {.machine = 62}, Profile::kFast},
      {"x86-64-live-default", {.machine = 62}, Profile::kDefault},
      {"x86-64-live-small", {.machine = 62}, Profile::kSmall},
      {"x86-64-live-sealed", {.machine = 62, .plain = true, .seed = 9}, Profile::kFast, true},
      {"x86-64-at-event",
       {.machine = 62, .position = SamplePosition::kAtEvent, .extensions = true, .seed = 2},
       Profile::kDefault},
      {"x86-64-forward-to",
       {.machine = 62, .chunk_pages = 1, .position = SamplePosition::kForwardTo, .seed = 3},
       Profile::kFast},
      {"x86-64-between",
       {.machine = 62, .chunk_pages = 64, .position = SamplePosition::kBetween, .seed = 4},
       Profile::kSmall},
      {"i386-at-event",
       {.machine = 3, .position = SamplePosition::kAtEvent, .plain = true, .seed = 5},
       Profile::kDefault},
      {"aarch64-live", {.machine = 183, .plain = true, .seed = 6}, Profile::kRaw},
      {"aarch64-16k-at-event",
       {.machine = 183,
        .page_size = 16384,
        .position = SamplePosition::kAtEvent,
        .plain = true,
        .seed = 7},
       Profile::kFast},
      {"aarch64-64k-between",
       {.machine = 183,
        .page_size = 65536,
        .chunk_pages = 2,
        .position = SamplePosition::kBetween,
        .extensions = true,
        .plain = true,
        .seed = 8},
       Profile::kDefault},
  };
  std::vector<ValidCase> cases;
  cases.push_back({"empty", empty_checkpoint()});
  for (const Description& description : descriptions) {
    cases.push_back({description.name,
                     write_sample_checkpoint(description.sample, {.profile = description.profile,
                                                                  .threads = 1,
                                                                  .seal = description.seal})});
  }
  for (ValidCase& corner : corner_cases()) {
    cases.push_back(std::move(corner));
  }
  return cases;
}

} // namespace rrpcp::test
