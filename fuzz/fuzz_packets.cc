// Conversations with a debugger that is hostile: the input is what it sends, in one stream. Packets
// that it ends by a newline are framed for it, so that the fuzzer need not find checksums.

#include "gdbserver/packets.h"
#include "gdbserver/server.h"
#include "rrpcp/error.h"
#include "still_debuggee.h"

#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

using namespace rrpcp;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  std::string_view input(reinterpret_cast<const char*>(data), size);
  fuzz::StillDebuggee debuggee;
  gdbserver::Session session;
  gdbserver::ServerSettings settings;
  settings.process = 7;
  settings.xsave.components = 0x2e7;
  for (unsigned i = 2; i < 10; ++i) {
    settings.xsave.offsets[i] = 576 + 200 * i;
  }
  static const std::atomic<bool> kNothingComes{false};
  settings.while_watching = [](const std::function<Stop(const std::atomic<bool>&)>& run) {
    return run(kNothingComes);
  };
  // What is sent must be whole packets or acknowledgements.
  const auto check = [](std::string_view sent) {
    if (sent == "+" || sent == "-") {
      return;
    }
    if (sent.size() < 4 || sent.front() != '$' || sent[sent.size() - 3] != '#' ||
        sent.find_first_of("$#", 1) != sent.size() - 3) {
      std::abort();
    }
  };
  gdbserver::Server server(debuggee, session, std::move(settings), check);
  gdbserver::PacketReader packets;
  const auto handle_all = [&] {
    while (const std::optional<gdbserver::Incoming> incoming = packets.next()) {
      if (server.handle(*incoming) != gdbserver::Server::Next::kGoOn) {
        return false;
      }
    }
    return true;
  };
  while (!input.empty()) {
    const std::size_t end = input.find('\n');
    if (end == input.npos) {
      packets.feed(input);
      handle_all();
      break;
    }
    packets.feed(gdbserver::framed(input.substr(0, end)));
    input.remove_prefix(end + 1);
    if (!handle_all()) {
      break;
    }
  }
  return 0;
}
