// Maps what is no file, as far as this machine has it and lets us, and says what it was told.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/bpf.h>
#include <linux/if_packet.h>
#include <linux/kvm.h>
#include <net/ethernet.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

static void map(const char* what, int fd, size_t length) {
  if (fd < 0) {
    printf("%s: none\n", what);
    return;
  }
  const void* memory = mmap(NULL, length, PROT_READ, MAP_SHARED, fd, 0);
  printf("%s: %s\n", what, memory != MAP_FAILED ? "mapped" : strerror(errno));
}

int main(void) {
  // Always there, and mapped as anonymous memory.
  map("/dev/zero", open("/dev/zero", O_RDONLY), 4096);

  const int packets = socket(AF_PACKET, SOCK_RAW, 0);
  struct tpacket_req ring = {4096, 1, 2048, 2};
  if (packets >= 0 && setsockopt(packets, SOL_PACKET, PACKET_RX_RING, &ring, sizeof ring) == 0) {
    map("packet socket", packets, 4096);
  }

  union bpf_attr attributes;
  memset(&attributes, 0, sizeof attributes);
  attributes.map_type = BPF_MAP_TYPE_ARRAY;
  attributes.key_size = 4;
  attributes.value_size = 8;
  attributes.max_entries = 512;
  attributes.map_flags = BPF_F_MMAPABLE;
  map("bpf map", (int)syscall(SYS_bpf, BPF_MAP_CREATE, &attributes, sizeof attributes), 4096);

  const int kvm = open("/dev/kvm", O_RDWR);
  const int machine = kvm >= 0 ? ioctl(kvm, KVM_CREATE_VM, 0) : -1;
  map("virtual processor", machine >= 0 ? ioctl(machine, KVM_CREATE_VCPU, 0) : -1, 4096);

  map("/dev/mem", open("/dev/mem", O_RDONLY), 4096);
  map("/dev/loop0", open("/dev/loop0", O_RDONLY), 4096);
  return 0;
}
