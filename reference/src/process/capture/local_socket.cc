#include "process/capture/local_socket.h"

#include "base/scoped_fd.h"
#include "process/capture/data_bytes.h"

#include <array>
#include <cerrno>
#include <cstring>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <linux/sock_diag.h>
#include <linux/sockios.h>
#include <linux/unix_diag.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

namespace rrpcp::process::capture {

namespace {

// Messages and bytes that are looked at; more than a socket's buffers hold.
constexpr std::size_t kMostMessages = 65536;
constexpr std::size_t kMostBytes = 16 << 20;
// asm-generic/socket.h and sys/socket.h of newer systems.
constexpr int kPeekOffset = 42; // SO_PEEK_OFF
constexpr int kPassPidfd = 76;  // SO_PASSPIDFD
constexpr int kReceiveShut = 1; // RCV_SHUTDOWN (net/sock.h), as sock_diag(7) shows it
constexpr int kSendShut = 2;

// Options of SOL_SOCKET that a program may have set, in order.
constexpr int kOptions[] = {SO_REUSEADDR, SO_BROADCAST, SO_SNDBUF,   SO_RCVBUF,
                            SO_KEEPALIVE, SO_OOBINLINE, SO_PRIORITY, SO_LINGER,
                            SO_PASSCRED,  SO_RCVLOWAT,  SO_RCVTIMEO, SO_SNDTIMEO,
                            SO_TIMESTAMP, SO_PASSSEC,   kPeekOffset, kPassPidfd};

std::string option(int socket, int name) {
  std::array<char, 64> value{};
  socklen_t length = value.size();
  if (::getsockopt(socket, SOL_SOCKET, name, value.data(), &length) != 0) {
    return {};
  }
  return std::string(value.data(), length);
}

struct Diagnosis {
  ino_t peer = 0;
  int shutdown = 0;
};

// What sock_diag(7) says of a local socket of this network namespace.
std::optional<Diagnosis> diagnose(ino_t inode) {
  ScopedFd netlink(::socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_SOCK_DIAG));
  struct {
    nlmsghdr header;
    unix_diag_req request;
  } question{};
  question.header.nlmsg_len = sizeof question;
  question.header.nlmsg_type = SOCK_DIAG_BY_FAMILY;
  question.header.nlmsg_flags = NLM_F_REQUEST;
  question.request.sdiag_family = AF_UNIX;
  question.request.udiag_states = ~0u;
  question.request.udiag_ino = static_cast<__u32>(inode);
  question.request.udiag_show = UDIAG_SHOW_PEER;
  question.request.udiag_cookie[0] = ~0u;
  question.request.udiag_cookie[1] = ~0u;
  if (!netlink || ::send(netlink.get(), &question, sizeof question, 0) < 0) {
    return std::nullopt;
  }
  alignas(nlmsghdr) std::array<char, 4096> answer;
  const ssize_t length = ::recv(netlink.get(), answer.data(), answer.size(), 0);
  auto* header = reinterpret_cast<nlmsghdr*>(answer.data());
  if (length < static_cast<ssize_t>(NLMSG_LENGTH(sizeof(unix_diag_msg))) ||
      header->nlmsg_type != SOCK_DIAG_BY_FAMILY) {
    return std::nullopt; // the kernel was built without it
  }
  Diagnosis diagnosis;
  auto* message = static_cast<unix_diag_msg*>(NLMSG_DATA(header));
  auto* attribute = reinterpret_cast<rtattr*>(message + 1);
  auto left = static_cast<unsigned>(header->nlmsg_len - NLMSG_LENGTH(sizeof *message));
  for (; RTA_OK(attribute, left); attribute = RTA_NEXT(attribute, left)) {
    if (attribute->rta_type == UNIX_DIAG_PEER) {
      __u32 peer = 0;
      std::memcpy(&peer, RTA_DATA(attribute), sizeof peer);
      diagnosis.peer = peer;
    } else if (attribute->rta_type == UNIX_DIAG_SHUTDOWN) {
      diagnosis.shutdown = *static_cast<unsigned char*>(RTA_DATA(attribute));
    }
  }
  return diagnosis;
}

// Looks at one message, or at what a stream has. Returns its length, -1 with errno.
ssize_t peek(int socket, std::string& bytes, bool& has_descriptors) {
  iovec piece{bytes.data(), bytes.size()};
  alignas(cmsghdr) std::array<char, 4096> control{};
  msghdr message{};
  message.msg_iov = &piece;
  message.msg_iovlen = 1;
  message.msg_control = control.data();
  message.msg_controllen = control.size();
  const ssize_t n =
      ::recvmsg(socket, &message, MSG_PEEK | MSG_DONTWAIT | MSG_TRUNC | MSG_CMSG_CLOEXEC);
  if (n < 0) {
    return n;
  }
  has_descriptors = (message.msg_flags & MSG_CTRUNC) != 0;
  for (cmsghdr* head = CMSG_FIRSTHDR(&message); head != nullptr;
       head = CMSG_NXTHDR(&message, head)) {
    if (head->cmsg_level != SOL_SOCKET || head->cmsg_type != SCM_RIGHTS) {
      continue;
    }
    has_descriptors = true; // copies of them are ours now
    const std::size_t count = (head->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    for (std::size_t i = 0; i < count; ++i) {
      int fd = -1;
      std::memcpy(&fd, CMSG_DATA(head) + i * sizeof(int), sizeof fd);
      ::close(fd);
    }
  }
  return n;
}

bool look_at_stream(int socket, LocalSocket& out, std::string& why) {
  int unread = 0;
  if (::ioctl(socket, SIOCINQ, &unread) != 0 || unread < 0) {
    why = "whose queue the kernel does not tell";
    return false;
  }
  if (unread == 0) {
    return true;
  }
  if (static_cast<std::size_t>(unread) > kMostBytes) {
    why = "with more bytes queued than can be looked at";
    return false;
  }
  std::string bytes(static_cast<std::size_t>(unread), '\0');
  bool has_descriptors = false;
  const ssize_t n = peek(socket, bytes, has_descriptors);
  if (has_descriptors) {
    why = "with descriptors queued in it (unix(7) SCM_RIGHTS)";
    return false;
  }
  if (n != unread) {
    why = "with queued bytes that cannot be looked at without taking them";
    return false;
  }
  out.received.push_back(std::move(bytes));
  return true;
}

// Messages behind the first one can be looked at by means of an offset only (socket(7)
// SO_PEEK_OFF), which is put back.
bool look_at_messages(int socket, LocalSocket& out, std::string& why) {
  pollfd state{socket, POLLIN, 0};
  char nothing = 0;
  if (::poll(&state, 1, 0) <= 0 || (state.revents & POLLIN) == 0 ||
      ::recv(socket, &nothing, 1, MSG_PEEK | MSG_DONTWAIT) < 0) {
    return true; // empty
  }
  int former = -1;
  socklen_t length = sizeof former;
  const int zero = 0;
  if (::getsockopt(socket, SOL_SOCKET, kPeekOffset, &former, &length) != 0 || former >= 0 ||
      ::setsockopt(socket, SOL_SOCKET, kPeekOffset, &zero, sizeof zero) != 0) {
    why = "with messages queued in it that cannot be looked at";
    return false;
  }
  std::string buffer(1 << 20, '\0');
  std::size_t total = 0;
  while (why.empty()) {
    bool has_descriptors = false;
    const ssize_t n = peek(socket, buffer, has_descriptors);
    if (n < 0) {
      break;
    }
    total += static_cast<std::size_t>(n);
    if (has_descriptors) {
      why = "with descriptors queued in it (unix(7) SCM_RIGHTS)";
    } else if (n == 0 || total > kMostBytes || out.received.size() == kMostMessages ||
               static_cast<std::size_t>(n) > buffer.size()) {
      why = "with messages queued in it that cannot be looked at";
    } else {
      out.received.push_back(buffer.substr(0, static_cast<std::size_t>(n)));
    }
  }
  ::setsockopt(socket, SOL_SOCKET, kPeekOffset, &former, sizeof former);
  return why.empty();
}

bool is_unnamed(int socket) {
  sockaddr_un name{};
  socklen_t length = sizeof name;
  return ::getsockname(socket, reinterpret_cast<sockaddr*>(&name), &length) == 0 &&
         length == sizeof(sa_family_t);
}

bool is_connected(int socket) {
  sockaddr_un name{};
  socklen_t length = sizeof name;
  return ::getpeername(socket, reinterpret_cast<sockaddr*>(&name), &length) == 0 &&
         length == sizeof(sa_family_t);
}

void find_options(int socket, LocalSocket& out) {
  const ScopedFd fresh(::socket(AF_UNIX, out.type | SOCK_CLOEXEC, out.protocol));
  for (const int name : kOptions) {
    std::string value = option(socket, name);
    if (fresh && value != option(fresh.get(), name)) {
      out.options.push_back({SOL_SOCKET, name, std::move(value)});
    }
  }
}

bool is_on(const LocalSocket& socket, int name) {
  for (const LocalSocket::Option& option : socket.options) {
    if (option.name == name) {
      return option.value.find_first_not_of('\0') != std::string::npos;
    }
  }
  return false;
}

} // namespace

std::optional<LocalSocket> examine_local_socket(int socket, ino_t inode, std::string& why) {
  int family = 0;
  socklen_t length = sizeof family;
  if (::getsockopt(socket, SOL_SOCKET, SO_DOMAIN, &family, &length) != 0 || family != AF_UNIX ||
      !is_unnamed(socket) || !is_connected(socket)) {
    return std::nullopt;
  }
  const std::optional<Diagnosis> diagnosis = diagnose(inode);
  if (!diagnosis) {
    why = "whose other end the kernel does not tell";
    return std::nullopt;
  }
  LocalSocket out;
  out.inode = inode;
  out.peer = diagnosis->peer;
  out.read_shut = (diagnosis->shutdown & kReceiveShut) != 0;
  out.write_shut = (diagnosis->shutdown & kSendShut) != 0;
  length = sizeof out.type;
  ::getsockopt(socket, SOL_SOCKET, SO_TYPE, &out.type, &length);
  length = sizeof out.protocol;
  ::getsockopt(socket, SOL_SOCKET, SO_PROTOCOL, &out.protocol, &length);
  ucred peer{};
  length = sizeof peer;
  if (::getsockopt(socket, SOL_SOCKET, SO_PEERCRED, &peer, &length) == 0 && peer.pid > 0) {
    out.peer_pid = peer.pid;
    out.peer_uid = peer.uid;
    out.peer_gid = peer.gid;
  }
  find_options(socket, out);
  length = 0;
  if (::getsockopt(socket, SOL_SOCKET, SO_ATTACH_FILTER, nullptr, &length) > 0 || length != 0) {
    why = "with a filter (socket(7) SO_ATTACH_FILTER)";
    return std::nullopt;
  }
  if (!(out.type == SOCK_STREAM ? look_at_stream(socket, out, why)
                                : look_at_messages(socket, out, why))) {
    return std::nullopt;
  }
  if (!out.received.empty() && (is_on(out, SO_PASSCRED) || is_on(out, kPassPidfd))) {
    why = "with messages queued in it whose receiver is told their senders (SO_PASSCRED)";
    return std::nullopt;
  }
  return out;
}

void LocalSocket::build(schema::SocketEnd::Builder out) const {
  out.setId(inode);
  out.setPeer(peer);
  out.setDomain(AF_UNIX);
  out.setType(static_cast<std::uint32_t>(type));
  out.setProtocol(static_cast<std::uint32_t>(protocol));
  auto messages = out.initReceived(static_cast<unsigned>(received.size()));
  for (unsigned i = 0; i < messages.size(); ++i) {
    messages[i].setData(as_data(received[i]));
  }
  out.setReadShut(read_shut);
  out.setWriteShut(write_shut);
  auto list = out.initOptions(static_cast<unsigned>(options.size()));
  for (unsigned i = 0; i < list.size(); ++i) {
    list[i].setLevel(options[i].level);
    list[i].setName(options[i].name);
    list[i].setValue(as_data(options[i].value));
  }
  out.setPeerPid(peer_pid);
  out.setPeerUid(peer_uid);
  out.setPeerGid(peer_gid);
}

} // namespace rrpcp::process::capture
