// Files as a later minor version may have them: what reading, judging and rewriting make of them.

#include "base/bytes.h"
#include "base/scoped_fd.h"
#include "rrpcp/error.h"
#include "rrpcp/reader.h"
#include "rrpcp/rewrite.h"
#include "rrpcp/store.h"
#include "rrpcp/validate.h"
#include "support/checkpoint_bytes.h"
#include "support/forge.h"
#include "support/temp_dir.h"

#include <algorithm>
#include <capnp/message.h>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <set>

namespace rrpcp {
namespace {

using namespace format;

constexpr std::uint16_t kNewerMinor = kMinorVersion + 1;
using Bytes = std::vector<std::byte>;

constexpr std::uint64_t kSafeBit = std::uint64_t{1} << 9;
constexpr std::uint64_t kUnsafeBit = std::uint64_t{1} << 40;

std::set<std::string> codes_of(const ValidationReport& report) {
  std::set<std::string> codes;
  for (const Finding& finding : report.findings) {
    codes.emplace(finding.code);
  }
  return codes;
}

class NewerContainer : public testing::Test {
protected:
  NewerContainer() {
    test::write_sample(dir_.file("base"), test::sample_pages(200, 3),
                       {.profile = Profile::kFast, .threads = 1});
    base_ = test::read_file(dir_.file("base"));
  }

  // Format 1.1 with `compatible` bits, everything that is reserved in use, longer entries and
  // footer, and three sections.
  Bytes newer(std::uint64_t compatible, std::uint64_t read_only = 0) const {
    test::Forge forge(base_);
    forge.edit_header = [=](std::span<std::byte> header) {
      store_le<std::uint16_t>(header, kHeaderMinor, kNewerMinor);
      store_le<std::uint64_t>(header, kHeaderCompatible, compatible);
      store_le<std::uint64_t>(header, kHeaderReadOnlyCompat, read_only);
      std::fill(header.begin() + kHeaderReserved, header.begin() + kHeaderChecksum,
                std::byte{0x11});
    };
    forge.longer_chunk_entries = Bytes(16, std::byte{0x22});
    forge.edit_table = [](std::span<std::byte> table) {
      // Every entry has something of its own.
      for (std::size_t at = 0, i = 0; at < table.size(); at += kChunkEntrySize + 16, ++i) {
        table[at + kChunkReserved] = static_cast<std::byte>(i + 1);
        table[at + kChunkEntrySize] = static_cast<std::byte>(i + 100);
      }
    };
    forge.longer_section_entries = Bytes(8, std::byte{0x33});
    forge.edit_directory = [](std::span<std::byte> directory) {
      for (std::size_t at = 0; at < directory.size(); at += kSectionEntrySize + 8) {
        directory[at + kSectionReserved] = std::byte{0x44};
      }
    };
    forge.longer_footer = Bytes(24, std::byte{0x55});
    forge.edit_footer = [](std::span<std::byte> footer) {
      footer[kFooterReserved0 + 1] = std::byte{0x66};
      footer[kFooterReserved + 15] = std::byte{0x77};
    };
    forge.sections = {{901, kSectionSafeToCopy, Bytes(1234, std::byte{1})},
                      {902, 0, Bytes(77, std::byte{2})},
                      {903, kSectionSafeToCopy, Bytes(3, std::byte{3})},
                      {903, kSectionSafeToCopy, {}}};
    return forge.assemble();
  }

  std::string rewrite(const Bytes& file, Profile profile) const {
    const std::string from = dir_.file("from");
    const std::string to = dir_.file("to");
    test::write_file(from, file);
    const CheckpointReader reader = CheckpointReader::open(from);
    ScopedFd fd(::open(to.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600));
    Output output(fd.get(), to);
    EXPECT_EQ(rewrite_checkpoint(reader, output, {.profile = profile, .threads = 2}), reader.id());
    return to;
  }

  static Bytes section(const CheckpointReader& reader, std::size_t index) {
    Bytes bytes;
    reader.read_section(reader.sections()[index], [&](std::span<const std::byte> piece) {
      bytes.insert(bytes.end(), piece.begin(), piece.end());
    });
    return bytes;
  }

