// What the kernel says of its own types: /sys/kernel/btf/vmlinux.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

namespace rrpcp::process {

// The types of the running kernel in the BPF Type Format (Documentation/bpf/btf.rst of the kernel).
class KernelTypes {
public:
  // Nothing: the kernel does not tell them (CONFIG_DEBUG_INFO_BTF), or in a way that is not known.
  static std::optional<KernelTypes> read();
  static std::optional<KernelTypes> parse(std::vector<std::byte> content);

  // The number of a function's type.
  std::optional<std::uint32_t> function(std::string_view name) const;
  // Bytes from the start of a structure to a member, which may lie in nameless structures and
  // unions in it.
  std::optional<std::uint32_t> offset(std::string_view structure, std::string_view member) const;

private:
  struct Type {
    std::uint32_t name;
    std::uint32_t kind;
    std::uint32_t count; // of members and the like
    std::size_t details; // where they are in the content
  };

  KernelTypes() = default;
  std::uint32_t word(std::size_t at) const;
  std::string_view name(std::uint32_t at) const;
  std::optional<std::uint32_t> find(std::uint32_t kind, std::string_view name) const;
  std::optional<std::uint32_t> offset_in(std::uint32_t type, std::string_view member,
                                         unsigned depth) const;

  std::vector<std::byte> content_;
  std::size_t strings_ = 0;
  std::size_t strings_end_ = 0;
  std::vector<Type> types_; // number 0 is void
};

} // namespace rrpcp::process
