// What a checkpoint of live processes can carry: one table for both sides. Capture asks before it
// lets a process be killed, restore before it makes one.
#pragma once

#include "rrpcp/error.h"
#include "rrpcp/schema/state.capnp.h"

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace rrpcp::process {

// One thing of a state that cannot be put back as it was.
struct Judgement {
  // Under which it may be allowed; empty: never.
  std::string allow_name;
  // "descriptor 5: the terminal /dev/pts/3".
  std::string what;
  // What a restore does where it is allowed.
  std::string instead;
  // It is only to be told; nothing needs to be allowed.
  bool told_only = false;
};

// "descriptors 3, 4".
std::string name_descriptors(const std::vector<std::int32_t>& numbers);

// Judges one open file. `who` names its descriptors, `pid` is the process that holds them.
std::vector<Judgement> judge_open_file(schema::OpenFile::Reader file, const std::string& who,
                                       std::int32_t pid);

// Judges processes, threads, address spaces, objects, namespaces and open files of a state, as far
// as they are there yet: a state that is being built may be judged in between. Namespaces and
// security labels are compared with those of the calling thread, which stands for the restorer.
std::vector<Judgement> judge_state(schema::State::Reader state);

// What judge_state() says of one task.
std::vector<Judgement> judge_task(schema::State::Reader state, schema::Task::Reader task);

// Whether the confinement of a task by seccomp(2), if there is any, can be put back.
bool is_seccomp_carried(schema::State::Reader state, schema::Task::Reader task);

// Whether a process of the state was in another user namespace than the calling thread is in.
bool has_foreign_user_namespace(schema::State::Reader state, schema::Task::Reader task);

// What the description of a socket has where it listens (spec/model.md "Files").
inline constexpr std::string_view kListening = "listening";

// Whether a process other than `pid` is told to be the peer of a socket (SO_PEERCRED): it had made
// the pair.
bool has_maker(schema::SocketEnd::Reader socket, std::int32_t pid);

// Whether the socket of a description listens, or has no connection to lose.
bool is_listening(schema::OpenFile::Reader file);
bool is_connectionless(schema::OpenFile::Reader file);

// The path of an open file of nsfs that is described so ("net:[4026531833]", namespaces(7)), where
// that namespace is the calling thread's; else empty.
std::string own_namespace_file(std::string_view description);

// The part of a path behind "/proc/PID/"; empty where the path is not of that form.
std::string_view own_proc_entry(std::string_view path, std::int32_t pid);

} // namespace rrpcp::process
