// Looks up the vDSO as programs do that know of it: through the auxiliary vector, and as one of the
// loaded objects. Says what its symbols are called, and asks for the time.
#define _GNU_SOURCE
#include <elf.h>
#include <link.h>
#include <stdio.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/time.h>
#include <time.h>

static int show(struct dl_phdr_info* info, size_t size, void* data) {
  (void)size;
  (void)data;
  if (strstr(info->dlpi_name, "vdso") != NULL) {
    printf("loaded: %s, %d segments\n", info->dlpi_name, info->dlpi_phnum);
  }
  return 0;
}

int main(void) {
  const char* const image = (const char*)getauxval(AT_SYSINFO_EHDR);
  if (image == NULL) {
    printf("there is none\n");
    return 1;
  }
  const Elf64_Ehdr* const header = (const Elf64_Ehdr*)image;
  printf("an ELF file: %d\n", memcmp(header->e_ident, ELFMAG, SELFMAG) == 0);
  const Elf64_Shdr* const sections = (const Elf64_Shdr*)(image + header->e_shoff);
  for (int i = 0; i < header->e_shnum; ++i) {
    if (sections[i].sh_type != SHT_DYNSYM) {
      continue;
    }
    const char* const names = image + sections[sections[i].sh_link].sh_offset;
    const Elf64_Sym* const symbols = (const Elf64_Sym*)(image + sections[i].sh_offset);
    for (size_t j = 0; j < sections[i].sh_size / sizeof *symbols; ++j) {
      printf("symbol %s\n", names + symbols[j].st_name);
    }
  }
  dl_iterate_phdr(show, NULL);
  struct timespec now;
  struct timeval then;
  clock_gettime(CLOCK_MONOTONIC, &now);
  gettimeofday(&then, NULL);
  printf("times: %d\n", now.tv_sec > 0 && then.tv_sec > 0 && time(NULL) >= then.tv_sec);
  return 0;
}
