#include "process/kernel_types.h"

#include "base/scoped_fd.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>
#include <utility>

namespace rrpcp::process {

namespace {

// linux/btf.h.
constexpr std::uint32_t kMagicAndVersion = 0x0001'eb9f; // and no flags
constexpr std::size_t kHeaderSize = 24;
constexpr std::uint32_t kStruct = 4;
constexpr std::uint32_t kUnion = 5;
constexpr std::uint32_t kFunction = 12;
// By kind: bytes that follow the twelve of each type, and bytes for each of what it counts.
constexpr std::array<std::pair<std::uint8_t, std::uint8_t>, 20> kSizes = {
    {{0, 0}, {4, 0}, {0, 0}, {12, 0}, {0, 12}, {0, 12}, {0, 8}, {0, 0}, {0, 0}, {0, 0},
     {0, 0}, {0, 0}, {0, 0}, {0, 8},  {4, 0},  {0, 12}, {0, 0}, {4, 0}, {0, 0}, {0, 12}}};
// Nameless ones in each other.
constexpr unsigned kMostDepth = 8;

} // namespace

std::uint32_t KernelTypes::word(std::size_t at) const {
  std::uint32_t value = 0;
  std::memcpy(&value, content_.data() + at, sizeof value);
  return value;
}

std::string_view KernelTypes::name(std::uint32_t at) const {
  if (at >= strings_end_ - strings_) {
    return {};
  }
  const char* const text = reinterpret_cast<const char*>(content_.data()) + strings_ + at;
  return {text, ::strnlen(text, strings_end_ - strings_ - at)};
}

std::optional<KernelTypes> KernelTypes::parse(std::vector<std::byte> content) {
  KernelTypes types;
  types.content_ = std::move(content);
  const std::size_t size = types.content_.size();
  if (size < kHeaderSize || types.word(0) != kMagicAndVersion) {
    return std::nullopt;
  }
  // Each part begins so many bytes behind the header.
  const std::uint64_t header = types.word(4);
  const std::uint64_t end = header + types.word(8) + types.word(12);
  const std::uint64_t strings = header + types.word(16);
  const std::uint64_t strings_end = strings + types.word(20);
  if (end > size || strings_end > size) {
    return std::nullopt;
  }
  types.strings_ = strings;
  types.strings_end_ = strings_end;
  types.types_.push_back({0, 0, 0, 0});
  for (std::size_t at = header + types.word(8); at < end;) {
    if (end - at < 12) {
      return std::nullopt;
    }
    const std::uint32_t information = types.word(at + 4);
    const Type type{types.word(at), information >> 24 & 31, information & 0xffff, at + 12};
    if (type.kind == 0 || type.kind >= kSizes.size()) {
      return std::nullopt; // its size is not known
    }
    const std::size_t details =
        kSizes[type.kind].first + std::size_t{kSizes[type.kind].second} * type.count;
    if (end - type.details < details) {
      return std::nullopt;
    }
    types.types_.push_back(type);
    at = type.details + details;
  }
  return types;
}

std::optional<KernelTypes> KernelTypes::read() {
  const ScopedFd file(::open("/sys/kernel/btf/vmlinux", O_RDONLY | O_CLOEXEC));
  struct stat status;
  if (!file || ::fstat(file.get(), &status) != 0) {
    return std::nullopt;
  }
  std::vector<std::byte> content(static_cast<std::size_t>(status.st_size));
  for (std::size_t filled = 0; filled < content.size();) { // a page at a time
    const ssize_t n = ::read(file.get(), content.data() + filled, content.size() - filled);
    if (n == 0 || (n < 0 && errno != EINTR)) {
      return std::nullopt;
    }
    filled += static_cast<std::size_t>(n < 0 ? 0 : n);
  }
  return parse(std::move(content));
}

std::optional<std::uint32_t> KernelTypes::find(std::uint32_t kind, std::string_view wanted) const {
  for (std::uint32_t i = 0; i < types_.size(); ++i) {
    if (types_[i].kind == kind && name(types_[i].name) == wanted) {
      return i;
    }
  }
  return std::nullopt;
}

std::optional<std::uint32_t> KernelTypes::function(std::string_view wanted) const {
  return find(kFunction, wanted);
}

std::optional<std::uint32_t> KernelTypes::offset(std::string_view structure,
                                                 std::string_view member) const {
  const std::optional<std::uint32_t> type = find(kStruct, structure);
  return type ? offset_in(*type, member, 0) : std::nullopt;
}

std::optional<std::uint32_t> KernelTypes::offset_in(std::uint32_t number, std::string_view wanted,
                                                    unsigned depth) const {
  const Type& type = types_[number];
  if ((type.kind != kStruct && type.kind != kUnion) || depth > kMostDepth) {
    return std::nullopt;
  }
  for (std::uint32_t i = 0; i < type.count; ++i) {
    // Name, type, and the place in bits; with bit fields, whose sizes lie in the uppermost byte,
    // none of what is asked for.
    const std::size_t member = type.details + std::size_t{12} * i;
    const std::string_view own = name(word(member));
    const std::uint32_t place = (word(member + 8) & 0xff'ffff) / 8;
    if (own == wanted) {
      return place;
    }
    if (own.empty() && word(member + 4) < types_.size()) {
      if (const auto inner = offset_in(word(member + 4), wanted, depth + 1)) {
        return place + *inner;
      }
    }
  }
  return std::nullopt;
}

} // namespace rrpcp::process
