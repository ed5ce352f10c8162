#include "gdbserver/agent_expression.h"

#include <array>
#include <cstring>
#include <vector>

namespace rrpcp::gdbserver {

namespace {

// Numbers as in the manual's table of operations.
enum Operation : std::uint8_t {
  kAdd = 0x02,
  kSubtract = 0x03,
  kMultiply = 0x04,
  kDivideSigned = 0x05,
  kDivideUnsigned = 0x06,
  kRemainderSigned = 0x07,
  kRemainderUnsigned = 0x08,
  kShiftLeft = 0x09,
  kShiftRightSigned = 0x0a,
  kShiftRightUnsigned = 0x0b,
  kLogicalNot = 0x0e,
  kAnd = 0x0f,
  kOr = 0x10,
  kExclusiveOr = 0x11,
  kNot = 0x12,
  kEqual = 0x13,
  kLessSigned = 0x14,
  kLessUnsigned = 0x15,
  kExtend = 0x16,
  kRef8 = 0x17,
  kRef16 = 0x18,
  kRef32 = 0x19,
  kRef64 = 0x1a,
  kIfGoto = 0x20,
  kGoto = 0x21,
  kConst8 = 0x22,
  kConst16 = 0x23,
  kConst32 = 0x24,
  kConst64 = 0x25,
  kRegister = 0x26,
  kEnd = 0x27,
  kDuplicate = 0x28,
  kPop = 0x29,
  kZeroExtend = 0x2a,
  kSwap = 0x2b,
  kPick = 0x32,
  kRotate = 0x33,
};

constexpr int kMostOperations = 100'000;
constexpr std::size_t kDeepestStack = 1000;

// Thrown out of an evaluation that cannot go on.
struct Stuck {};

class Evaluation {
public:
  Evaluation(std::string_view code, const AgentContext& context) : code_(code), context_(context) {}

  std::uint64_t run() {
    for (int i = 0; i < kMostOperations; ++i) {
      const auto operation = static_cast<std::uint8_t>(operand(1));
      if (operation == kEnd) {
        return pop();
      }
      apply(operation);
    }
    throw Stuck{};
  }

private:
  // Operands are big-endian, whatever the target is.
  std::uint64_t operand(std::size_t size) {
    if (code_.size() - at_ < size) {
      throw Stuck{};
    }
    std::uint64_t value = 0;
    for (std::size_t i = 0; i < size; ++i) {
      value = value << 8 | static_cast<unsigned char>(code_[at_++]);
    }
    return value;
  }

  void jump(std::uint64_t target) {
    if (target >= code_.size()) {
      throw Stuck{};
    }
    at_ = static_cast<std::size_t>(target);
  }

  std::uint64_t pop() {
    if (stack_.empty()) {
      throw Stuck{};
    }
    const std::uint64_t value = stack_.back();
    stack_.pop_back();
    return value;
  }

  void push(std::uint64_t value) {
    if (stack_.size() >= kDeepestStack) {
      throw Stuck{};
    }
    stack_.push_back(value);
  }

  std::uint64_t& from_top(std::uint64_t depth) {
    if (depth >= stack_.size()) {
      throw Stuck{};
    }
    return stack_[stack_.size() - 1 - static_cast<std::size_t>(depth)];
  }

  void reference(std::size_t size) {
    std::array<std::byte, 8> bytes{};
    if (!context_.read_memory(pop(), std::span(bytes).first(size))) {
      throw Stuck{};
    }
    std::uint64_t value = 0;
    std::memcpy(&value, bytes.data(), size);
    push(value);
  }

  void extend(bool with_sign) {
    const std::uint64_t bits = operand(1);
    if (bits == 0) {
      throw Stuck{};
    }
    if (bits >= 64) {
      return;
    }
    std::uint64_t value = pop() & ((std::uint64_t{1} << bits) - 1);
    if (with_sign && (value >> (bits - 1) & 1) != 0) {
      value |= ~std::uint64_t{0} << bits;
    }
    push(value);
  }

