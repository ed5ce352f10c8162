// Signal numbers: the protocol has its own, the same for all systems.
// Source: include/gdb/signals.def of gdb.
#pragma once

namespace rrpcp::gdbserver {

// 0 stays 0; a signal that the protocol has no number for is 143 ("unknown").
int to_protocol_signal(int linux_signal);
// 0 for none that Linux has.
int from_protocol_signal(int protocol_signal);

} // namespace rrpcp::gdbserver
