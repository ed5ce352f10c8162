#include "replay/engine/code_scanner.h"

#include "replay/engine/opcode_search.h"

#include <Zydis/Zydis.h>
#include <algorithm>
#include <cstring>
#include <optional>

namespace rrpcp::replay {

namespace {

// Where no function is known: how far before a place disassembling begins, how many instructions
// in a row make what was found believable, or worth telling of, and how many behind it are looked
// at. Data soon has something that is no instruction of a program.
constexpr std::size_t kReach = 4096;
constexpr int kEnough = 24;
constexpr int kPossible = 12;
constexpr int kBehind = 6;
// What it is worth that the instruction before sets eax.
constexpr int kSetsLeaf = 16;
// So many zeros in a row are filling.
constexpr std::size_t kFilling = 8;

struct Instruction {
  std::size_t length = 0;
  bool leaves = false; // what follows need not be code
};

class Disassembler {
public:
  explicit Disassembler(std::span<const std::byte> code) : code_(code) {
    ZydisDecoderInit(&decoder_, ZYDIS_MACHINE_MODE_LONG_64, ZYDIS_STACK_WIDTH_64);
    lengths_ = decoder_;
    ZydisDecoderEnableMode(&lengths_, ZYDIS_DECODER_MODE_MINIMAL, ZYAN_TRUE);
  }

  // Length of the instruction; 0: none. Several times as fast as the others.
  std::size_t length_at(std::size_t place) const {
    ZydisDecodedInstruction decoded;
    return place < code_.size() &&
                   ZYAN_SUCCESS(ZydisDecoderDecodeInstruction(
                       &lengths_, nullptr, code_.data() + place, code_.size() - place, &decoded))
               ? decoded.length
               : 0;
  }

  // Nothing where there is no instruction that a program can execute.
  std::optional<Instruction> at(std::size_t place) const {
    if (place >= code_.size()) {
      return std::nullopt;
    }
    ZydisDecodedInstruction decoded;
    if (!ZYAN_SUCCESS(ZydisDecoderDecodeInstruction(&decoder_, nullptr, code_.data() + place,
                                                    code_.size() - place, &decoded))) {
      return std::nullopt;
    }
    Instruction instruction{decoded.length, false};
    switch (decoded.meta.category) {
    case ZYDIS_CATEGORY_RET:
    case ZYDIS_CATEGORY_UNCOND_BR:
      instruction.leaves = true;
      break;
    default:
      instruction.leaves =
          decoded.mnemonic == ZYDIS_MNEMONIC_UD2 || decoded.mnemonic == ZYDIS_MNEMONIC_INT3;
      break;
    }
    implausible_ = (decoded.attributes & ZYDIS_ATTRIB_IS_PRIVILEGED) != 0 ||
                   decoded.meta.branch_type == ZYDIS_BRANCH_TYPE_FAR ||
                   decoded.meta.category == ZYDIS_CATEGORY_IO ||
                   decoded.meta.category == ZYDIS_CATEGORY_IOSTRINGOP;
    return instruction;
  }
  // The same, without what no compiler makes for a program.
  std::optional<Instruction> plausible_at(std::size_t place) const {
    std::optional<Instruction> found = at(place);
    return found && !implausible_ ? found : std::nullopt;
  }
  std::size_t zeros(std::size_t place) const {
    std::size_t end = place;
    while (end < code_.size() && code_[end] == std::byte{0}) {
      ++end;
    }
    return end - place;
  }

private:
  std::span<const std::byte> code_;
  ZydisDecoder decoder_;
  ZydisDecoder lengths_;
  mutable bool implausible_ = false;
};

enum class Answer { kInstruction, kOther, kUnknown };

struct Decision {
  Answer answer = Answer::kUnknown;
  std::size_t place = 0; // of the instruction
};

class Scanner {
public:
  Scanner(std::span<const std::byte> code, std::uint64_t offset,
          const std::function<std::optional<CodeStart>(std::uint64_t)>& start_of)
      : code_(code), offset_(offset), start_of_(start_of), disassembler_(code) {}

