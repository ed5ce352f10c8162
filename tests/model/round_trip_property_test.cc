// Any state and any page layout that is written is read back equal, in every profile.

#include "base/scoped_fd.h"
#include "container/canonical.h"
#include "container/manifest_bytes.h"
#include "rrpcp/memory_view.h"
#include "rrpcp/reader.h"
#include "rrpcp/rewrite.h"
#include "rrpcp/writer.h"
#include "support/checkpoint_bytes.h"
#include "support/random_message.h"
#include "support/temp_dir.h"

#include <capnp/message.h>
#include <cstring>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <map>
#include <random>
#include <rapidcheck/gtest.h>
#include <thread>
#include <unistd.h>

namespace rrpcp {
namespace {

constexpr std::uint32_t kPage = 4096;
constexpr Profile kProfiles[] = {Profile::kRaw, Profile::kFast, Profile::kDefault, Profile::kSmall};

// A piece of a mapping: `pages` pages, each of content number `content` (0: zeros).
struct Piece {
  unsigned pages;
  unsigned content;
};

// Mappings as lists of pieces; a gap of as many pages as its number lies before each.
struct Layout {
  std::vector<std::vector<Piece>> mappings;
  std::vector<unsigned> gaps;
  std::uint32_t chunk_pages;
  std::uint64_t seed;
  std::uint16_t machine;
};

Layout arbitrary_layout() {
  using namespace rc;
  auto piece = gen::construct<Piece>(gen::inRange(1u, 9u), gen::inRange(0u, 6u));
  Layout layout;
  layout.mappings = *gen::resize(12, gen::container<std::vector<std::vector<Piece>>>(
                                         gen::nonEmpty(gen::container<std::vector<Piece>>(piece))));
  layout.gaps =
      *gen::container<std::vector<unsigned>>(layout.mappings.size(), gen::inRange(0u, 5u));
  layout.chunk_pages = *gen::element(1u, 2u, 7u, 64u);
  layout.seed = *gen::arbitrary<std::uint64_t>();
  layout.machine = *gen::element<std::uint16_t>(62, 183);
  return layout;
}

void fill_page(std::span<std::byte> page, unsigned content) {
  std::mt19937_64 random(content);
  for (std::size_t i = 0; i < page.size(); i += 8) {
    std::uint64_t value = content == 0 ? 0 : content % 2 == 0 ? random() : content * (i / 512);
    std::memcpy(&page[i], &value, 8);
  }
}

std::vector<std::byte> bytes_of(const std::vector<Piece>& pieces) {
  std::vector<std::byte> bytes;
  for (const Piece& piece : pieces) {
    for (unsigned i = 0; i < piece.pages; ++i) {
      bytes.resize(bytes.size() + kPage);
      fill_page(std::span(bytes).last(kPage), piece.content);
    }
  }
  return bytes;
}

struct Written {
  CheckpointId id;
  kj::Array<capnp::word> state; // canonical, as it was written
};

// Writes a state with random content in every field but those that the layout determines.
Written write(const Layout& layout, int fd, const WriterOptions& options) {
  std::mt19937_64 random(layout.seed);
  capnp::MallocMessageBuilder message;
  auto state = message.initRoot<schema::State>();
  test::fill_at_random(state, random);
  state.setMachine(layout.machine);
  state.setElfClass(layout.machine == 3 ? 1 : 2);
  state.setDataEncoding(1);
  state.disownTrace();
  state.disownPosition();
  auto geometry = state.initPageStream();
  geometry.setPageSize(kPage);
  geometry.setChunkPages(layout.chunk_pages);

  Output output(fd, "property");
  CheckpointWriter writer(output, header_fields(state.asReader()), options);
  auto space = state.initAddressSpaces(1)[0];
  test::fill_at_random(space, random);
  auto mappings = space.initMappings(static_cast<unsigned>(layout.mappings.size()));
  std::uint64_t address = 0x10000;
  for (unsigned i = 0; i < mappings.size(); ++i) {
    std::vector<std::byte> bytes = bytes_of(layout.mappings[i]);
    address += layout.gaps[i] * kPage;
    std::vector<PageRun> runs;
    writer.append(bytes, runs);
    mappings[i].setStart(address);
    address += bytes.size();
    mappings[i].setEnd(address);
    set_runs(mappings[i].initRuns(static_cast<unsigned>(runs.size())), runs);
  }
  capnp::MallocMessageBuilder provenance;
  auto origin = provenance.initRoot<schema::Provenance>();
  Written written;
  written.id = writer.finish(state, origin.asReader());
  written.state = canonical_state(state.asReader());
  return written;
}

Written write_file(const Layout& layout, const std::string& path, const WriterOptions& options) {
  ScopedFd file(::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600));
  return write(layout, file.get(), options);
}

bool equal(const kj::Array<capnp::word>& a, const kj::Array<capnp::word>& b) {
  return a.asBytes() == b.asBytes();
}

RC_GTEST_PROP(RoundTripProperty, AnyStateAndLayoutComesBackEqual, ()) {
  Layout layout = arbitrary_layout();
  test::TempDir dir;
  std::optional<CheckpointId> id;
  for (Profile profile : kProfiles) {
    std::string path = dir.file("x.pcp");
    Written written = write_file(layout, path, {.profile = profile, .threads = 1});
    CheckpointReader reader = CheckpointReader::open(path);
    RC_ASSERT(reader.id() == written.id);
    if (id) {
      RC_ASSERT(*id == written.id);
    }
    id = written.id;
    RC_ASSERT(equal(canonical_state(reader.state()), written.state));
    MemoryView view(reader, 0);
    std::uint64_t address = 0x10000;
    for (std::size_t i = 0; i < layout.mappings.size(); ++i) {
      std::vector<std::byte> expected = bytes_of(layout.mappings[i]);
      std::vector<std::byte> actual(expected.size());
      address += layout.gaps[i] * kPage;
      RC_ASSERT(view.read(address, actual) == actual.size());
      RC_ASSERT(actual == expected);
      address += expected.size();
    }
  }
}

RC_GTEST_PROP(RoundTripProperty, BytesDependNeitherOnThreadsNorOnTheWay, ()) {
  Layout layout = arbitrary_layout();
  Profile profile = *rc::gen::elementOf(std::vector(std::begin(kProfiles), std::end(kProfiles)));
  test::TempDir dir;
  write_file(layout, dir.file("1"), {.profile = profile, .threads = 1});
  std::vector<std::byte> expected = test::read_file(dir.file("1"));
  for (unsigned threads : {2u, 5u}) {
    write_file(layout, dir.file("n"), {.profile = profile, .threads = threads});
    RC_ASSERT(test::read_file(dir.file("n")) == expected);
  }
  int ends[2];
  RC_ASSERT(::pipe2(ends, O_CLOEXEC) == 0);
  ScopedFd source(ends[0]);
  ScopedFd sink(ends[1]);
  std::vector<std::byte> through_pipe;
  std::thread drain([&] {
    std::vector<std::byte> buffer(65536);
    ssize_t n;
    while ((n = ::read(source.get(), buffer.data(), buffer.size())) > 0) {
      through_pipe.insert(through_pipe.end(), buffer.begin(), buffer.begin() + n);
    }
  });
  write(layout, sink.get(), {.profile = profile});
  sink.reset();
  drain.join();
  RC_ASSERT(through_pipe == expected);
}

// A copy through the library, as pcp-upgrade makes it, loses nothing and keeps the id.
RC_GTEST_PROP(RoundTripProperty, CopyInAnotherProfileKeepsIdAndState, ()) {
  Layout layout = arbitrary_layout();
  test::TempDir dir;
  Written written = write_file(layout, dir.file("a"), {.profile = Profile::kDefault});
  CheckpointReader reader = CheckpointReader::open(dir.file("a"));
  ScopedFd file(::open(dir.file("b").c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
  Output output(file.get(), "copy");
  RC_ASSERT(rewrite_checkpoint(reader, output, {.profile = Profile::kRaw}) == written.id);
  RC_ASSERT(equal(canonical_state(CheckpointReader::open(dir.file("b")).state()), written.state));
}

// What the library writes passes its own check of the manifest's layout, and so does nothing else:
// a message with a gap, an alias or a pointer out of order is refused.
RC_GTEST_PROP(ManifestLayout, CanonicalMessagesPassAndChangedPointersDoNot, (std::uint64_t seed)) {
  std::mt19937_64 random(seed);
  capnp::MallocMessageBuilder message;
  auto manifest = message.initRoot<schema::Manifest>();
  test::fill_at_random(manifest.initState(), random);
  test::fill_at_random(manifest.initProvenance(), random);
  kj::Array<capnp::word> words = manifest_message(manifest.asReader());
  std::vector<std::byte> bytes(words.asBytes().size());
  std::memcpy(bytes.data(), words.begin(), bytes.size());
  RC_ASSERT(!check_layout(bytes));
  // The root pointer with any other offset.
  std::vector<std::byte> moved = bytes;
  moved[8] = static_cast<std::byte>(static_cast<unsigned>(moved[8]) + 4);
  RC_ASSERT(check_layout(moved).has_value());
  // A word more than the objects need.
  std::vector<std::byte> longer = bytes;
  longer.resize(bytes.size() + 8);
  std::uint32_t length;
  std::memcpy(&length, &longer[4], 4);
  ++length;
  std::memcpy(&longer[4], &length, 4);
  RC_ASSERT(check_layout(longer).has_value());
}

} // namespace
} // namespace rrpcp
