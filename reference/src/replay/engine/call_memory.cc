#include "replay/engine/call_memory.h"

#include "base/page.h"
#include "trace/call_table.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstddef>
#include <linux/ioctl.h>
#include <span>
#include <sys/socket.h>
#include <sys/uio.h>

namespace rrpcp::replay {

namespace {

constexpr std::uint64_t kAddressEnd = std::uint64_t{1} << 56; // of programs, at the most
constexpr std::uint64_t kMaxBuffers = 1024;                   // UIO_MAXIOV
constexpr std::uint64_t kMessageHeader = sizeof(msghdr);
constexpr std::uint64_t kMultiMessage = sizeof(mmsghdr);
constexpr std::uint64_t kMaxAddress = sizeof(sockaddr_storage);
constexpr std::uint64_t kMaxTexts = 1 << 16;
constexpr std::uint64_t kMaxText = 128 << 10; // MAX_ARG_STRLEN
constexpr std::uint64_t kEverything = ~std::uint64_t{0};

enum class View { kInputs, kOutputs, kPayload };

class Collector {
public:
  Collector(const trace::SystemCall& call, process::RemoteMemory& memory,
            std::vector<CallRange>& out)
      : call_(call), memory_(memory), out_(out) {}

  // `result`: how much of the buffers counts; kEverything: all of them.
  void part(const trace::Part& part, View view, std::uint64_t result) {
    const trace::Extent& extent = part.extent;
    const std::uint64_t address = call_[part.argument];
    switch (extent.kind) {
    case trace::Extent::Kind::kBytes:
      add(address, extent.size);
      break;
    case trace::Extent::Kind::kArgument: {
      std::uint64_t length = multiplied(call_[extent.from], extent.size);
      if (view == View::kPayload) {
        length = std::min(length, result);
      }
      add(address, length + extent.plus);
      break;
    }
    case trace::Extent::Kind::kResult:
      add(address, multiplied(std::min(result, call_[extent.from]), extent.size) + extent.plus);
      break;
    case trace::Extent::Kind::kBits:
      add(address,
          (std::min<std::uint64_t>(call_[extent.from] & 0xffffffff, 1 << 20) + 63) / 64 * 8);
      break;
    case trace::Extent::Kind::kIntAt:
      add(address, std::min<std::uint64_t>(value<std::uint32_t>(call_[extent.from]), extent.size));
      break;
    case trace::Extent::Kind::kWordAt:
      add(address, std::min<std::uint64_t>(value<std::uint64_t>(call_[extent.from]), extent.size));
      break;
    case trace::Extent::Kind::kPages:
      add(address, call_[extent.from] / kPage + 1);
      break;
    case trace::Extent::Kind::kText:
      text(address, extent.size);
      break;
    case trace::Extent::Kind::kTexts:
      texts(address);
      break;
    case trace::Extent::Kind::kBuffers:
      buffers(address, call_[extent.from], result, part, view);
      break;
    case trace::Extent::Kind::kMessage:
      message(address, result, part, view);
      break;
    case trace::Extent::Kind::kMessages:
      messages(address, call_[extent.from], result, part, view);
      break;
    case trace::Extent::Kind::kRequest: {
      const auto request = static_cast<std::uint32_t>(call_[extent.from]);
      const std::uint32_t wanted = view == View::kInputs ? _IOC_WRITE : _IOC_READ;
      if ((_IOC_DIR(request) & wanted) != 0) {
        add(address, _IOC_SIZE(request));
      }
      break;
    }
    }
  }

  void add_buffers(std::uint64_t list, std::uint64_t count, std::uint64_t length) {
    count = std::min(count, kMaxBuffers);
    for (std::uint64_t i = 0; i < count && length > 0; ++i) {
      const auto buffer = value<iovec>(list + i * sizeof(iovec));
      const std::uint64_t part = std::min<std::uint64_t>(buffer.iov_len, length);
      add(reinterpret_cast<std::uint64_t>(buffer.iov_base), part);
      length -= part;
    }
  }

private:
  static std::uint64_t multiplied(std::uint64_t count, std::uint64_t size) {
    return std::min(count, kAddressEnd / std::max<std::uint64_t>(size, 1)) * size;
  }

  void add(std::uint64_t address, std::uint64_t length) {
    if (address == 0 || address >= kAddressEnd || length == 0) {
      return;
    }
    out_.push_back({address, std::min(length, kAddressEnd - address)});
  }

  template <typename T> T value(std::uint64_t address) {
    T read{};
    if (address != 0 && address < kAddressEnd) {
      memory_.read_some(address, std::as_writable_bytes(std::span(&read, 1)));
    }
    return read;
  }

  void text(std::uint64_t address, std::uint64_t most) {
    std::array<std::byte, 256> piece{};
    std::uint64_t length = 0;
    while (address != 0 && address < kAddressEnd && length < most) {
      // Not beyond the page, which may be the last.
      const std::uint64_t at = address + length;
      const std::uint64_t wanted =
          std::min({static_cast<std::uint64_t>(piece.size()), most - length, kPage - at % kPage});
      const std::size_t read = memory_.read_some(at, std::span(piece).first(wanted));
      const auto found = std::span(piece).first(read);
      const auto zero = std::find(found.begin(), found.end(), std::byte{0});
      if (zero != found.end()) {
        length += static_cast<std::uint64_t>(zero - found.begin()) + 1;
        break;
      }
      length += read;
      if (read < wanted) {
        break;
      }
    }
    add(address, length);
  }

