// make_goldens DIR: writes the files of the conformance suite that a version brought; its number is
// the name of DIR. Used once per release; what is released is never made again.

#include "conformance/invalid_cases.h"
#include "conformance/series_cases.h"
#include "conformance/valid_cases.h"
#include "support/checkpoint_bytes.h"

#include <cstdio>
#include <filesystem>
#include <fstream>

int main(int argc, char** argv) {
  namespace fs = std::filesystem;
  using namespace rrpcp::test;
  const fs::path root = argc == 2 ? argv[1] : "";
  const std::string version = root.filename().string();
  if (version != "1.0" && version != "1.1") {
    std::fprintf(stderr, "usage: make_goldens DIR/1.0|DIR/1.1\n");
    return 2;
  }
  fs::create_directories(root / "invalid");
  fs::create_directories(root / "valid");
  for (const InvalidCase& one : version == "1.0" ? invalid_cases() : invalid_series()) {
    write_file(root / "invalid" / (one.code + ".pcp"), one.file);
    std::ofstream json(root / "invalid" / (one.code + ".json"));
    json << "{\n  \"codes\": [";
    const char* separator = "";
    for (const std::string& code : one.codes) {
      json << separator << '"' << code << '"';
      separator = ", ";
    }
    json << "]\n}\n";
  }
  for (const ValidCase& one : version == "1.0" ? valid_cases() : valid_series()) {
    write_file(root / "valid" / (one.name + ".pcp"), one.file);
  }
  if (version == "1.1") {
    for (const ValidCase& one : companions()) {
      write_file(root / "invalid" / (one.name + ".pcp"), one.file);
    }
  }
}
