#include "process/capture/mapping_kind.h"

#include <string_view>
#include <sys/mman.h>

namespace rrpcp::process::capture {

namespace {

constexpr std::string_view kMemfdPrefix = "/memfd:";

} // namespace

MappingKind mapping_kind(const ProcMapping& mapping) {
  const std::string_view name = mapping.name;
  if (name == "[vdso]") {
    return MappingKind::kVdso;
  }
  if (name.starts_with("[vvar")) {
    return MappingKind::kVvar;
  }
  if (name == "[vsyscall]") {
    return MappingKind::kVsyscall;
  }
  if (mapping.inode == 0 && mapping.device == 0) {
    bool anonymous = name.empty() || name == "[heap]" || name.starts_with("[stack") ||
                     name.starts_with("[anon:");
    return !mapping.shared && anonymous ? MappingKind::kPrivateAnonymous : MappingKind::kOther;
  }
  if (name == "/dev/zero" && !mapping.shared) {
    return MappingKind::kPrivateAnonymous;
  }
  if (name.starts_with("/dev/zero (deleted)") || name.starts_with("[anon_shmem:")) {
    return MappingKind::kSharedAnonymous;
  }
  if (name.starts_with(kMemfdPrefix) && name.ends_with(kDeleted)) {
    return MappingKind::kMemfd;
  }
  if (name.starts_with("/SYSV") && name.ends_with(kDeleted)) {
    return MappingKind::kSystemV;
  }
  bool special =
      !name.starts_with('/') || name == "/[aio] (deleted)" || name == "/anon_hugepage (deleted)";
  return special ? MappingKind::kOther : MappingKind::kFile;
}

bool is_object(MappingKind kind) {
  return kind == MappingKind::kSharedAnonymous || kind == MappingKind::kMemfd ||
         kind == MappingKind::kSystemV || kind == MappingKind::kFile;
}

schema::MappingRole mapping_role(const ProcMapping& mapping, MappingKind kind) {
  switch (kind) {
  case MappingKind::kVdso:
    return schema::MappingRole::VDSO;
  case MappingKind::kVvar:
    return schema::MappingRole::VVAR;
  case MappingKind::kVsyscall:
    return schema::MappingRole::VSYSCALL;
  case MappingKind::kPrivateAnonymous:
    if (mapping.name == "[heap]") {
      return schema::MappingRole::HEAP;
    }
    return mapping.name == "[stack]" ? schema::MappingRole::STACK : schema::MappingRole::ORDINARY;
  default:
    return schema::MappingRole::ORDINARY;
  }
}

std::string mapped_name(const ProcMapping& mapping, MappingKind kind, bool& deleted) {
  std::string_view name = mapping.name;
  deleted = name.ends_with(kDeleted);
  if (deleted) {
    name.remove_suffix(kDeleted.size());
  }
  if (kind == MappingKind::kMemfd) {
    name.remove_prefix(kMemfdPrefix.size());
  }
  std::string result;
  for (std::size_t i = 0; i < name.size(); ++i) {
    if (name.substr(i, 4) == "\\012") {
      result.push_back('\n');
      i += 3;
    } else {
      result.push_back(name[i]);
    }
  }
  return result;
}

} // namespace rrpcp::process::capture