  static Bytes part(const CheckpointReader& reader, std::uint64_t offset, std::size_t length) {
    Bytes bytes(length);
    reader.read_bytes(offset, bytes);
    return bytes;
  }

  test::TempDir dir_;
  Bytes base_;
};

TEST_F(NewerContainer, IsReadAndJudged) {
  const Bytes file = newer(kSafeBit);
  const ValidationReport report = validate_bytes(file, "newer");
  EXPECT_EQ(codes_of(report),
            (std::set<std::string>{"header.newer-minor", "header.compatible-feature",
                                   "section.unknown"}));
  EXPECT_TRUE(report.valid());
  test::write_file(dir_.file("newer"), file);
  const CheckpointReader reader = CheckpointReader::open(dir_.file("newer"));
  EXPECT_EQ(reader.footer().length, kFooterSize + 24);
  const CheckpointReader base = CheckpointReader::open(dir_.file("base"));
  EXPECT_EQ(reader.id(), base.id());
  for (std::uint64_t i = 0; i < base.chunk_count(); ++i) {
    Bytes expected(base.chunk(i).length);
    Bytes read(reader.chunk(i).length);
    base.read_chunk(i, expected);
    reader.read_chunk(i, read);
    EXPECT_EQ(read, expected);
  }
}

// The same without the bits and the version that announce it.
TEST_F(NewerContainer, IsWrongWhereNothingAnnouncesIt) {
  Bytes file = newer(0);
  test::Forge forge(base_);
  forge.longer_chunk_entries = Bytes(16);
  EXPECT_EQ(codes_of(validate_bytes(forge.assemble(), "longer")),
            std::set<std::string>{"footer.chunk-entry-size"});
  forge = test::Forge(base_);
  forge.longer_section_entries = Bytes(8);
  EXPECT_EQ(codes_of(validate_bytes(forge.assemble(), "longer")),
            std::set<std::string>{"footer.section-entry-size"});
  forge = test::Forge(base_);
  forge.longer_footer = Bytes(8);
  EXPECT_EQ(codes_of(validate_bytes(forge.assemble(), "longer")),
            std::set<std::string>{"footer.length"});
  // A newer minor version may lengthen, but reserved bytes need a bit.
  EXPECT_EQ(codes_of(validate_bytes(file, "reserved")),
            (std::set<std::string>{"header.newer-minor", "header.reserved", "footer.reserved",
                                   "section.reserved", "section.unknown", "chunk.reserved"}));
}

TEST_F(NewerContainer, RewritingKeepsWhatIsSafeToCopy) {
  for (Profile profile : {Profile::kRaw, Profile::kSmall}) {
    const CheckpointReader copy = CheckpointReader::open(rewrite(newer(kSafeBit), profile));
    const CheckpointReader from = CheckpointReader::open(dir_.file("from"));
    EXPECT_EQ(copy.header().minor, kNewerMinor);
    EXPECT_EQ(copy.header().compatible, kSafeBit);
    EXPECT_EQ(part(copy, kHeaderReserved, kHeaderChecksum - kHeaderReserved),
              Bytes(kHeaderChecksum - kHeaderReserved, std::byte{0x11}));
    // Chunk table, manifest, and the three that are safe to copy.
    ASSERT_EQ(copy.sections().size(), 5u);
    EXPECT_EQ(section(copy, 2), Bytes(1234, std::byte{1}));
    EXPECT_EQ(section(copy, 3), Bytes(3, std::byte{3}));
    EXPECT_EQ(section(copy, 4), Bytes());
    EXPECT_EQ(copy.sections()[2].kind, 901u);
    EXPECT_EQ(copy.sections()[2].flags, kSectionSafeToCopy);
    EXPECT_EQ(copy.sections()[2].digest, from.sections()[2].digest);
    EXPECT_EQ(copy.footer().section_entry_size, kSectionEntrySize + 8);
    for (std::size_t i = 0; i < 5; ++i) {
      const auto entry = copy.section_directory().subspan(i * copy.footer().section_entry_size,
                                                          copy.footer().section_entry_size);
      EXPECT_EQ(entry[kSectionReserved], std::byte{0x44}) << i;
      EXPECT_EQ(entry[kSectionEntrySize + 7], std::byte{0x33}) << i;
    }
    EXPECT_EQ(copy.footer().chunk_entry_size, kChunkEntrySize + 16);
    const Bytes table = section(copy, 0);
    for (std::size_t i = 0; i < copy.chunk_count(); ++i) {
      const std::size_t at = i * (kChunkEntrySize + 16);
      EXPECT_EQ(table[at + kChunkReserved], static_cast<std::byte>(i + 1));
      EXPECT_EQ(table[at + kChunkEntrySize], static_cast<std::byte>(i + 100));
      EXPECT_EQ(table[at + kChunkEntrySize + 15], std::byte{0x22});
    }
    EXPECT_EQ(copy.footer().length, kFooterSize + 24);
    const Bytes footer = part(copy, copy.file_size() - copy.footer().length, copy.footer().length);
    EXPECT_EQ(footer[kFooterReserved0 + 1], std::byte{0x66});
    EXPECT_EQ(footer[kFooterReserved + 15], std::byte{0x77});
    EXPECT_EQ(Bytes(footer.begin() + kFooterSize - kFooterEndSize, footer.end() - kFooterEndSize),
              Bytes(24, std::byte{0x55}));
    EXPECT_TRUE(validate_file(dir_.file("to")).valid());
    // Once more, and nothing changes.
    const Bytes once = test::read_file(dir_.file("to"));
    rewrite(once, profile);
    EXPECT_EQ(test::read_file(dir_.file("to")), once);
  }
}

TEST_F(NewerContainer, RewritingClearsWhatMayNotBeCopied) {
  const CheckpointReader copy =
      CheckpointReader::open(rewrite(newer(kSafeBit | kUnsafeBit), Profile::kRaw));
  EXPECT_EQ(copy.header().minor, kNewerMinor);
  EXPECT_EQ(copy.header().compatible, 0u);
  EXPECT_EQ(part(copy, kHeaderReserved, kHeaderChecksum - kHeaderReserved),
            Bytes(kHeaderChecksum - kHeaderReserved));
  EXPECT_EQ(copy.footer().length, kFooterSize);
  EXPECT_EQ(copy.footer().chunk_entry_size, kChunkEntrySize);
  EXPECT_EQ(copy.footer().section_entry_size, kSectionEntrySize);
  // Sections speak for themselves.
  ASSERT_EQ(copy.sections().size(), 5u);
  EXPECT_EQ(section(copy, 2), Bytes(1234, std::byte{1}));
  EXPECT_EQ(codes_of(validate_file(dir_.file("to"))),
            (std::set<std::string>{"header.newer-minor", "section.unknown"}));
}

TEST_F(NewerContainer, WithAReadOnlyCompatibleBitItIsReadButNotRewritten) {
  test::write_file(dir_.file("a"), newer(0, 1));
  const CheckpointReader reader = CheckpointReader::open(dir_.file("a"));
  EXPECT_TRUE(validate_file(dir_.file("a")).valid());
  Output output(-1, "nowhere");
  EXPECT_THROW(rewrite_checkpoint(reader, output, {}), Error);
}

TEST_F(NewerContainer, ASectionThatMustBeUnderstoodIsRefusedEverywhere) {
  test::Forge forge(base_);
  forge.sections = {{901, kSectionMustUnderstand | kSectionSafeToCopy, Bytes(5)}};
  const std::string path = dir_.file("refused.pcp");
  test::write_file(path, forge.assemble());
  try {
    CheckpointReader::open(path);
    ADD_FAILURE() << "it was opened";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kUnsupportedFeature);
    EXPECT_EQ(error.diagnostic(), "section.must-understand");
  }
  for (const StoreEntry& entry : Store(dir_.path()).list()) {
    ASSERT_TRUE(entry.problem.has_value());
    EXPECT_EQ(entry.problem->code(), ErrorCode::kUnsupportedFeature);
  }
}

TEST_F(NewerContainer, AnUnknownKindOfPositionBlocksNothing) {
  for (const bool announced : {true, false}) {
    test::Forge forge(base_);
    forge.edit_header = [=](std::span<std::byte> header) {
      store_le<std::uint16_t>(header, kHeaderPositionKind, 17);
      store_le<std::uint16_t>(header, kHeaderMinor, announced ? kNewerMinor : 0);
    };
    const Bytes file = forge.assemble();
    test::write_file(dir_.file("a"), file);
    if (announced) {
      EXPECT_EQ(CheckpointReader::open(dir_.file("a")).header().position_kind, 17);
      EXPECT_EQ(CheckpointReader::open(rewrite(file, Profile::kRaw)).header().position_kind, 17);
    } else {
      EXPECT_THROW(CheckpointReader::open(dir_.file("a")), Error);
    }
  }
}

// Raw chunks anywhere within 2 MiB, at multiples of the page size.
TEST_F(NewerContainer, RawChunksMayBeAlignedFurther) {
  test::write_sample(dir_.file("raw"), test::sample_pages(200, 3),
                     {.profile = Profile::kRaw, .threads = 1});
  const Bytes raw = test::read_file(dir_.file("raw"));
  for (const auto& [gap, valid] : {std::pair<std::size_t, bool>{2u << 20, false},
                                   {(2u << 20) - 4096, true},
                                   {4096, true},
                                   {4095, false}}) {
    test::Forge forge(raw);
    forge.chunks[1].padding = Bytes(gap);
    const Bytes file = forge.assemble();
    EXPECT_EQ(validate_bytes(file, "aligned").valid(), valid) << gap;
  }
}

// Every page size there may be, also those that no machine of today's table has.
TEST(PageSizes, EveryPowerOfTwoFrom4KiBTo2MiB) {
  test::TempDir dir;
  for (std::uint32_t page_size = 2048; page_size <= 4u << 20; page_size *= 2) {
    SCOPED_TRACE(page_size);
    capnp::MallocMessageBuilder message;
    auto state = message.initRoot<schema::State>();
    state.setMachine(62);
    state.setElfClass(2);
    state.setDataEncoding(1);
    state.initPageStream().setPageSize(page_size);
    state.setProducer("org.rrpcp.process");
    const HeaderFields fields = header_fields(state.asReader());
    ScopedFd file(::open(dir.file("a").c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600));
    Output output(file.get(), "a");
    if (!is_page_size(page_size)) {
      EXPECT_THROW(CheckpointWriter(output, fields), Error);
      continue;
    }
    Bytes pages(3 * std::size_t{page_size});
    for (std::size_t i = 0; i < pages.size(); i += 512) {
      pages[i] = static_cast<std::byte>(i / 512 % 251 + 1);
    }
    CheckpointWriter writer(output, fields, {.profile = Profile::kFast, .threads = 1});
    writer.append_stream(pages);
    capnp::MallocMessageBuilder provenance;
    writer.finish(state, provenance.initRoot<schema::Provenance>().asReader());
    const CheckpointReader reader = CheckpointReader::open(dir.file("a"));
    Bytes read;
    reader.read_stream(0, 3, [&](std::span<const std::byte> piece) {
      read.insert(read.end(), piece.begin(), piece.end());
    });
    EXPECT_EQ(read, pages);
    EXPECT_TRUE(validate_file(dir.file("a")).valid());
  }
}

// The work for a small file is bounded, and the bound can be raised.
TEST(WorkLimit, ManyBytesInFewAreRefusedUnlessAllowed) {
  test::TempDir dir;
  const Bytes pages(4096, std::byte{1});
  Bytes many;
  for (int i = 0; i < 1000; ++i) {
    many.insert(many.end(), pages.begin(), pages.end());
    many[many.size() - 1] = static_cast<std::byte>(i % 251);
    many[many.size() - 2] = static_cast<std::byte>(i / 251);
  }
  test::write_sample(dir.file("a"), many, {.profile = Profile::kFast});
  ValidateOptions options;
  options.limits.max_decoded_bytes = many.size() - 1;
  try {
    validate_file(dir.file("a"), options);
    ADD_FAILURE() << "there is no limit";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kLimit);
  }
  options.level = ValidationLevel::kStructure; // looks at no page data
  EXPECT_TRUE(validate_file(dir.file("a"), options).valid());
  options.level = ValidationLevel::kSemantics;
  options.limits.max_decoded_bytes = many.size();
  EXPECT_TRUE(validate_file(dir.file("a"), options).valid());
  EXPECT_TRUE(validate_file(dir.file("a")).valid())
      << "what a writer makes is within the usual one";
}

} // namespace
} // namespace rrpcp
