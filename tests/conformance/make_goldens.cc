// make_goldens DIR: writes the files of the conformance suite of this version. Used once per
// release; what is released is never made again.

#include "conformance/invalid_cases.h"
#include "conformance/valid_cases.h"
#include "support/checkpoint_bytes.h"

#include <cstdio>
#include <filesystem>
#include <fstream>

int main(int argc, char** argv) {
  namespace fs = std::filesystem;
  if (argc != 2) {
    std::fprintf(stderr, "usage: make_goldens DIR\n");
    return 2;
  }
  const fs::path root = argv[1];
  fs::create_directories(root / "invalid");
  fs::create_directories(root / "valid");
  for (const rrpcp::test::InvalidCase& one : rrpcp::test::invalid_cases()) {
    rrpcp::test::write_file(root / "invalid" / (one.code + ".pcp"), one.file);
    std::ofstream json(root / "invalid" / (one.code + ".json"));
    json << "{\n  \"codes\": [";
    const char* separator = "";
    for (const std::string& code : one.codes) {
      json << separator << '"' << code << '"';
      separator = ", ";
    }
    json << "]\n}\n";
  }
  for (const rrpcp::test::ValidCase& one : rrpcp::test::valid_cases()) {
    rrpcp::test::write_file(root / "valid" / (one.name + ".pcp"), one.file);
  }
}
