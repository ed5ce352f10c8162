// The server's side of a conversation with a debugger: gdb, lldb, Delve and what is built on them.
// Sources: the manual of gdb, appendix "gdb Remote Serial Protocol"; lldb's document
// "lldb-gdb-remote".
#pragma once

#include "gdbserver/debuggee.h"
#include "gdbserver/packets.h"
#include "gdbserver/register_table.h"
#include "gdbserver/words.h"

#include <atomic>
#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <tuple>
#include <vector>

namespace rrpcp::gdbserver {

// Which threads a packet means. Of each number, 0 is any and -1 all.
struct ThreadId {
  std::int32_t pid = 0;
  std::int32_t tid = 0;
};

struct ServerSettings {
  // The process that is shown; others run, and what happens in them is not told.
  std::int32_t process = 0;
  // Where "run" without an argument goes to; nothing: to where the process begins.
  std::optional<Place> restart = {};
  XsavePlaces xsave = {};
  // Runs something during which the flag is set once the debugger sends anything.
  std::function<Stop(const std::function<Stop(const std::atomic<bool>&)>&)> while_watching = {};
};

// Holds one conversation; an object for each connection. What the user made (checkpoints) stays in
// the Session, so that one who connects again finds it.
struct SessionCheckpoint {
  Place place;
  // As gdb described it: "main () at a.c:12".
  std::string where;
  // Number of the one that the Timeline keeps alive; nothing: it was loaded, or written.
  std::optional<std::uint64_t> alive = {};
  // File in the trace; empty: none.
  std::string stored = {};
};

struct Session {
  std::map<std::uint64_t, SessionCheckpoint> checkpoints;
  std::uint64_t last_checkpoint = 0;
  // "back" and "forward": checkpoints of the Timeline.
  std::vector<std::uint64_t> past;
  std::optional<std::uint64_t> present;
  std::vector<std::uint64_t> future;
};

class Server {
public:
  // `send` gets whole packets with their frames, and acknowledgements.
  Server(Debuggee& debuggee, Session& session, ServerSettings settings,
         std::function<void(std::string_view)> send);
  // Breakpoints of the conversation end with it, and so does a diversion.
  ~Server();
  Server(const Server&) = delete;
  Server& operator=(const Server&) = delete;

  enum class Next { kGoOn, kDetached, kKilled };
  // Answers what came. Throws nothing but what `send` throws and Error(kInternal).
  Next handle(const Incoming& incoming);
  // Whether checksums are of no interest any more: PacketReader::trust.
  bool without_acknowledgements() const { return no_ack_; }

private:
  struct Entry { // a breakpoint of the debugger
    std::optional<BreakpointId> on_timeline;
    std::optional<BreakpointId> in_diversion;
    Breakpoint breakpoint;
  };
  using EntryKey = std::tuple<Breakpoint::Kind, std::uint64_t, std::uint64_t>;
  struct Action { // of vCont
    char kind = 'c';
    ThreadId thread;
    std::uint64_t begin = 0;
    std::uint64_t end = 0;
  };
  struct OpenFile {
    int descriptor = -1;
    std::string contents; // of a file that is made up; descriptor -1
  };

  // server.cc: what each packet is for.
  std::string answer(std::string_view packet);
  std::string letter(Words words);
  std::string error(std::uint8_t code, std::string_view message = {});
  ThreadId thread_id(Words& words) const;
  std::string thread_text(std::int32_t pid, std::int32_t tid) const;
  ThreadId take_thread_suffix(std::string_view& packet) const;
  std::string select_thread(Words words);
  std::int32_t pid_of(std::int32_t tid);
  // A living task: the one that is meant, or the current one of the process. 0: none.
  std::int32_t task_of(const ThreadId& thread);
  std::int32_t task_for_questions() { return task_of(general_); }

  // server_state.cc: registers and memory.
  std::string read_registers(const ThreadId& thread);
  std::string write_registers(Words words, const ThreadId& thread);
  std::string read_register(Words words, const ThreadId& thread);
  std::string write_register(Words words, const ThreadId& thread);
  std::optional<std::vector<std::byte>> register_bytes(std::int32_t tid, const RegisterInfo& info);
  void change_register(std::int32_t tid, const RegisterInfo& info,
                       std::span<const std::byte> bytes);
  std::string read_memory(Words words, bool binary);
  std::string write_memory(Words words, bool binary);
  std::string search_memory(Words words);
  std::string allocate(Words words);
  std::string save_registers(const ThreadId& thread);
  std::string restore_registers(Words words, const ThreadId& thread);
  std::uint64_t call_diverted(std::int32_t tid, std::uint64_t number,
                              std::span<const std::uint64_t> arguments);

