// What the kernel keeps of threads and address spaces beside memory, registers and signals.
#pragma once

#include "process/restore/op_list.h"
#include "rrpcp/schema/memory.capnp.h"
#include "rrpcp/schema/task.capnp.h"

#include <string>
#include <sys/types.h>

namespace rrpcp::process::restore {

// By the thread itself, while it has the restorer's credentials still: scheduling, timer slack, I/O
// priority, memory policy and the attributes of prctl(2). `name` is the thread's, for people.
void add_task_attribute_ops(OpList& ops, schema::TaskAttributes::Reader attributes,
                            const std::string& name);

// By the thread itself, as the last of what concerns its rights.
void add_confinement_ops(OpList& ops, schema::TaskAttributes::Reader attributes,
                         const std::string& name);

// Before memory is mapped: what decides which pages it gets.
void add_early_space_ops(OpList& ops, schema::SpaceAttributes::Reader attributes);
// When all memory is there, before other threads are made.
void add_late_space_ops(OpList& ops, schema::SpaceAttributes::Reader attributes);

// set_mempolicy(2) or, with a range, mbind(2).
void add_memory_policy_op(OpList& ops, schema::MemoryPolicy::Reader policy, MemoryRange range);

// What only files of /proc can set, written by the restorer once the new process's address space
// is there. `mapped`: whether anonymous memory is mapped from the checkpoint's file, which core
// files then have to include. Returns a sentence for each that could not be set.
std::vector<std::string> write_process_attributes(pid_t pid, schema::Process::Reader process,
                                                  schema::SpaceAttributes::Reader space,
                                                  bool mapped);

} // namespace rrpcp::process::restore
