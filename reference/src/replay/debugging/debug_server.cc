#include "rrpcp/replay/debug_server.h"

#include "gdbserver/server.h"
#include "process/restore/xsave_area.h"
#include "replay/debugging/socket_watch.h"
#include "replay/debugging/timeline_debuggee.h"
#include "rrpcp/error.h"

#include <cerrno>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string_view>
#include <sys/socket.h>

namespace rrpcp {

namespace {

// The other side has gone.
struct Gone {};

gdbserver::XsavePlaces own_places() {
  const process::restore::XsaveLayout layout = process::restore::own_xsave_layout();
  gdbserver::XsavePlaces places;
  places.components = layout.features;
  for (std::size_t i = 0; i < layout.components.size(); ++i) {
    places.offsets[i] = layout.components[i].offset;
  }
  return places;
}

void send_all(int socket, std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t n = ::send(socket, bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (n < 0 && errno != EINTR) {
      throw Gone{};
    }
    bytes.remove_prefix(n < 0 ? 0 : static_cast<std::size_t>(n));
  }
}

} // namespace

struct DebugServer::Impl {
  replay::TimelineDebuggee debuggee;
  gdbserver::Session session;
  DebugServerSettings settings;

  Impl(Timeline& timeline, DebugServerSettings wanted)
      : debuggee(timeline), settings(std::move(wanted)) {
    if (settings.process != 0) {
      return;
    }
    for (const TaskRecord& task : timeline.trace().tasks()) {
      if (task.parent_pid == 0) {
        settings.process = task.pid;
        return;
      }
    }
    throw Error(ErrorCode::kUnsupportedState, "the trace has no process")
        .in_file(timeline.trace().directory());
  }

  End serve(int socket, int listener) {
    // A packet is not to wait for the other side's acknowledgement of the one before (tcp(7)).
    // Other kinds of sockets do not know it.
    const int at_once = 1;
    ::setsockopt(socket, IPPROTO_TCP, TCP_NODELAY, &at_once, sizeof at_once);
    gdbserver::ServerSettings own;
    own.process = settings.process;
    own.restart = settings.restart;
    own.xsave = own_places();
    own.while_watching = [&](const std::function<Stop(const std::atomic<bool>&)>& run) {
      const replay::SocketWatch watch(socket, listener);
      return run(watch.something_came());
    };
    gdbserver::Server server(debuggee, session, std::move(own),
                             [&](std::string_view bytes) { send_all(socket, bytes); });
    gdbserver::PacketReader packets;
    char buffer[1 << 16];
    while (true) {
      while (const std::optional<gdbserver::Incoming> incoming = packets.next()) {
        switch (server.handle(*incoming)) {
        case gdbserver::Server::Next::kGoOn:
          break;
        case gdbserver::Server::Next::kDetached:
          return End::kDetached;
        case gdbserver::Server::Next::kKilled:
          return End::kKilled;
        }
        if (server.without_acknowledgements()) {
          packets.trust();
        }
      }
      replay::wait_for_debugger(socket, listener);
      const ssize_t n = ::recv(socket, buffer, sizeof buffer, 0);
      if (n == 0 || (n < 0 && errno != EINTR)) {
        return End::kGone;
      }
      packets.feed(std::string_view(buffer, n < 0 ? 0 : static_cast<std::size_t>(n)));
    }
  }
};

DebugServer::DebugServer(Timeline& timeline, DebugServerSettings settings)
    : impl_(std::make_unique<Impl>(timeline, std::move(settings))) {}

DebugServer::~DebugServer() = default;

DebugServer::End DebugServer::serve(int socket, int listener) {
  try {
    return impl_->serve(socket, listener);
  } catch (const Gone&) {
    return End::kGone;
  }
}

} // namespace rrpcp