  void texts(std::uint64_t list) {
    if (list == 0) {
      return;
    }
    std::uint64_t count = 0;
    for (; count < kMaxTexts; ++count) {
      const auto pointer = value<std::uint64_t>(list + count * sizeof(std::uint64_t));
      if (pointer == 0) {
        ++count;
        break;
      }
      text(pointer, kMaxText);
    }
    add(list, count * sizeof(std::uint64_t));
  }

  void buffers(std::uint64_t list, std::uint64_t count, std::uint64_t length,
               const trace::Part& part, View view) {
    if (view == View::kInputs) {
      add(list, std::min(count, kMaxBuffers) * sizeof(iovec));
      if (part.access == trace::Part::Access::kOut) {
        return;
      }
    }
    add_buffers(list, count, length);
  }

  void message(std::uint64_t header, std::uint64_t length, const trace::Part& part, View view) {
    const auto read = value<msghdr>(header);
    const auto list = reinterpret_cast<std::uint64_t>(read.msg_iov);
    if (view != View::kPayload) {
      add(header, kMessageHeader);
      const bool received = part.is_output();
      if (!received || view == View::kOutputs) {
        add(reinterpret_cast<std::uint64_t>(read.msg_name),
            std::min<std::uint64_t>(read.msg_namelen, kMaxAddress));
        add(reinterpret_cast<std::uint64_t>(read.msg_control), read.msg_controllen);
      }
      if (view == View::kInputs) {
        add(list, std::min<std::uint64_t>(read.msg_iovlen, kMaxBuffers) * sizeof(iovec));
        if (received) {
          return;
        }
      }
    }
    add_buffers(list, read.msg_iovlen, length);
  }

  // `done`: how many of them the call has dealt with.
  void messages(std::uint64_t list, std::uint64_t count, std::uint64_t done,
                const trace::Part& part, View view) {
    count = std::min({count & 0xffffffff, done, kMaxBuffers});
    for (std::uint64_t i = 0; i < count; ++i) {
      const std::uint64_t header = list + i * kMultiMessage;
      std::uint64_t length = kEverything;
      if (view != View::kInputs && done != kEverything) {
        length = value<std::uint32_t>(header + kMessageHeader);
      }
      message(header, length, part, view);
      if (view == View::kOutputs) {
        add(header, kMultiMessage);
      }
    }
  }

  const trace::SystemCall& call_;
  process::RemoteMemory& memory_;
  std::vector<CallRange>& out_;
};

} // namespace

bool outputs_known(const trace::SystemCall& call) {
  return !trace::call_row(call).compared;
}

void call_outputs(const trace::SystemCall& call, std::int64_t result, process::RemoteMemory& memory,
                  std::vector<CallRange>& out) {
  Collector to(call, memory, out);
  // With EFAULT nobody knows how far the kernel came.
  const bool failed = result < 0 && result >= -4095;
  const bool partly = result == -EFAULT;
  const std::uint64_t count = partly   ? kEverything
                              : failed ? 0
                                       : static_cast<std::uint64_t>(result);
  for (const trace::Part& part : trace::call_row(call).parts) {
    if (part.is_output() && (!failed || partly || part.when != trace::Part::When::kSucceeded)) {
      to.part(part, View::kOutputs, count);
    }
  }
}

void outputs_so_far(const trace::SystemCall& call, process::RemoteMemory& memory,
                    std::vector<CallRange>& out) {
  Collector to(call, memory, out);
  for (const trace::Part& part : trace::call_row(call).parts) {
    if (part.is_output() && part.when == trace::Part::When::kBegun) {
      to.part(part, View::kOutputs, kEverything);
    }
  }
}

void call_inputs(const trace::SystemCall& call, process::RemoteMemory& memory,
                 std::vector<CallRange>& out) {
  Collector to(call, memory, out);
  for (const trace::Part& part : trace::call_row(call).parts) {
    const bool list = part.extent.kind == trace::Extent::Kind::kBuffers; // is read itself
    if (part.is_input() || (part.is_output() && list)) {
      to.part(part, View::kInputs, kEverything);
    }
  }
}

bool writes_descriptor(const trace::SystemCall& call) {
  const auto& parts = trace::call_row(call).parts;
  return std::any_of(parts.begin(), parts.end(), [](const trace::Part& part) {
    return part.access == trace::Part::Access::kPayload;
  });
}

void written_bytes(const trace::SystemCall& call, std::int64_t result,
                   process::RemoteMemory& memory, std::vector<CallRange>& out) {
  if (result <= 0) {
    return;
  }
  Collector to(call, memory, out);
  for (const trace::Part& part : trace::call_row(call).parts) {
    if (part.access == trace::Part::Access::kPayload) {
      to.part(part, View::kPayload, static_cast<std::uint64_t>(result));
    }
  }
}

void buffer_ranges(process::RemoteMemory& memory, std::uint64_t list, std::uint64_t count,
                   std::uint64_t length, std::vector<CallRange>& out) {
  Collector(trace::SystemCall(), memory, out).add_buffers(list, count, length);
}

} // namespace rrpcp::replay
