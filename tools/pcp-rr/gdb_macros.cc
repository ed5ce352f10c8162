#include "pcp-rr/gdb_macros.h"

#include <string_view>

namespace rrpcp::tools {
namespace {

// Commands that the server carries out (reference/src/gdbserver/server_commands.cc).
struct RemoteCommand {
  std::string_view name;
  std::string_view help;
  // It gets the place in words as its first argument.
  bool with_place = false;
  // The place changes: what the debugger has read of it is void.
  bool moves = false;
};

constexpr RemoteCommand kCommands[] = {
    {"when", "Print the number of the last event that was replayed completely."},
    {"when-ticks", "Print how many events this thread has behind it."},
    {"when-tid", "Print the recorded id of this thread."},
    {"when-end", "Print the number of the last event of the recording."},
    {"where-exactly", "Print the place: the event and the instructions executed since."},
    {"elapsed-time", "Print the seconds from the start of the recording to this place."},
    {"absolute-time", "Print the time of day at this place, in seconds since 1970."},
    {"info recording", "Print the directory of the recording."},
    {"replay-costs",
     "Print what going about in the recording has cost: stops of the traced process, "
     "states kept for going backward (bases) and their memory."},
    {"checkpoint", "Remember this place under a number; 'restart NUMBER' comes back to it.", true},
    {"info checkpoints", "List the checkpoints: number, event, place."},
    {"delete checkpoint", "Forget the checkpoint of that number."},
    {"write-checkpoints",
     "Store the checkpoints in the recording, for later sessions ('load-checkpoints')."},
    {"load-checkpoints", "Give numbers to the checkpoints that are stored in the recording."},
    {"rr-history-push", "Note this place for 'back'; done at every stop."},
    {"back", "Go back to where the program stopped before.", false, true},
    {"forward", "Go forward again, after 'back'.", false, true},
};

constexpr std::string_view kGdbPython = R"python(set python print-stack full
python
import gdb
import re

def rr_ask(name, *arguments):
    "Lets the server carry out a command and returns what it says."
    thread = gdb.selected_thread()
    packet = 'qRRCmd:%s:%d' % (name, thread.ptid[1] if thread else -1)
    for argument in arguments:
        packet += ':' + argument.encode('utf-8').hex()
    said = gdb.execute('maint packet ' + packet, to_string=True)
    answer = re.search('received: "(.*)"', said)
    if not answer:
        raise gdb.GdbError('the replay does not know what to say: ' + said)
    try:
        return bytes.fromhex(answer.group(1)).decode('utf-8', 'replace')
    except ValueError:
        raise gdb.GdbError('the replay answered: ' + answer.group(1))

def rr_place():
    "The innermost frame, in words."
    try:
        frame = gdb.execute('frame 0', to_string=True)
    except gdb.error:
        return '???'
    return re.sub(r'^#0\s*', '', frame).split('\n')[0]

class RRCommand(gdb.Command):
    def __init__(self, name, with_place, moves, text):
        self.__doc__ = text
        self.name, self.with_place, self.moves = name, with_place, moves
        super().__init__(name, gdb.COMMAND_USER, gdb.COMPLETE_NONE)

    def invoke(self, line, from_tty):
        arguments = gdb.string_to_argv(line)
        if self.with_place:
            arguments.insert(0, rr_place())
        said = rr_ask(self.name, *arguments)
        if said.strip():
            gdb.write(said)
        if self.moves:
            gdb.execute('maintenance flush register-cache')
            gdb.execute('maintenance flush dcache')
            gdb.execute('frame')

class RRRestart(gdb.Command):
    "Go to the checkpoint of that number (see 'checkpoint')."
    def __init__(self):
        super().__init__('restart', gdb.COMMAND_USER, gdb.COMPLETE_NONE)
    def invoke(self, line, from_tty):
        if not line.strip().isdigit():
            raise gdb.GdbError("which checkpoint? 'info checkpoints' lists them")
        gdb.execute('run c' + line.strip(), from_tty)

class RRSeekTicks(gdb.Command):
    "Go to where this thread has that many events behind it (see 'when-ticks')."
    def __init__(self):
        super().__init__('seek-ticks', gdb.COMMAND_USER, gdb.COMPLETE_NONE)
    def invoke(self, line, from_tty):
        if not line.strip().isdigit():
            raise gdb.GdbError('how many ticks?')
        gdb.execute('run t' + line.strip(), from_tty)

class RRDenied(gdb.Command):
    "Not possible in a recording, where everything has happened already."
    def __init__(self, name):
        self.name = name
        super().__init__(name, gdb.COMMAND_USER, gdb.COMPLETE_NONE)
    def invoke(self, line, from_tty):
        raise gdb.GdbError("'%s' is not possible in a recording" % self.name)

RRRestart()
RRSeekTicks()
RRDenied('jump')

def rr_note_stop(event):
    "Lets 'back' find where the program stopped."
    if isinstance(event, (gdb.BreakpointEvent, gdb.SignalEvent)):
        try:
            rr_ask('rr-history-push')
        except gdb.error:
            pass

gdb.events.stop.connect(rr_note_stop)
)python";

constexpr std::string_view kGdbEnd = R"python(define hook-run
end
set unwindonsignal on
set non-stop off
set prompt (rr) 
)python";

