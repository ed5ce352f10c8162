// The ELF image of a mapped file.
#pragma once

#include "base/scoped_fd.h"
#include "rrpcp/memory_view.h"
#include "rrpcp/schema/state.capnp.h"

#include <cstdint>
#include <libelf.h>
#include <optional>
#include <string>

namespace rrpcp {

struct ElfEnd {
  void operator()(Elf* elf) const { ::elf_end(elf); }
};

// The mapping that has `address`, or none.
std::optional<schema::Mapping::Reader> mapping_at(schema::AddressSpace::Reader space,
                                                  std::uint64_t address);

// The file behind a memory object, if it is the one that was mapped: by its build id where both
// have one, else by size and digests. Empty where it is not; `problem` says why.
ScopedFd open_module_file(schema::FileIdentity::Reader identity, const BackingFiles& files,
                          std::string& path, std::string& problem);

// A copy of what the address space has of an ELF image whose first page is at `start`: each byte
// where it lies in the file. Empty where that is no image, or not in the checkpoint.
ScopedFd copy_image(schema::AddressSpace::Reader space, schema::Mapping::Reader first,
                    MemoryView& memory);

// What is added to the addresses in the image (an ELF file in `fd`) for those of the process, where
// the page of file offset 0 lies at `start`. False where the file is no ELF image, or its code is
// not mapped as it asks for: then it was mapped as data.
bool find_bias(int fd, schema::AddressSpace::Reader space, schema::Mapping::Reader first,
               std::uint64_t page_size, std::uint64_t& bias);

} // namespace rrpcp