  // server_breakpoints.cc
  std::string breakpoint(Words words, bool set);
  std::function<bool(std::int32_t)> condition_of(Words& words);
  void after_diversion();
  bool is_code(std::uint64_t address, bool must_be_mapped);

  // server_queries.cc
  std::string query(Words words);
  std::string setting(Words words, std::string_view whole);
  std::string supported(Words words);
  std::string transfer(Words words);
  std::string transfer_part(Words words, std::string_view document);
  std::string threads();
  std::string extra_info(Words words);
  std::string memory_region(Words words);
  std::string process_info();
  std::string libraries();
  std::string thread_local_address(Words words);
  std::string symbol(Words words);
  std::string catch_calls(Words words);
  std::string pass_signals(Words words);

  // server_files.cc
  std::string file(Words words);
  std::string open_file(Words words);
  std::string read_file(Words words);
  std::string close_file(Words words);
  std::string file_state(Words words);
  std::string link_target(Words words);

  // server_running.cc
  std::string resume_packet(Words words);
  std::string resume(const std::vector<Action>& actions);
  std::string resume_backward(bool step);
  std::string run_timeline(Direction direction, RunSettings settings);
  std::string run_in_diversion(std::int32_t tid, bool step);
  std::string stop_text(const Stop& stop, Direction direction);
  std::string stop_reply(int signal, std::int32_t tid, const std::string& reason);
  std::string last_stop();
  std::string restart(Words words);
  void enter_diversion();
  void leave_diversion();
  // Before the program itself runs on.
  void end_changes();
  void call_ends();
  bool in_call() const { return debuggee_.diverted() && calls_announced_ != 0 && address_changed_; }

  // server_commands.cc
  std::string rr_command(Words words);
  std::string monitor(Words words);
  std::string command(std::string_view name, const std::vector<std::string>& arguments,
                      std::int32_t tid);
  std::string make_checkpoint(const std::vector<std::string>& arguments);
  std::string list_checkpoints();
  std::string delete_checkpoint(const std::vector<std::string>& arguments);
  std::string write_checkpoints();
  std::string load_checkpoints();
  std::string history(bool back);
  void push_history();
  void go_to_checkpoint(std::uint64_t number);
  void forget(std::optional<std::uint64_t>& alive);

  void send_packet(std::string_view payload);
  void tell(std::string_view text); // on the debugger's console, while it waits for a stop

  Debuggee& debuggee_;
  Session& session_;
  ServerSettings settings_;
  std::function<void(std::string_view)> send_;
  RegisterTable registers_;

  // What the debugger said about itself.
  bool no_ack_ = false;
  bool features_asked_ = false; // qSupported
  bool multiprocess_ = false;
  bool swbreak_ = false;
  bool hwbreak_ = false;
  bool fork_events_ = false;
  bool vfork_events_ = false;
  bool exec_events_ = false;
  bool error_messages_ = false; // "E.TEXT"
  bool error_strings_ = false;  // "Enn;HEX": lldb
  bool thread_suffix_ = false;  // lldb
  bool list_threads_ = false;

  ThreadId general_;
  ThreadId continue_;
  std::set<int> passed_signals_; // numbers of the protocol
  std::optional<std::vector<std::int64_t>> calls_;
  std::map<EntryKey, Entry> breakpoints_;
  // The task of whose vfork(2) was told, and not yet that it is done: the debugger leaves its
  // breakpoints out until then. 0: there is none.
  std::int32_t in_vfork_ = 0;
  std::string sent_;         // the latest packet, to be sent again
  std::string stop_;         // the latest stop reply
  std::int32_t stopped_ = 0; // its task
  // The process is about to end, and running on reports that: the reply.
  std::optional<std::string> at_exit_;
  bool exited_ = false;
  // After "run" a debugger lets the program go; it is to find it where it was to be brought.
  bool just_restarted_ = false;
  // lldb's commands for running backward: the next vCont does.
  bool backward_next_ = false;

  // A call of a function begins by asking for the signal, or by saving registers, and then changing
  // them; it ends by giving the signal back, or by restoring registers. Calls nest, and what they
  // made in memory is used between them: so the diversion lasts until the program itself is to run.
  unsigned calls_announced_ = 0;
  bool address_changed_ = false; // in the diversion, the task stands elsewhere
  bool call_was_run_ = false;
  std::map<std::uint64_t, std::map<std::uint32_t, std::vector<std::byte>>> saved_registers_;
  std::uint64_t last_saved_ = 0;
  struct Allocation {
    std::uint64_t size = 0;
    std::uint64_t protection = 0;
  };
  std::map<std::uint64_t, Allocation> allocations_;

  std::map<std::int64_t, OpenFile> files_;
  std::int64_t last_file_ = 2;
  std::map<std::string, std::uint64_t> symbols_;
  std::size_t next_symbol_ = 0;
};

} // namespace rrpcp::gdbserver