  void divide(std::uint8_t operation, std::uint64_t a, std::uint64_t b) {
    if (b == 0) {
      throw Stuck{};
    }
    const auto x = static_cast<std::int64_t>(a);
    const auto y = static_cast<std::int64_t>(b);
    switch (operation) {
    case kDivideSigned: // the one quotient that has no 64 bits wraps round
      push(y == -1 ? -a : static_cast<std::uint64_t>(x / y));
      break;
    case kRemainderSigned:
      push(y == -1 ? 0 : static_cast<std::uint64_t>(x % y));
      break;
    case kDivideUnsigned:
      push(a / b);
      break;
    default:
      push(a % b);
      break;
    }
  }

  void two_operands(std::uint8_t operation) {
    const std::uint64_t b = pop();
    const std::uint64_t a = pop();
    switch (operation) {
    case kAdd:
      return push(a + b);
    case kSubtract:
      return push(a - b);
    case kMultiply:
      return push(a * b);
    case kShiftLeft:
      return push(b < 64 ? a << b : 0);
    case kShiftRightSigned:
      return push(static_cast<std::uint64_t>(static_cast<std::int64_t>(a) >> (b < 64 ? b : 63)));
    case kShiftRightUnsigned:
      return push(b < 64 ? a >> b : 0);
    case kAnd:
      return push(a & b);
    case kOr:
      return push(a | b);
    case kExclusiveOr:
      return push(a ^ b);
    case kEqual:
      return push(a == b ? 1 : 0);
    case kLessSigned:
      return push(static_cast<std::int64_t>(a) < static_cast<std::int64_t>(b) ? 1 : 0);
    case kLessUnsigned:
      return push(a < b ? 1 : 0);
    case kSwap:
      push(b);
      return push(a);
    default:
      return divide(operation, a, b);
    }
  }

  void apply(std::uint8_t operation) {
    switch (operation) {
    case kAdd:
    case kSubtract:
    case kMultiply:
    case kDivideSigned:
    case kDivideUnsigned:
    case kRemainderSigned:
    case kRemainderUnsigned:
    case kShiftLeft:
    case kShiftRightSigned:
    case kShiftRightUnsigned:
    case kAnd:
    case kOr:
    case kExclusiveOr:
    case kEqual:
    case kLessSigned:
    case kLessUnsigned:
    case kSwap:
      return two_operands(operation);
    case kLogicalNot:
      return push(pop() == 0 ? 1 : 0);
    case kNot:
      return push(~pop());
    case kExtend:
      return extend(true);
    case kZeroExtend:
      return extend(false);
    case kRef8:
      return reference(1);
    case kRef16:
      return reference(2);
    case kRef32:
      return reference(4);
    case kRef64:
      return reference(8);
    case kIfGoto: {
      const std::uint64_t target = operand(2);
      return pop() != 0 ? jump(target) : void();
    }
    case kGoto:
      return jump(operand(2));
    case kConst8:
      return push(operand(1));
    case kConst16:
      return push(operand(2));
    case kConst32:
      return push(operand(4));
    case kConst64:
      return push(operand(8));
    case kRegister: {
      const std::optional<std::uint64_t> value =
          context_.register_value(static_cast<unsigned>(operand(2)));
      if (!value) {
        throw Stuck{};
      }
      return push(*value);
    }
    case kDuplicate:
      return push(from_top(0));
    case kPop:
      pop();
      return;
    case kPick:
      return push(from_top(operand(1)));
    case kRotate: { // a b c becomes c a b, c being the top
      const std::uint64_t top = from_top(0);
      from_top(0) = from_top(1);
      from_top(1) = from_top(2);
      from_top(2) = top;
      return;
    }
    default:
      throw Stuck{};
    }
  }

  std::string_view code_;
  const AgentContext& context_;
  std::size_t at_ = 0;
  std::vector<std::uint64_t> stack_;
};

} // namespace

std::optional<std::uint64_t> evaluate_agent_expression(std::string_view code,
                                                       const AgentContext& context) {
  try {
    return Evaluation(code, context).run();
  } catch (const Stuck&) {
    return std::nullopt;
  }
}

} // namespace rrpcp::gdbserver