  ScannedCode run(std::size_t from, std::size_t to) {
    find_opcodes(code_, from, to, kTrappedOpcodes, [this](std::size_t at) {
      if (decode_trapped(code_.subspan(at))) {
        look_at(at);
      }
    });
    return std::move(result_);
  }

private:
  void look_at(std::size_t hit) {
    const std::optional<CodeStart> known = start_of_(offset_ + hit);
    if (!known) {
      return;
    }
    const CodeStart start = *known;
    const std::size_t begin =
        start.offset > offset_ ? static_cast<std::size_t>(start.offset - offset_) : 0;
    const bool whole = start.offset >= offset_ && begin <= hit;
    const Decision decision = start.function && whole ? in_function(begin, hit)
                              : whole                 ? in_code(begin, hit)
                                                      : in_code(0, hit);
    if (decision.answer == Answer::kOther) {
      return;
    }
    const std::size_t place = decision.answer == Answer::kInstruction ? decision.place : hit;
    if (const std::optional<TrappedCode> code = decode_trapped(code_.subspan(place))) {
      std::vector<FoundInstruction>& list =
          decision.answer == Answer::kInstruction ? result_.certain : result_.uncertain;
      list.push_back({offset_ + place, *code});
    }
  }

  // Whether the instruction at `place` is the one whose 0F is at `hit`.
  Decision judge(std::size_t place, std::size_t length) const {
    const std::optional<TrappedCode> code = decode_trapped(code_.subspan(place));
    return code && code->length == length ? Decision{Answer::kInstruction, place}
                                          : Decision{Answer::kOther, 0};
  }

  Decision in_function(std::size_t begin, std::size_t hit) {
    if (function_ != begin || reached_ > hit) {
      function_ = begin;
      reached_ = begin;
    }
    while (reached_ <= hit) {
      const std::size_t length = disassembler_.length_at(reached_);
      if (length == 0) {
        return {}; // data within the function
      }
      if (reached_ + length > hit) {
        return judge(reached_, length);
      }
      reached_ += length;
    }
    return {};
  }

  // Where only the beginning of the code is known, and data may lie in it.
  Decision in_code(std::size_t begin, std::size_t hit) const {
    if (hit - begin <= kReach) {
      return sweep(begin, hit, true);
    }
    // Wherever one begins, one is soon in step with the instructions.
    const Decision first = sweep(hit - kReach, hit, false);
    for (std::size_t other = 1; other < 4; ++other) {
      const Decision decision = sweep(hit - kReach + other, hit, false);
      if (decision.answer != first.answer || decision.place != first.place) {
        return {};
      }
    }
    return first;
  }

  Decision sweep(std::size_t begin, std::size_t hit, bool from_start) const {
    int in_a_row = from_start ? kEnough : 0;
    bool sets_leaf = false; // the instruction before does
    for (std::size_t at = begin; at <= hit;) {
      if (const std::size_t zeros = disassembler_.zeros(at); zeros >= kFilling) {
        at += zeros;
        in_a_row = kEnough; // what follows filling is a beginning
        continue;
      }
      const std::optional<Instruction> instruction = disassembler_.plausible_at(at);
      if (!instruction) {
        in_a_row = 0;
        ++at;
        continue;
      }
      if (at + instruction->length > hit) {
        if (!goes_on(at + instruction->length)) {
          return {Answer::kOther, 0}; // data
        }
        if (in_a_row < kEnough && sets_leaf) {
          in_a_row += kSetsLeaf;
        }
        return in_a_row >= kEnough     ? judge(at, instruction->length)
               : in_a_row >= kPossible ? Decision{}
                                       : Decision{Answer::kOther, 0};
      }
      ++in_a_row;
      sets_leaf = sets_eax(at, instruction->length);
      at += instruction->length;
    }
    return {};
  }

  // mov $…, %eax or xor %eax, %eax: what comes before CPUID, and hardly before data.
  bool sets_eax(std::size_t at, std::size_t length) const {
    const auto byte = [&](std::size_t i) { return static_cast<unsigned>(code_[at + i]); };
    return (length == 5 && byte(0) == 0xb8) ||
           (length == 2 && (byte(0) == 0x31 || byte(0) == 0x33) && byte(1) == 0xc0);
  }

  bool goes_on(std::size_t at) const {
    for (int i = 0; i < kBehind; ++i) {
      const std::optional<Instruction> instruction = disassembler_.plausible_at(at);
      if (!instruction) {
        return false;
      }
      if (instruction->leaves) {
        return true;
      }
      at += instruction->length;
    }
    return true;
  }

  std::span<const std::byte> code_;
  std::uint64_t offset_;
  const std::function<std::optional<CodeStart>(std::uint64_t)>& start_of_;
  Disassembler disassembler_;
  // The function that was looked at last, and the instruction that it was looked through to.
  std::size_t function_ = ~std::size_t{0};
  std::size_t reached_ = 0;
  ScannedCode result_;
};

} // namespace

ScannedCode scan_code(std::span<const std::byte> code, std::uint64_t offset,
                      const std::function<std::optional<CodeStart>(std::uint64_t offset)>& start_of,
                      std::size_t from, std::size_t to) {
  return Scanner(code, offset, start_of).run(from, to);
}

} // namespace rrpcp::replay
