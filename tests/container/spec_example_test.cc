// The file that spec/format.md shows in hexadecimal is the file that the library writes.

#include "rrpcp/validate.h"
#include "support/checkpoint_bytes.h"
#include "support/temp_dir.h"

#include <cstdio>
#include <cstring>
#include <fstream>
#include <gtest/gtest.h>
#include <sstream>

namespace rrpcp {
namespace {

// As `hexdump -C` prints it.
std::string hexdump(const std::vector<std::byte>& bytes) {
  std::string out;
  std::string previous;
  bool starred = false;
  char line[128];
  for (std::size_t offset = 0; offset < bytes.size(); offset += 16) {
    std::string hex;
    std::string text;
    for (std::size_t i = 0; i < 16 && offset + i < bytes.size(); ++i) {
      auto byte = static_cast<unsigned>(bytes[offset + i]);
      std::snprintf(line, sizeof line, "%s%02x ", i == 8 ? " " : "", byte);
      hex += line;
      text += byte >= 0x20 && byte < 0x7f ? static_cast<char>(byte) : '.';
    }
    if (offset > 0 && hex == previous) {
      if (!starred) {
        out += "*\n";
      }
      starred = true;
      continue;
    }
    starred = false;
    previous = hex;
    std::snprintf(line, sizeof line, "%08zx  %-49s |%s|\n", offset, hex.c_str(), text.c_str());
    out += line;
  }
  std::snprintf(line, sizeof line, "%08zx\n", bytes.size());
  return out + line;
}

TEST(Spec, HexadecimalExampleIsWhatTheLibraryWrites) {
  test::TempDir dir;
  std::vector<std::byte> page(4096);
  const char text[] = "Hello, replay!";
  std::memcpy(page.data(), text, sizeof text);
  test::write_sample(dir.file("example.pcp"), page, {.profile = Profile::kRaw});
  const ValidationReport report = validate_file(dir.file("example.pcp"));
  EXPECT_TRUE(report.findings.empty()) << report.findings[0].message;
  std::string written = hexdump(test::read_file(dir.file("example.pcp")));

  std::ifstream spec(RRPCP_SPEC_DIR "/format.md");
  std::stringstream content;
  content << spec.rdbuf();
  std::string page_text = content.str();
  std::size_t start = page_text.find("```hexdump\n");
  ASSERT_NE(start, std::string::npos);
  start += std::strlen("```hexdump\n");
  EXPECT_EQ(page_text.substr(start, page_text.find("```", start) - start), written);
}

} // namespace
} // namespace rrpcp
