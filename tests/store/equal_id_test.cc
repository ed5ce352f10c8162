// Publishing beside a file of the same name: it is what it holds that counts, not its id.

#include "rrpcp/store.h"
#include "support/checkpoint_bytes.h"
#include "support/equal_hashes.h"
#include "support/temp_dir.h"

#include <capnp/message.h>
#include <filesystem>
#include <gtest/gtest.h>

namespace rrpcp {
namespace {

namespace fs = std::filesystem;

// A checkpoint of one page at event 7.
struct OnePage {
  capnp::MallocMessageBuilder message;
  HeaderFields fields;

  OnePage() {
    auto state = message.initRoot<schema::State>();
    state.setMachine(62);
    state.setElfClass(2);
    state.setDataEncoding(1);
    state.initPageStream().setPageSize(4096);
    state.setProducer("org.rrpcp.process");
    fields = header_fields(state.asReader());
    fields.event = fields.mark_event = 7;
  }

  std::string publish(const Store& store, std::span<const std::byte> page, Profile profile) {
    return store.publish(fields, [&](Output& output) {
      CheckpointWriter writer(output, fields, {.profile = profile, .threads = 1});
      writer.append_stream(page);
      capnp::MallocMessageBuilder provenance;
      provenance.initRoot<schema::Provenance>().setComment(profile_name(profile).data());
      return writer.finish(message.getRoot<schema::State>(),
                           provenance.getRoot<schema::Provenance>().asReader());
    });
  }
};

std::vector<std::byte> page_of(const std::string& path) {
  const CheckpointReader reader = CheckpointReader::open(path);
  std::vector<std::byte> page(4096);
  reader.read_chunk(0, page);
  return page;
}

std::size_t files_in(const std::string& directory) {
  return static_cast<std::size_t>(
      std::distance(fs::directory_iterator(directory), fs::directory_iterator()));
}

TEST(EqualId, TheSameContentIsKeptOnce) {
  test::TempDir dir;
  const Store store(dir.path());
  const auto [a, b] = test::pages_of_equal_hash();
  const std::string first = OnePage().publish(store, a, Profile::kRaw);
  const std::vector<std::byte> bytes = test::read_file(first);
  EXPECT_EQ(OnePage().publish(store, a, Profile::kSmall), first);
  EXPECT_EQ(files_in(dir.path()), 1u);
  EXPECT_EQ(test::read_file(first), bytes) << "the old file was replaced";
}

TEST(EqualId, OtherContentGetsAFileOfItsOwn) {
  test::TempDir dir;
  const Store store(dir.path());
  const auto [a, b] = test::pages_of_equal_hash();
  const std::string first = OnePage().publish(store, a, Profile::kRaw);
  const std::string second = OnePage().publish(store, b, Profile::kRaw);
  EXPECT_NE(first, second);
  EXPECT_EQ(CheckpointReader::open(first).id(), CheckpointReader::open(second).id());
  EXPECT_EQ(page_of(first), a);
  EXPECT_EQ(page_of(second), b);
  // Both are found again.
  EXPECT_EQ(OnePage().publish(store, a, Profile::kFast), first);
  EXPECT_EQ(OnePage().publish(store, b, Profile::kFast), second);
  EXPECT_EQ(files_in(dir.path()), 2u);
  EXPECT_EQ(store.list().size(), 2u);
}

TEST(EqualId, ADamagedFileMakesPlace) {
  test::TempDir dir;
  const Store store(dir.path());
  const auto [a, b] = test::pages_of_equal_hash();
  const std::string path = OnePage().publish(store, a, Profile::kRaw);
  const std::vector<std::byte> intact = test::read_file(path);
  // A bit of the page data, which a look at header and footer does not see; of the chunk table, of
  // the manifest; and cut.
  const CheckpointReader reader = CheckpointReader::open(path);
  for (const std::size_t at :
       {std::size_t{5000}, std::size_t{reader.find_section(format::kSectionChunkTable)->offset} + 3,
        std::size_t{reader.find_section(format::kSectionManifest)->offset} + 40}) {
    std::vector<std::byte> damaged = intact;
    damaged[at] ^= std::byte{1};
    test::write_file(path, damaged);
    EXPECT_EQ(OnePage().publish(store, a, Profile::kRaw), path);
    EXPECT_EQ(test::read_file(path), intact) << at;
  }
  test::write_file(path, std::span(intact).first(6000));
  EXPECT_EQ(OnePage().publish(store, a, Profile::kRaw), path);
  EXPECT_EQ(test::read_file(path), intact);
  EXPECT_EQ(files_in(dir.path()), 1u);
}

// Whatever has the name: a checkpoint of another state, or of a version that this release cannot
// read, is somebody's and stays.
TEST(EqualId, AnotherWholeFileUnderTheNameStays) {
  test::TempDir dir;
  const Store store(dir.path());
  const auto [a, b] = test::pages_of_equal_hash();
  const std::string path = OnePage().publish(store, a, Profile::kRaw);
  test::write_sample(path, test::sample_pages(3, 1), {});
  const std::vector<std::byte> other = test::read_file(path);
  const std::string second = OnePage().publish(store, a, Profile::kRaw);
  EXPECT_NE(second, path);
  EXPECT_EQ(test::read_file(path), other);
  EXPECT_EQ(page_of(second), a);
}

} // namespace
} // namespace rrpcp
