// A server and a client in two processes over a socket of the loopback interface.
#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

static int client(in_port_t port) {
  struct sockaddr_in address;
  memset(&address, 0, sizeof address);
  address.sin_family = AF_INET;
  address.sin_port = port;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  const int fd = socket(AF_INET, SOCK_STREAM, 0);
  if (connect(fd, (struct sockaddr*)&address, sizeof address) != 0) {
    return 1;
  }
  for (int i = 0; i < 200; ++i) {
    char text[64];
    const int length = snprintf(text, sizeof text, "message %d\n", i);
    if (send(fd, text, (size_t)length, 0) != length) {
      return 2;
    }
    char answer[64];
    struct iovec part = {answer, sizeof answer};
    struct msghdr message;
    memset(&message, 0, sizeof message);
    message.msg_iov = &part;
    message.msg_iovlen = 1;
    if (recvmsg(fd, &message, 0) <= 0) {
      return 3;
    }
  }
  close(fd);
  return 0;
}

int main(void) {
  struct sockaddr_in address;
  memset(&address, 0, sizeof address);
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof address;
  const int listener = socket(AF_INET, SOCK_STREAM, 0);
  if (bind(listener, (struct sockaddr*)&address, size) != 0 || listen(listener, 1) != 0 ||
      getsockname(listener, (struct sockaddr*)&address, &size) != 0) {
    return 1;
  }
  const pid_t child = fork();
  if (child == 0) {
    close(listener);
    _exit(client(address.sin_port));
  }
  struct sockaddr_in peer;
  size = sizeof peer;
  const int fd = accept(listener, (struct sockaddr*)&peer, &size);
  long bytes = 0;
  char buffer[256];
  ssize_t n;
  while ((n = recv(fd, buffer, sizeof buffer, 0)) > 0) {
    bytes += n;
    if (send(fd, buffer, (size_t)n, 0) != n) {
      return 2;
    }
  }
  int status = 0;
  waitpid(child, &status, 0);
  printf("%ld bytes from %s port %d, status %d\n", bytes, inet_ntoa(peer.sin_addr),
         (int)ntohs(peer.sin_port), status);
  return 0;
}
