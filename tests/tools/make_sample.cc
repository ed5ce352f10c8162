// make_sample DIR NAME [MACHINE [PROFILE]]: writes a sample checkpoint for end-to-end tests.

#include "tools/sample.h"

#include <cstdio>
#include <cstdlib>

int main(int argc, char** argv) {
  if (argc < 3) {
    std::fprintf(stderr, "usage: make_sample DIR NAME [MACHINE [PROFILE]]\n");
    return 2;
  }
  rrpcp::test::SampleOptions options;
  if (argc > 3) {
    options.machine = static_cast<std::uint16_t>(std::atoi(argv[3]));
  }
  if (argc > 4) {
    options.writer.profile = rrpcp::parse_profile(argv[4]);
  }
  rrpcp::test::write_rich_sample(argv[1], argv[2], options);
  return 0;
}
