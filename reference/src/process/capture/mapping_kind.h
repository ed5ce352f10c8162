// What a line of /proc/PID/maps stands for.
#pragma once

#include "process/proc_maps.h"
#include "rrpcp/schema/memory.capnp.h"

#include <cstdint>
#include <string>

namespace rrpcp::process::capture {

enum class MappingKind {
  kPrivateAnonymous,
  kSharedAnonymous, // mmap(2) MAP_SHARED|MAP_ANONYMOUS
  kMemfd,
  kSystemV,
  kFile,
  kVdso,
  kVvar,     // kernel data beside the vDSO
  kVsyscall, // fixed page of the kernel
  kOther,    // something that a checkpoint cannot carry
};

MappingKind mapping_kind(const ProcMapping& mapping);

// Whether memory of the kind is stored as an object of its own.
bool is_object(MappingKind kind);

schema::MappingRole mapping_role(const ProcMapping& mapping, MappingKind kind);

// The path of a kFile mapping without the kernel's additions ("\012" for a line feed), and the name
// of a kMemfd one. `deleted` is set where the kernel says that the path names the file no longer.
std::string mapped_name(const ProcMapping& mapping, MappingKind kind, bool& deleted);

} // namespace rrpcp::process::capture
