// Prints by calls that hand data on without its passing through memory, and by write(2) where they
// refuse. What is printed is the same either way; which calls refused goes to standard error.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/uio.h>
#include <unistd.h>

static int file, ends[2];

// A new file each time: what is handed on without a copy would change with the file.
static void refill(const char* text) {
  const size_t length = strlen(text);
  file = memfd_create("passing", 0);
  if (pwrite(file, text, length, 0) != (ssize_t)length ||
      write(ends[1], text, length) != (ssize_t)length) {
    _exit(1);
  }
}

static void drain(void) {
  char buffer[256];
  fcntl(ends[0], F_SETFL, O_NONBLOCK);
  while (read(ends[0], buffer, sizeof buffer) > 0) {
  }
}

static void check(const char* name, const char* text, ssize_t result) {
  const size_t length = strlen(text);
  if (result != (ssize_t)length) {
    dprintf(2, "%s refused: %s\n", name, strerror(errno));
    if (write(1, text, length) != (ssize_t)length) {
      _exit(1);
    }
  }
  drain();
}

int main(void) {
  if (pipe(ends) != 0) {
    return 1;
  }
  const char* text = "by sendfile\n";
  refill(text);
  off_t offset = 0;
  check("sendfile", text, sendfile(1, file, &offset, strlen(text)));
  text = "by splice\n";
  refill(text);
  check("splice", text, splice(ends[0], NULL, 1, NULL, strlen(text), 0));
  text = "by tee\n";
  refill(text);
  check("tee", text, tee(ends[0], 1, strlen(text), 0));
  text = "by vmsplice\n";
  const struct iovec piece = {(void*)text, strlen(text)};
  check("vmsplice", text, vmsplice(1, &piece, 1, 0));
  text = "by copy_file_range\n";
  refill(text);
  offset = 0;
  check("copy_file_range", text, copy_file_range(file, &offset, 1, NULL, strlen(text), 0));
  return 0;
}
