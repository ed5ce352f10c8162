#include "conformance/series_cases.h"

#include "base/bytes.h"
#include "base/scoped_fd.h"
#include "rrpcp/format.h"
#include "rrpcp/page_run.h"
#include "support/equal_hashes.h"
#include "support/sample_state.h"

#include <algorithm>
#include <array>
#include <capnp/message.h>
#include <cstring>
#include <functional>
#include <stdexcept>
#include <sys/mman.h>
#include <unistd.h>

namespace rrpcp::test {

namespace {

using Bytes = std::vector<std::byte>;
using Manifest = schema::Manifest::Builder;
using State = schema::State::Builder;

constexpr std::uint32_t kPage = 4096;

Bytes write(State state, schema::Provenance::Reader provenance, std::span<const std::byte> pages,
            const WriterOptions& options, bool base_runs) {
  const ScopedFd file(::memfd_create("series", MFD_CLOEXEC));
  Output output(file.get(), "series");
  HeaderFields fields = header_fields(state.asReader());
  fields.base_runs = base_runs;
  CheckpointWriter writer(output, fields, options);
  writer.append_stream(pages);
  writer.finish(state, provenance);
  Bytes bytes(output.offset());
  if (::pread(file.get(), bytes.data(), bytes.size(), 0) != static_cast<ssize_t>(bytes.size())) {
    throw std::runtime_error("cannot read the file back");
  }
  return bytes;
}

void refer_to(schema::BaseCheckpoint::Builder out, const CheckpointReader& base) {
  const CheckpointId id = base.id();
  out.setId(kj::arrayPtr(id.bytes.data(), id.bytes.size()));
  out.setPageCount(base.footer().page_count);
  out.setChunkPages(base.header().chunk_pages);
  out.setEvent(base.header().event);
  if (const auto seal = base.seal_digest()) {
    out.setSeal(kj::arrayPtr(seal->data(), seal->size()));
  }
}

void for_each_run_list(State state,
                       const std::function<void(capnp::List<schema::PageRun>::Builder)>& visit) {
  for (schema::AddressSpace::Builder space : state.getAddressSpaces()) {
    for (schema::Mapping::Builder mapping : space.getMappings()) {
      visit(mapping.getRuns());
    }
  }
  for (schema::MemoryObject::Builder object : state.getMemoryObjects()) {
    visit(object.getRuns());
  }
}

// What follows `parent` in its series: the same state some events later, with other pages in the
// run of stored pages number `changed`.
Bytes child_of(const Bytes& parent, unsigned changed, const WriterOptions& options) {
  const CheckpointReader reader = CheckpointReader::open_bytes(parent, "parent");
  capnp::MallocMessageBuilder message;
  message.setRoot(reader.manifest());
  auto manifest = message.getRoot<schema::Manifest>();
  State state = manifest.getState();
  if (state.hasPosition()) {
    auto clone = state.getPosition().getClone();
    clone.setEvent(clone.getEvent() + 10);
  }
  const std::uint32_t older = static_cast<std::uint32_t>(reader.base_count());
  Bytes pages;
  unsigned number = 0;
  for_each_run_list(state, [&](capnp::List<schema::PageRun>::Builder runs) {
    for (schema::PageRun::Builder run : runs) {
      if (!is_of_stream(run.getKind())) {
        continue;
      }
      if (number++ == changed) {
        run.setKind(schema::RunKind::STREAM);
        run.setFirst(0);
        run.setSource(0);
        for (std::uint64_t i = 0; i < run.getPages(); ++i) {
          pages.resize(pages.size() + kPage, static_cast<std::byte>(0x40 + changed + i));
        }
      } else if (run.getKind() == schema::RunKind::STREAM) {
        run.setKind(schema::RunKind::BASE);
        run.setSource(older);
      }
    }
  });
  auto bases = state.initBases(older + 1);
  for (std::uint32_t i = 0; i < older; ++i) {
    bases.setWithCaveats(i, reader.state().getBases()[i]);
  }
  refer_to(bases[older], reader);
  return write(state, manifest.getProvenance().asReader(), pages, options, true);
}

Bytes first_of_series() {
  return write_sample_checkpoint(
      {.machine = 62, .position = SamplePosition::kAtEvent, .plain = true, .seed = 21},
      {.profile = Profile::kFast, .threads = 1});
}

// A live process with one page of memory, which is `page` or lies in `base`.
Bytes one_page(std::span<const std::byte> page, const CheckpointReader* base) {
  capnp::MallocMessageBuilder message;
  State state = message.initRoot<schema::Manifest>().initState();
  state.setMachine(62);
  state.setElfClass(2);
  state.setDataEncoding(1);
  state.setProducer("org.rrpcp.process");
  auto geometry = state.initPageStream();
  geometry.setPageSize(kPage);
  geometry.setChunkPages(4);
  auto process = state.initProcesses(1)[0];
  process.setPid(100);
  auto task = state.initTasks(1)[0];
  task.setTid(100);
  auto set = task.initRegisters(1)[0];
  set.setNoteType(1);
  set.initData(216);
  auto mapping = state.initAddressSpaces(1)[0].initMappings(1)[0];
  mapping.setStart(0x10000);
  mapping.setEnd(0x10000 + kPage);
  mapping.setProtection(3);
  mapping.setFlags(0x22);
  auto run = mapping.initRuns(1)[0];
  run.setPages(1);
  run.setKind(base == nullptr ? schema::RunKind::STREAM : schema::RunKind::BASE);
  if (base != nullptr) {
    refer_to(state.initBases(1)[0], *base);
  }
  capnp::MallocMessageBuilder provenance;
  return write(state, provenance.initRoot<schema::Provenance>().asReader(), page,
               {.profile = Profile::kRaw, .threads = 1}, base != nullptr);
}

} // namespace

std::vector<ValidCase> valid_series() {
  const WriterOptions fast = {.profile = Profile::kFast, .threads = 1};
  const WriterOptions raw = {.profile = Profile::kRaw, .threads = 1};
  const WriterOptions sealed = {.profile = Profile::kSmall, .threads = 1, .seal = true};
  const Bytes first = first_of_series();
  const Bytes second = child_of(first, 1, raw);
  const Bytes third = child_of(second, 2, fast);
  const Bytes live = write_sample_checkpoint({.machine = 62, .plain = true, .seed = 22}, sealed);
  return {{"series-1", first},
          {"series-2", second},
          {"series-3", third},
          {"series-live-1", live},
          {"series-live-2", child_of(live, 0, sealed)}};
}

std::vector<ValidCase> companions() {
  const auto pages = pages_of_equal_hash();
  return {{"companion", first_of_series()},
          {"companion-equal-id-1", one_page(pages[0], nullptr)},
          {"companion-equal-id-2", one_page(pages[1], nullptr)}};
}

std::vector<InvalidCase> invalid_series() {
  std::vector<InvalidCase> cases;
  const Bytes first = first_of_series();
  const Bytes second = child_of(first, 1, {.profile = Profile::kFast, .threads = 1});
  const CheckpointReader base = CheckpointReader::open_bytes(first, "base");
  auto add = [&](const std::string& code, std::vector<std::string> more,
                 const std::function<void(Forge&)>& edit) {
    Forge forge(second);
    edit(forge);
    more.push_back(code);
    std::sort(more.begin(), more.end());
    cases.push_back({code, more, forge.assemble()});
  };
  auto in_state = [&](const std::string& code, std::vector<std::string> more,
                      const std::function<void(State)>& edit) {
    add(code, std::move(more),
        [&](Forge& forge) { forge.change([&](Manifest manifest) { edit(manifest.getState()); }); });
  };
  in_state("run.base", {}, [](State state) {
    bool done = false;
    for_each_run_list(state, [&](capnp::List<schema::PageRun>::Builder runs) {
      for (schema::PageRun::Builder run : runs) {
        if (!done && run.getKind() == schema::RunKind::BASE) {
          run.setFirst(UINT64_MAX);
          done = true;
        }
      }
    });
  });
  add("base.feature", {}, [](Forge& forge) {
    forge.edit_header = [](std::span<std::byte> header) {
      store_le<std::uint64_t>(header, format::kHeaderIncompatible, format::kIncompatZstd);
    };
  });
  auto with_more_bases = [&](State state, unsigned count) {
    auto bases = state.initBases(count);
    refer_to(bases[0], base);
    for (unsigned i = 1; i < count; ++i) {
      std::array<kj::byte, 16> id{};
      id[0] = static_cast<kj::byte>(i);
      bases[i].setId(kj::arrayPtr(id.data(), id.size()));
      bases[i].setPageCount(1);
      bases[i].setChunkPages(4);
    }
  };
  in_state("base.count", {"base.missing", "base.unreferenced"},
           [&](State state) { with_more_bases(state, format::kMaxBases + 1); });
  in_state("base.unreferenced", {"base.missing"}, [&](State state) { with_more_bases(state, 2); });
  in_state("base.id", {}, [](State state) { state.getBases()[0].initId(15); });
  in_state("base.geometry", {"base.unusable"},
           [](State state) { state.getBases()[0].setChunkPages(0); });
  in_state("base.seal", {}, [](State state) { state.getBases()[0].initSeal(31); });
  add("base.cycle", {"footer.checkpoint-id"}, [&](Forge& forge) {
    forge.edit_footer = [&](std::span<std::byte> footer) {
      const CheckpointId id = base.id();
      std::memcpy(&footer[format::kFooterCheckpointId], id.bytes.data(), id.bytes.size());
    };
  });
  in_state("base.missing", {}, [](State state) { state.getBases()[0].getId()[3] ^= 1; });
  in_state("base.unusable", {}, [](State state) {
    state.getBases()[0].setPageCount(state.getBases()[0].getPageCount() + 1);
  });
  const auto pages = pages_of_equal_hash();
  const Bytes ambiguous = one_page(pages[0], nullptr);
  const CheckpointReader one = CheckpointReader::open_bytes(ambiguous, "one");
  cases.push_back({"base.ambiguous", {"base.ambiguous"}, one_page({}, &one)});
  return cases;
}

} // namespace rrpcp::test
