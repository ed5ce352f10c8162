// make_newer FROM TO MINOR INCOMPATIBLE READ_ONLY COMPATIBLE: copies the event stream of the trace
// FROM into the directory TO with another minor version and further feature bits (numbers).

#include "trace/rewrite_trace.h"

#include <cstdio>
#include <cstdlib>

int main(int argc, char** argv) {
  if (argc != 7) {
    std::fprintf(stderr, "usage: make_newer FROM TO MINOR INCOMPATIBLE READ_ONLY COMPATIBLE\n");
    return 2;
  }
  rrpcp::test::rewrite_trace(argv[1], argv[2], [&](rrpcp::TraceStreamHeader& header) {
    header.minor = static_cast<std::uint16_t>(std::strtoul(argv[3], nullptr, 0));
    header.incompatible |= std::strtoull(argv[4], nullptr, 0);
    header.read_only_compatible |= std::strtoull(argv[5], nullptr, 0);
    header.compatible |= std::strtoull(argv[6], nullptr, 0);
  });
  return 0;
}
