// A tiny program as a checkpoint, put together by hand: for what no real process can show.
#pragma once

#include "rrpcp/schema/manifest.capnp.h"
#include "rrpcp/writer.h"

#include <capnp/message.h>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <sys/types.h>
#include <vector>

namespace rrpcp::test {

// A process id that nobody has just now.
pid_t unused_id();

// A process with one thread, about to execute `code` at kCode with a stack of two pages below
// kStackTop and a data page at kData. With default code it exits with status 42.
class Sketch {
public:
  static constexpr std::uint64_t kCode = 0x40000000;
  static constexpr std::uint64_t kData = 0x40200000;
  static constexpr std::uint64_t kStackTop = 0x7ffd00000000;

  Sketch();

  // To be changed at will before write().
  std::vector<std::byte> code;
  // At most one page.
  std::vector<std::byte> data;
  pid_t pid;
  std::uint32_t page_size = 4096;
  // Called last with the whole state.
  std::function<void(schema::State::Builder)> edit;

  void write(const std::string& path, Profile profile = Profile::kDefault) const;

private:
  capnp::MallocMessageBuilder& build(capnp::MallocMessageBuilder& message,
                                     const std::vector<PageRun>& code_runs,
                                     const std::vector<PageRun>& data_runs) const;
};

} // namespace rrpcp::test
