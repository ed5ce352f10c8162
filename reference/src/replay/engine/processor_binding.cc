#include "replay/engine/processor_binding.h"

namespace rrpcp::replay {

ProcessorBinding::ProcessorBinding(int processor) {
  if (::sched_getaffinity(0, sizeof before_, &before_) != 0) {
    return;
  }
  const int wanted = processor >= 0 ? processor : ::sched_getcpu();
  if (wanted < 0 || wanted >= CPU_SETSIZE) {
    return;
  }
  cpu_set_t one;
  CPU_ZERO(&one);
  CPU_SET(static_cast<unsigned>(wanted), &one);
  if (::sched_setaffinity(0, sizeof one, &one) == 0) {
    processor_ = wanted;
  }
}

ProcessorBinding::~ProcessorBinding() {
  if (processor_ >= 0) {
    ::sched_setaffinity(0, sizeof before_, &before_);
  }
}

} // namespace rrpcp::replay
