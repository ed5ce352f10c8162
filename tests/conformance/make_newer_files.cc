// make_newer_files GOLDENS OUT: files as a later version may write them, made of the valid golden
// files in the folder GOLDENS, and OUT/expected.json, which says what a reader of today's version
// must make of each. For tests/cross-version.sh.

#include "base/bytes.h"
#include "conformance/newer_schemas.h"
#include "container/canonical.h"
#include "rrpcp/format.h"
#include "support/checkpoint_bytes.h"
#include "support/forge.h"

#include <algorithm>
#include <capnp/any.h>
#include <capnp/dynamic.h>
#include <capnp/message.h>
#include <capnp/serialize.h>
#include <cstdio>
#include <exception>
#include <filesystem>
#include <nlohmann/json.hpp>

namespace rrpcp::test {
namespace {

namespace fs = std::filesystem;
using namespace format;
using Bytes = std::vector<std::byte>;
using Edit = std::function<void(Forge&)>;

constexpr std::uint64_t kSafeBit = std::uint64_t{1} << 9; // of the compatible word: safe to copy

// The golden file's manifest with all fields set that a later version may have added.
// Without its seal, which was made of the state without them.
void add_fields(Forge& forge, const NewerSchemas& schemas, const ValuePlans& plans) {
  std::erase_if(forge.sections, [](const Forge::Extra& one) {
    return one.kind == kSectionSeal;
  });
  std::vector<capnp::word> words(forge.manifest.size() / sizeof(capnp::word));
  std::memcpy(words.data(), forge.manifest.data(), forge.manifest.size());
  capnp::FlatArrayMessageReader reader(kj::arrayPtr(words.data(), words.size()));
  capnp::MallocMessageBuilder message;
  message.setRoot(reader.getRoot<capnp::AnyPointer>());
  auto manifest = message.getRoot<capnp::DynamicStruct>(schemas.manifest());
  set_added_fields(manifest);
  const kj::Array<capnp::word> canonical =
      canonical_message(manifest.asReader().as<capnp::AnyStruct>(), &plans.root());
  forge.manifest.assign(8, std::byte{0});
  store_le<std::uint32_t>(std::span(forge.manifest), 4,
                          static_cast<std::uint32_t>(canonical.size()));
  const auto bytes = std::as_bytes(std::span(canonical.begin(), canonical.size()));
  forge.manifest.insert(forge.manifest.end(), bytes.begin(), bytes.end());
}

// A newer minor version with reserved bytes in use, longer parts and unknown sections.
void add_parts(Forge& forge) {
  forge.edit_header = [](std::span<std::byte> header) {
    store_le<std::uint16_t>(header, kHeaderMinor, 9);
    store_le<std::uint64_t>(header, kHeaderCompatible, kSafeBit);
    std::fill(header.begin() + kHeaderReserved, header.begin() + kHeaderChecksum, std::byte{0x11});
  };
  forge.longer_chunk_entries = Bytes(16, std::byte{0x22});
  forge.longer_section_entries = Bytes(8, std::byte{0x33});
  forge.longer_footer = Bytes(24, std::byte{0x55});
  forge.edit_footer = [](std::span<std::byte> footer) {
    footer[kFooterReserved] = std::byte{0x77};
  };
  forge.sections.push_back({901, kSectionSafeToCopy, Bytes(1234, std::byte{1})});
  forge.sections.push_back({902, 0, Bytes(77, std::byte{2})});
}

Edit set_bit(std::size_t word, unsigned bit) {
  return [=](Forge& forge) {
    forge.edit_header = [=](std::span<std::byte> header) {
      store_le<std::uint16_t>(header, kHeaderMinor, 9);
      store_le<std::uint64_t>(header, word,
                              load_le<std::uint64_t>(header, word) | std::uint64_t{1} << bit);
    };
  };
}

int run(const fs::path& goldens, const fs::path& out) {
  fs::create_directories(out);
  const NewerSchemas schemas;
  const ValuePlans plans(schemas.manifest());
  nlohmann::ordered_json expected = nlohmann::ordered_json::array();
  auto write = [&](const fs::path& golden, const std::string& what, const char* outcome,
                   const std::string& names, const Edit& edit) {
    Forge forge(read_file(golden.string()));
    edit(forge);
    const std::string name = golden.stem().string() + "." + what + ".pcp";
    write_file((out / name).string(), forge.assemble());
    expected.push_back({{"file", name},
                        {"golden", golden.filename().string()},
                        {"outcome", outcome},
                        {"names", names}});
  };
  std::vector<fs::path> files;
  for (const auto& entry : fs::directory_iterator(goldens)) {
    if (entry.path().extension() == ".pcp") {
      files.push_back(entry.path());
    }
  }
  std::sort(files.begin(), files.end());
  if (files.empty()) {
    throw std::runtime_error("no golden files in " + goldens.string());
  }
  for (const fs::path& golden : files) {
    write(golden, "parts", "keep", "", add_parts);
    write(golden, "fields", "keep", "", [&](Forge& forge) {
      add_fields(forge, schemas, plans);
      forge.edit_header = [](std::span<std::byte> header) {
        store_le<std::uint16_t>(header, kHeaderMinor, 9);
      };
    });
  }
  const fs::path& first = files.front();
  write(first, "incompatible-bit", "refuse", "bit 40", set_bit(kHeaderIncompatible, 40));
  write(first, "read-only-bit", "read-only", "bit 7", set_bit(kHeaderReadOnlyCompat, 7));
  write(first, "compatible-bit", "keep", "", set_bit(kHeaderCompatible, 3));
  write(first, "section", "refuse", "901", [](Forge& forge) {
    set_bit(kHeaderCompatible, 3)(forge);
    forge.sections.push_back({901, kSectionMustUnderstand, Bytes(5)});
  });
  const std::string text = expected.dump(1) + "\n";
  const auto bytes = std::as_bytes(std::span(text));
  write_file((out / "expected.json").string(), Bytes(bytes.begin(), bytes.end()));
  return 0;
}

} // namespace
} // namespace rrpcp::test

int main(int argc, char** argv) {
  if (argc != 3) {
    std::fprintf(stderr, "usage: make_newer_files GOLDENS OUT\n");
    return 2;
  }
  try {
    return rrpcp::test::run(argv[1], argv[2]);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "make_newer_files: %s\n", error.what());
    return 1;
  }
}
