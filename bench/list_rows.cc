// Listing a directory of many checkpoints and choosing one.

#include "base/scoped_fd.h"
#include "baselines.h"
#include "bench.h"
#include "measure.h"
#include "rrpcp/error.h"
#include "rrpcp/store.h"
#include "rrpcp/writer.h"

#include <capnp/message.h>
#include <cerrno>
#include <fcntl.h>
#include <filesystem>

namespace rrpcp::bench {

namespace {

constexpr std::uint8_t kTrace = 7;

// A checkpoint at `event` without memory. Not synced: 10,000 syncs would take minutes.
void write_small(const std::string& directory, std::int64_t event) {
  capnp::MallocMessageBuilder message;
  auto state = message.initRoot<schema::State>();
  state.setMachine(62);
  state.setElfClass(2);
  state.setDataEncoding(1);
  state.initPageStream().setPageSize(4096);
  auto uuid = state.initTrace().initUuid(16);
  std::fill(uuid.begin(), uuid.end(), kTrace);
  state.initPosition().initClone().setEvent(event);
  state.getPosition().setAtEvent();
  const std::string path = directory + "/new";
  ScopedFd file(::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600));
  if (!file) {
    throw system_error(errno, "cannot create").in_file(path);
  }
  Output output(file.get(), path);
  CheckpointWriter writer(output, header_fields(state.asReader()),
                          {.profile = Profile::kRaw, .threads = 1});
  capnp::MallocMessageBuilder provenance;
  const CheckpointId id =
      writer.finish(state, provenance.initRoot<schema::Provenance>().asReader());
  std::filesystem::rename(path, directory + "/" + Store::file_name(event, id));
}

std::uint64_t list_and_choose(const Store& store, unsigned checkpoints) {
  const std::uint64_t begin = now();
  Target target{.event = checkpoints / 2 * 100 + 99, .trace = {}};
  target.trace.bytes.fill(kTrace);
  const std::vector<StoreEntry> entries = store.list();
  const StoreEntry* best = Store::choose_best(entries, target);
  const std::uint64_t taken = now() - begin;
  if (entries.size() != checkpoints || best == nullptr || best->header.event != target.event - 99) {
    throw Error(ErrorCode::kInternal, "the wrong checkpoint was chosen").in_file(store.directory());
  }
  return taken;
}

} // namespace

void list_rows(Bench& bench, unsigned checkpoints) {
  if (!bench.wants("list")) {
    return;
  }
  bench.note("writing " + std::to_string(checkpoints) + " checkpoints");
  const Store store(bench.file("checkpoints"));
  std::filesystem::create_directory(store.directory());
  for (unsigned i = 0; i < checkpoints; ++i) {
    write_small(store.directory(), std::int64_t{i} * 100);
  }
  bench.note("listing " + std::to_string(checkpoints) + " checkpoints");
  const auto medians =
      race(std::max(bench.rounds, 11u), 0,
           {[&] { return std::vector<std::uint64_t>{read_headers(store.directory())}; },
            [&] { return std::vector<std::uint64_t>{list_and_choose(store, checkpoints)}; }});
  std::filesystem::remove_all(store.directory());
  bench.report.add({.what = "list and choose the best",
                    .size = std::to_string(checkpoints) + " files",
                    .figure = medians[1][0],
                    .baseline_name = "reading the ends of all files",
                    .baseline = medians[0][0],
                    // The target of 100 ms is for 10,000.
                    .most = std::uint64_t{checkpoints} * 10'000});
}

} // namespace rrpcp::bench
