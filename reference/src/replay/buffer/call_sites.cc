#include "replay/buffer/call_sites.h"

#include "replay/buffer/call_shapes.h"
#include "replay/buffer/plain_instruction.h"
#include "replay/engine/opcode_search.h"

#include <Zydis/Zydis.h>
#include <algorithm>
#include <cstring>
#include <optional>
#include <set>

namespace rrpcp::replay::buffer {

namespace {

constexpr std::size_t kLong = 5;       // jmp rel32
constexpr std::size_t kShort = 2;      // jmp rel8
constexpr std::size_t kReach = 120;    // of a short jump
constexpr std::size_t kMostPlain = 24; // bytes, for which a bridge has room

class Finder {
public:
  Finder(std::span<const std::byte> code, std::uint64_t offset, const CodeFunctions& functions,
         std::size_t from, std::size_t to)
      : code_(code), offset_(offset), functions_(functions), from_(from),
        to_(std::min(to, code.size())) {
    ZydisDecoderInit(&decoder_, ZYDIS_MACHINE_MODE_LONG_64, ZYDIS_STACK_WIDTH_64);
    lengths_ = decoder_;
    ZydisDecoderEnableMode(&lengths_, ZYDIS_DECODER_MODE_MINIMAL, ZYAN_TRUE);
  }

  std::vector<CallSite> run() {
    std::vector<CallSite> found;
    constexpr std::uint8_t kSyscall[] = {0x05};
    find_opcodes(code_, from_, to_, kSyscall, [&](std::size_t at) {
      if (const std::optional<CallSite> site = site_before(at)) {
        found.push_back(*site);
      }
    });
    constexpr std::uint8_t kCpuid[] = {0xa2};
    find_opcodes(code_, from_, to_, kCpuid, [&](std::size_t at) {
      if (const std::size_t length = plain_before(at, nullptr); length != 0) {
        found.push_back({offset_ + at - length, static_cast<std::uint8_t>(length),
                         CallSite::kNowhere, CallSite::To::kCpuid});
      }
    });
    return found;
  }

private:
  unsigned byte(std::size_t at) const { return static_cast<unsigned>(code_[at]); }

  // Of the `syscall` at `at`.
  std::optional<CallSite> site_before(std::size_t at) {
    std::size_t length = at < kShort ? 0 : replaceable(at);
    if (length == 0 || !begins(at - length, at)) {
      std::uint32_t number = 0;
      length = plain_before(at, &number);
      if (length == 0 || number >= kNumbers || call_shapes()[number].known == 0) {
        return std::nullopt;
      }
    }
    CallSite site{offset_ + at - length, static_cast<std::uint8_t>(length)};
    if (length < kLong) {
      const std::optional<std::size_t> filling = find_filling(at - length);
      if (!filling) {
        return std::nullopt;
      }
      site.filling = offset_ + *filling;
    }
    return site;
  }

  // Length of the plain instructions before `at` of which the first sets `number`, or another
  // register where that is null; 0: there are none.
  std::size_t plain_before(std::size_t at, std::uint32_t* number) const {
    for (std::size_t length = kLong; length <= std::min(kMostPlain, at); ++length) {
      if (is_plain(code_.subspan(at - length, length), number) && begins(at - length, at)) {
        return length;
      }
    }
    return 0;
  }

  // Length of what stands before the `syscall` at `at` and may be replaced; 0: nothing.
  std::size_t replaceable(std::size_t at) const {
    if (at >= kLong && byte(at - 5) == 0xb8) { // mov $…, %eax
      std::uint32_t number = 0;
      std::memcpy(&number, code_.data() + at - 4, sizeof number);
      if (number < kNumbers) {
        return call_shapes()[number].known != 0 ? kLong : 0;
      }
    }
    constexpr unsigned kSixth[] = {0x4c, 0x8b, 0x4c, 0x24, 0x08}; // mov 8(%rsp), %r9
    if (at >= kLong && std::equal(std::begin(kSixth), std::end(kSixth), code_.data() + at - kLong,
                                  [](unsigned wanted, std::byte found) {
                                    return wanted == static_cast<unsigned>(found);
                                  })) {
      return kLong; // syscall(2): any call
    }
    const bool zero = (byte(at - 2) == 0x31 || byte(at - 2) == 0x33) && byte(at - 1) == 0xc0;
    return zero ? kShort : 0; // read(2)
  }

  // Length of the instruction at `at`; 0: none.
  std::size_t length_at(std::size_t at, ZydisMnemonic* mnemonic = nullptr) const {
    ZydisDecodedInstruction decoded;
    if (at >= code_.size() || !ZYAN_SUCCESS(ZydisDecoderDecodeInstruction(
                                  mnemonic != nullptr ? &decoder_ : &lengths_, nullptr,
                                  code_.data() + at, code_.size() - at, &decoded))) {
      return 0;
    }
    if (mnemonic != nullptr) {
      *mnemonic = decoded.mnemonic;
    }
    return decoded.length;
  }

  // Whether instructions begin at both places, one behind the other.
  bool begins(std::size_t place, std::size_t following) const {
    const std::optional<CodeFunctions::Bounds> bounds = functions_.find(offset_ + place);
    if (!bounds || bounds->begin < offset_) {
      return false;
    }
    std::size_t at = static_cast<std::size_t>(bounds->begin - offset_);
    bool first = false;
    while (at < following) {
      first = first || at == place;
      const std::size_t length = length_at(at);
      if (length == 0) {
        return false;
      }
      at += length;
    }
    return first && at == following;
  }

  // Bytes that nobody executes, within reach of a short jump at `from`.
  std::optional<std::size_t> find_filling(std::size_t from) {
    const std::size_t low = std::max(from_, from > kReach ? from - kReach : 0);
    const std::size_t high = std::min(from + kReach, std::max(to_, kLong) - kLong);
    for (std::size_t at = low; at < high; ++at) {
      if (functions_.find(offset_ + at)) {
        continue;
      }
      const std::size_t begin = at;
      // From where a function ends on, else the place might be in the middle of an instruction.
      const bool known = begin == 0 || functions_.find(offset_ + begin - 1).has_value();
      std::size_t end = begin;
      while (end < code_.size() && !functions_.find(offset_ + end)) {
        ZydisMnemonic mnemonic = ZYDIS_MNEMONIC_INVALID;
        const std::size_t length = length_at(end, &mnemonic);
        if (length == 0 || (mnemonic != ZYDIS_MNEMONIC_NOP && mnemonic != ZYDIS_MNEMONIC_INT3)) {
          break;
        }
        end += length;
      }
      // What follows must be a function: else somebody may go on into it through the filling.
      const bool closed = end < code_.size() && functions_.find(offset_ + end).has_value();
      const std::size_t place = std::max(begin, low);
      if (known && closed && end - place >= kLong && place + kLong <= to_ &&
          used_.insert(place).second) {
        return place;
      }
      at = std::max(end, at);
    }
    return std::nullopt;
  }

  std::span<const std::byte> code_;
  std::uint64_t offset_;
  const CodeFunctions& functions_;
  const std::size_t from_;
  const std::size_t to_;
  ZydisDecoder decoder_;
  ZydisDecoder lengths_; // tells lengths alone, faster
  std::set<std::size_t> used_;
};

} // namespace

std::vector<CallSite> find_call_sites(std::span<const std::byte> code, std::uint64_t offset,
                                      const CodeFunctions& functions, std::size_t from,
                                      std::size_t to) {
  return Finder(code, offset, functions, from, to).run();
}

} // namespace rrpcp::replay::buffer
