#include "process/restore/op_list.h"

#include <cassert>
#include <cstring>
#include <span>

namespace rrpcp::process::restore {

std::size_t OpList::add(OpFailure failure, restorer::OpKind kind, OpArgument a, OpArgument b,
                        OpArgument c, OpArgument d, OpArgument e, OpArgument f) {
  assert(sealed_ == nullptr);
  restorer::Op op{};
  op.kind = kind;
  op.flags = failure.policy == OpFailure::Policy::kFatal ? 0 : restorer::kMayFail;
  const OpArgument* arguments[] = {&a, &b, &c, &d, &e, &f};
  for (std::size_t i = 0; i < 6; ++i) {
    op.args[i] = arguments[i]->value();
  }
  ops_.push_back(op);
  failures_.push_back(std::move(failure));
  return ops_.size() - 1;
}

std::size_t OpList::system_call(OpFailure failure, long number, OpArgument a, OpArgument b,
                                OpArgument c, OpArgument d, OpArgument e, OpArgument f) {
  std::size_t index = add(std::move(failure), restorer::OpKind::kSyscall, a, b, c, d, e, f);
  ops_[index].number = static_cast<std::uint32_t>(number);
  return index;
}

restorer::Thread* OpList::seal(restorer::Control* control) {
  sealed_ = arena_.place_array(std::span<const restorer::Op>(ops_));
  arena_.allocate<std::byte>(restorer::kStackBytes);
  auto* thread = arena_.allocate<restorer::Thread>();
  thread->ops = sealed_;
  thread->op_count = ops_.size();
  thread->control = control;
  thread->stack_top = reinterpret_cast<std::uint64_t>(thread) & ~std::uint64_t{15};
  return thread;
}

std::optional<std::size_t> OpList::index_of(std::uint64_t address) const {
  const auto first = reinterpret_cast<std::uint64_t>(sealed_);
  if (sealed_ == nullptr || address < first ||
      address >= first + ops_.size() * sizeof(restorer::Op)) {
    return std::nullopt;
  }
  return (address - first) / sizeof(restorer::Op);
}

std::string OpList::describe(std::size_t index) const {
  const OpFailure& failure = failures_[index];
  std::string text = failure.doing;
  if (!failure.subject.empty()) {
    text += " " + failure.subject;
  }
  if (failure.range.end != 0) {
    text += " at " + range_text(failure.range);
  }
  return text;
}

std::vector<std::string> OpList::warnings() const {
  std::vector<std::string> texts;
  for (std::size_t i = 0; i < ops_.size(); ++i) {
    const std::int64_t result = sealed_[i].result;
    if (failures_[i].policy == OpFailure::Policy::kWarn && result < 0 && result >= -4095) {
      texts.push_back(describe(i) + " failed: " + std::strerror(static_cast<int>(-result)));
    }
  }
  return texts;
}

} // namespace rrpcp::process::restore