constexpr std::string_view kLldbPython = R"python(import lldb
import re
import shlex

def run_and_read(debugger, line):
    result = lldb.SBCommandReturnObject()
    debugger.GetCommandInterpreter().HandleCommand(line, result)
    return result.GetOutput() if result.Succeeded() else ''

def rr_ask(debugger, exe_ctx, name, *arguments):
    thread = exe_ctx.thread
    tid = thread.GetThreadID() if thread and thread.IsValid() else -1
    packet = 'qRRCmd:%s:%d' % (name, tid)
    for argument in arguments:
        packet += ':' + argument.encode('utf-8').hex()
    said = run_and_read(debugger, "process plugin packet send '%s'" % packet)
    answer = re.search(r'response:\s*(\S*)', said)
    try:
        return bytes.fromhex(answer.group(1)).decode('utf-8', 'replace').strip()
    except (AttributeError, ValueError):
        return 'the replay answered: ' + said

def rr_place(debugger):
    for line in run_and_read(debugger, 'frame info').splitlines():
        return re.sub(r'^frame #0:\s*', '', line.strip())
    return '???'

class Reverse:
    "Runs backward. The debugger is told to go on, and the replay goes on the other way."
    resume = 'process continue'
    def __init__(self, debugger, internal_dict):
        pass
    def __call__(self, debugger, command, exe_ctx, result):
        rr_ask(debugger, exe_ctx, 'rr-run-backward')
        was = debugger.GetAsync()
        debugger.SetAsync(False)
        debugger.GetCommandInterpreter().HandleCommand(self.resume, result)
        debugger.SetAsync(was)
    def get_short_help(self):
        return self.__doc__

class ReverseContinue(Reverse):
    "Run backward until a breakpoint, a watchpoint, a signal or the start."

class ReverseStepInstruction(Reverse):
    "Go back by one instruction."
    resume = 'thread step-inst'
)python";

std::string python_string(std::string_view text) {
  std::string out = "'";
  for (const char c : text) {
    if (c == '\'' || c == '\\') {
      out += '\\';
    }
    out += c;
  }
  return out + "'";
}

// "info checkpoints" is info_checkpoints for lldb, whose commands are single words.
std::string one_word(std::string_view name, char between) {
  std::string word(name);
  for (char& c : word) {
    c = c == ' ' || (between == '_' && c == '-') ? between : c;
  }
  return word;
}

} // namespace

std::string gdb_macros() {
  std::string text(kGdbPython);
  for (const RemoteCommand& command : kCommands) {
    text += "RRCommand(" + python_string(command.name) + ", " +
            (command.with_place ? "True" : "False") + ", " + (command.moves ? "True" : "False") +
            ", " + python_string(command.help) + ")\n";
  }
  return text + "end\n" + std::string(kGdbEnd);
}

std::string lldb_macros() {
  std::string text(kLldbPython);
  std::string added;
  for (const RemoteCommand& command : kCommands) {
    const std::string function = "command_" + one_word(command.name, '_');
    text += "\ndef " + function + "(debugger, command, exe_ctx, result, internal_dict):\n    " +
            python_string(command.help) + "\n    arguments = shlex.split(command)\n";
    if (command.with_place) {
      text += "    arguments.insert(0, rr_place(debugger))\n";
    }
    text += "    result.AppendMessage(rr_ask(debugger, exe_ctx, " + python_string(command.name) +
            ", *arguments))\n";
    added += "    debugger.HandleCommand('command script add -f ' + __name__ + '." + function +
             " " + one_word(command.name, '-') + "')\n";
  }
  return text + "\ndef __lldb_init_module(debugger, internal_dict):\n" + added +
         "    for name, command in (('reverse-continue', 'ReverseContinue'), ('rc', "
         "'ReverseContinue'),\n                          ('reverse-stepi', "
         "'ReverseStepInstruction'), ('rsi', 'ReverseStepInstruction')):\n"
         "        debugger.HandleCommand('command script add -c %s.%s %s' % (__name__, command, "
         "name))\n"
         "    debugger.HandleCommand('settings set prompt \"(rr) \"')\n"
         "    debugger.HandleCommand('settings set plugin.process.gdb-remote.packet-timeout "
         "10000')\n";
}

} // namespace rrpcp::tools
