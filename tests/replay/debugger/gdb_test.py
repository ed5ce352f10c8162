#!/usr/bin/python3
"""Real debuggers on recordings.

usage: gdb_test.py PCP_RR HUNT FIXTURES CASE

HUNT is examples/hunt/hunt.c, compiled with -g. Each case records what it needs, drives gdb or lldb in batch,
and compares what they show with what the program's source says.
"""

import ctypes
import json
import os
import re
import shutil
import socket
import struct
import subprocess
import sys
import tempfile
import time

PCP_RR, HUNT, FIXTURES, CASE = sys.argv[1:]
LIMIT = 600
# What debuggers and replays are started under.
BEFORE_START = None
# A register that not all processors have.
with open("/proc/cpuinfo", encoding="ascii") as info:
    PKRU = "pkru " if " ospke" in info.read() else ""


def check(condition, what, output=""):
    if not condition:
        sys.exit("%s\n%s" % (what, output))


def have_no_hardware():
    """A filter by which this process, and what it starts, has a processor whose debug registers take
    what is written and never fire, and which counts nothing."""
    allow, refuse = 0x7fff0000, 0x00050000  # SECCOMP_RET_ALLOW, SECCOMP_RET_ERRNO | errno
    load, equal, answer = 0x20, 0x15, 0x06  # BPF_LD+W+ABS, BPF_JMP+JEQ+K, BPF_RET+K
    perf_event_open, ptrace, poke_user = 298, 101, 6
    code = [(load, 0, 0, 0), (equal, 0, 1, perf_event_open), (answer, 0, 0, refuse | 2), (equal, 0, 3, ptrace),
            (load, 0, 0, 16), (equal, 0, 1, poke_user), (answer, 0, 0, refuse), (answer, 0, 0, allow)]
    program = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *line) for line in code))
    filters = struct.pack("@HP", len(code), ctypes.addressof(program))
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(38, 1, 0, 0, 0) != 0 or libc.prctl(22, 2, filters, 0, 0) != 0:  # NO_NEW_PRIVS, SECCOMP
        raise OSError(ctypes.get_errno(), "no filter can be set")


def without_hardware():
    """From now on, and it is looked whether that is so."""
    global BEFORE_START
    BEFORE_START = have_no_hardware
    doctor = subprocess.run([PCP_RR, "doctor", "--json"], stdout=subprocess.PIPE, preexec_fn=BEFORE_START)
    fires = [ability for ability in json.loads(doctor.stdout)["abilities"] if ability["name"] == "breakpoints"]
    check(len(fires) == 1 and not fires[0]["works"], "debug registers fire still", doctor.stdout.decode())


def record(trace, *command):
    return subprocess.run([PCP_RR, "record", "-q", "-o", trace, "--", *command], stdout=subprocess.PIPE,
                          timeout=LIMIT)


def gdb(trace, commands, *options, before=()):
    """What gdb and the program print. A command that fails does not end the session."""
    words = [word for command in commands for word in ("-ex", command)]
    run = subprocess.run([PCP_RR, "replay", *before, *options, trace, "--", "-nx", "-batch", "-q", *words],
                         stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=LIMIT,
                         preexec_fn=BEFORE_START)
    return run.stdout.decode(errors="replace")


def in_order(output, *patterns):
    """Each pattern is found after the one before."""
    at = 0
    for pattern in patterns:
        found = re.compile(pattern).search(output, at)
        check(found, "missing: %s" % pattern, output)
        at = found.end()
    return output


def line_of(text):
    """The line of the example's source that has the text."""
    with open(SOURCE) as file:
        return next(number for number, line in enumerate(file, 1) if text in line)


def source_of_hunt():
    shown = subprocess.run(["gdb", "-nx", "-batch", "-ex", "info source", "-ex", "list main", "-ex", "info source",
                            HUNT], stdout=subprocess.PIPE, check=True).stdout.decode()
    return re.search(r"Located in (.*)", shown).group(1)


# The defect, found from its consequence.
def hunt(directory):
    trace = os.path.join(directory, "trace")
    died = record(trace, HUNT)
    check(died.returncode == -11, "the example ends with %d" % died.returncode)
    output = gdb(trace, ["continue", "print account->currency", "watch -l account->currency", "reverse-continue",
                         "backtrace", "print name", "reverse-continue", "stepi", "where-exactly", "when"])
    store = line_of("account->name[i] = name[i];")
    in_order(output, r"Program received signal SIGSEGV",
             r"print_account .*hunt\.c:%d" % (line_of("account->balance % currency")),
             r"Hardware watchpoint 1: -location account->currency", r"Old value = .*\n", r"New value = .*\n",
             r"rename_account .*hunt\.c:%d" % store,
             r"#1 .*main .*hunt\.c:%d" % line_of('rename_account(accounts[2]'),
             r'"travel and provisions"', r"Hardware watchpoint 1", r"Place: \d+\+\d+", r"Completed event: \d+")
    readme_is_true(output)


# The session that the README begins with: what it shows is what comes, in that order.
def readme_is_true(output):
    def plain(text):
        text = re.sub(r"0x[0-9a-f]+ in ", "", text)
        text = re.sub(r'0x[0-9a-f]+ "', '"', text)
        text = re.sub(r"0x[0-9a-f]+", "0x", text)
        return re.sub(r"\S*/hunt\.c", "hunt.c", text)
    with open(os.path.join(os.path.dirname(SOURCE), "..", "..", "README.md"), encoding="utf-8") as file:
        log = file.read().split("$ pcp-rr replay ", 1)[1].split("```", 1)[0]
    shown = [line for line in log.splitlines()[1:] if line and not line.startswith("(rr) ")]
    check(len(shown) >= 5, "the README shows %r" % shown)
    in_order(plain(output), *[re.escape(plain(line)) for line in shown])


# A person's session forward.
def forward(directory):
    trace = os.path.join(directory, "trace")
    out = record(trace, HUNT).stdout.decode()
    output = gdb(trace, ["info threads", "break print_account if account->name[0] == 'b'", "continue",
                         "print account->name", "backtrace", "finish", "next", "info registers %srip" % PKRU,
                         "info sharedlibrary", "info auxv", "info proc mappings", "print errno", "print $_siginfo.si_signo",
                         "tbreak exit", "continue", "continue", "run", "info registers rip"])
    in_order(output, r"\* 1    Thread", r"Breakpoint 1, print_account", r"\$1 = \"books and music\"",
             r"#1 .* main \(\)", r"main \(\) at .*hunt\.c:\d+", r"rip ", r"/libc\.so\.6", r"AT_ENTRY", r"\[stack\]",
             r"\$2 = \d+", r"SIGSEGV", r"Program terminated with signal SIGSEGV", r"Program stopped", r"_start")
    # What it printed is printed once, in order.
    printed = [line for line in output.split("\n") if line.endswith(" EUR")]
    check(printed == out.split("\n")[:2], "printed %r instead of %r" % (printed, out))


# What is changed and called is forgotten.
def calls(directory):
    trace = os.path.join(directory, "trace")
    record(trace, HUNT)
    look = ["print *account", "info registers", "x/64xb $sp", "when-ticks", "where-exactly"]
    output = gdb(trace, ["break print_account", "continue", "echo [BEFORE\\n", *look, "echo BEFORE]\\n",
                         "print (int)strlen(account->name)", "print (long)write(1, \"from a call\\n\", 12)",
                         "call rename_account((struct account*)account, \"xyz\")", "print account->name",
                         "set var account->balance = 5", "print account->balance", "print $rax = 77",
                         "print (long)getppid()", "break rename_account",
                         "call rename_account((struct account*)account, \"inner\")", "backtrace 2", "finish",
                         "delete 2", "when", "maintenance flush register-cache", "maintenance flush dcache",
                         "echo [AFTER\\n", *look, "echo AFTER]\\n", "continue", "print account->name"])
    in_order(output, r"= 4\n", r"\[diversion\] from a call", r"= 12\n", r'= "xyzt', r"= 5\n", r"= 77\n", r"= -38\n",
             r"rename_account", r"<function called from gdb>", r"Completed event", r"Breakpoint 1, print_account",
             r'= "books and music"')
    between = [re.sub(r"\$\d+", "$", output.split(mark[0])[1].split(mark[1])[0])
               for mark in (("[BEFORE", "BEFORE]"), ("[AFTER", "AFTER]"))]
    check(between[0] == between[1], "the replay was changed: %s\n%s" % tuple(between), output)


# Checkpoints that outlive the session.
def checkpoints(directory):
    trace = os.path.join(directory, "trace")
    record(trace, HUNT)
    first = gdb(trace, ["info checkpoints", "break rename_account", "continue", "stepi 5", "checkpoint",
                        "print $rip", "continue", "checkpoint", "print name", "info checkpoints",
                        "restart 1", "print $rip", "write-checkpoints", "print $rip", "checkpoint",
                        "delete checkpoint 3", "delete checkpoint 9", "info checkpoints", "where-exactly"])
    in_order(first, r"No checkpoints\.", r"Checkpoint 1 at .*rename_account", r"ID\tWhen\tWhere",
             r"1\t\d+\t.*rename_account", r"2\t\d+\t.*rename_account", r"Program stopped", r"2 checkpoints written",
             r"Deleted checkpoint 3\.", r"No checkpoint number 9\.", r"Place: \d+\+\d+")
    addresses = re.findall(r"= .*?(0x[0-9a-f]+)[^\n]*<rename_account\+\d+>", first)
    check(len(addresses) == 3 and len(set(addresses)) == 1, "restart went elsewhere: %s" % addresses, first)
    place = re.search(r"Place: (\S+)", first).group(1)
    # Another start: no address and no number is left of the first one but what the trace has.
    second = gdb(trace, ["info checkpoints", "load-checkpoints", "info checkpoints", "restart 1", "where-exactly",
                         "print $rip", "restart 2", "print name", "load-checkpoints", "reverse-stepi", "stepi",
                         "print name"])
    in_order(second, r"No checkpoints\.", r"Checkpoint 1 at event \d+\+\d+", r"ID\tWhen\tWhere",
             r"Place: %s\n" % re.escape(place), r"rename_account", r'"travel and provisions"',
             r"There are no other checkpoints", r'"travel and provisions"')
    validated = subprocess.run([os.path.join(os.path.dirname(PCP_RR), "pcp-validate"), "--trace", trace],
                               stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    check(validated.returncode == 0, "the trace is not valid any more", validated.stdout.decode())


def trap_shunned(directory):
    """A program that blocks or ignores SIGTRAP does so wherever it was stepped, watched or stopped."""
    for way in ([], ["ignored"]):
        trace = os.path.join(directory, "trace%d" % len(way))
        record(trace, os.path.join(FIXTURES, "trap_shunned"), *way)
        said = gdb(trace, ["break work", "continue", "stepi 5", "checkpoint", "watch *(int *) &middle", "continue",
                           "continue", "stepi", "checkpoint", "reverse-stepi", "reverse-stepi", "checkpoint",
                           "write-checkpoints"])
        in_order(said, r"Breakpoint 1, .*work", r"New value", r"Breakpoint 1, .*work", r"3 checkpoints written")
        for name in sorted(os.listdir(trace + "/checkpoints")):
            shown = subprocess.run([os.path.join(os.path.dirname(PCP_RR), "pcp-inspect"), "--json",
                                    os.path.join(trace, "checkpoints", name)], stdout=subprocess.PIPE, check=True)
            state = json.loads(shown.stdout)["manifest"]["state"]
            blocked = int(state["tasks"][0]["signalMask"]) >> 4 & 1
            actions = [action for action in state["signalHandlerTables"][0]["actions"] if action["signal"] == 5]
            ignored = len(actions) == 1 and actions[0]["handler"] == "1"
            check((blocked, ignored) == (0 if way else 1, bool(way)), "SIGTRAP: blocked %d, ignored %d in %s" % (
                blocked, ignored, name), said)


# The machine interface, on a socket, as front ends use it.
def machine(directory):
    trace = os.path.join(directory, "trace")
    record(trace, HUNT)
    with subprocess.Popen([PCP_RR, "replay", "-s", "0", "-k", "-q", trace], stdin=subprocess.DEVNULL,
                          stderr=subprocess.PIPE) as server:
        try:
            check(server.stderr.readline() == b"Launch debugger with\n", "the first line is another")
            words = server.stderr.readline().decode()
            found = re.fullmatch(r"  'gdb' '-l' '10000' '-ex' 'set sysroot /' '-ex' "
                                 r"'target extended-remote (127\.0\.0\.1:\d+)' (\S+)\n", words)
            check(found and os.path.samefile(found.group(2), HUNT), "the second line is another", words)
            macros = subprocess.run([PCP_RR, "gdbinit"], stdout=subprocess.PIPE, check=True).stdout.decode()
            check("define hook-run" in macros, "nothing to cut the macros at")
            script = os.path.join(directory, "macros")
            with open(script, "w") as file:
                file.write(macros.split("define hook-run")[0])
            for _ in range(2): # the second one finds a session as it was left
                talk = ["-interpreter-exec console \"source %s\"" % script,
                        "-target-select extended-remote %s" % found.group(1), "-break-insert rename_account",
                        "-exec-run" if _ else "-exec-continue", "-exec-continue" if _ else "-thread-info",
                        "-interpreter-exec console checkpoint", "-interpreter-exec console when",
                        "-exec-finish", "-exec-continue --reverse", "-stack-list-frames", "-target-detach",
                        "-gdb-exit"]
                front = subprocess.Popen(["gdb", "-nx", "-q", "-l", "10000", "-ex", "set sysroot /", "--interpreter=mi3",
                                          found.group(2)], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
                text = ""
                for number, line in enumerate(talk, 1):
                    front.stdin.write(b"%d%s\n" % (number, line.encode()))
                    front.stdin.flush()
                    wanted = "*stopped" if line.startswith(("-exec", "-target-select")) else "\n%d^" % number
                    part = ""
                    while wanted not in part and not re.search(r"\n%d\^(error|exit)" % number, "\n" + part):
                        read = front.stdout.readline().decode(errors="replace")
                        check(read, "gdb has gone after %s" % line, text)
                        part += read
                        if wanted.startswith("\n") and ("\n" + part).find(wanted) >= 0:
                            break
                    text += part
                front.stdin.close()
                front.wait(LIMIT)
                in_order(text, r"\*stopped", r"\*stopped,.*frame=.*func=\"rename_account\"",
                         r"Checkpoint %d at " % (_ + 1), r"Completed event: \d+", r"\*stopped,.*func=\"main\"",
                         r"\*stopped,.*func=\"rename_account\"", r"\^done,stack=")
        finally:
            server.terminate()
            server.wait(LIMIT)


# Processes that were made: -f and -p.
def family(directory):
    trace = os.path.join(directory, "trace")
    record(trace, "/bin/sh", "-c", "/bin/true; (exit 3); %s | cat" % HUNT)
    rows = subprocess.run([PCP_RR, "ps", trace], stdout=subprocess.PIPE, check=True).stdout.decode().split("\n")[1:]
    rows = [row.split("\t") for row in rows if row]
    forked = next(row[0] for row in rows if "forked" in row[3])
    output = gdb(trace, ["info inferiors", "when-tid", "continue", "reverse-continue", "when-tid", "continue",
                         "continue"], before=("-f", forked))
    in_order(output, r"process %s" % forked, r"Current tid: %s" % forked, r"SIGKILL",
             r"No more reverse-execution history", r"Current tid: %s" % forked, r"exited with code 03")
    output = gdb(trace, ["continue", "continue"], before=("-p", "hunt"))
    in_order(output, r"Reading symbols from .*hunt|_start", r"SIGSEGV", r"terminated with signal SIGSEGV")
    missing = subprocess.run([PCP_RR, "replay", "-p", "nobody", trace, "--", "-batch"], stdin=subprocess.DEVNULL,
                             stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    check(missing.returncode == 3 and b"no process executed 'nobody'" in missing.stdout, "-p of nobody", missing.stdout)


# What is caught: forks, executed programs, system calls. Breakpoints outlive it.
def catches(directory):
    trace = os.path.join(directory, "trace")
    record(trace, "/bin/sh", "-c", "(exit 3); (exit 4); exec %s" % HUNT)
    output = gdb(trace, ["catch fork", "catch exec", "continue", "info program", "continue", "when",
                         "continue", "when", "info breakpoints", "delete", "break print_account",
                         "catch syscall clock_nanosleep", "catch syscall 1", "continue", "print $rax", "continue", "print $rax",
                         "delete 4", "continue", "continue", "continue", "backtrace 1", "delete 5",
                         "reverse-continue", "reverse-continue", "continue", "print account->name", "continue",
                         "print account->name"])
    in_order(output, r"Catchpoint 1 \(fork\)", r"Catchpoint 2 \(exec\)",
             r"Catchpoint 1 \(forked process \d+\)", r"Catchpoint 1 \(forked process \d+\)",
             r"Completed event: (\d+)", r"Catchpoint 2 \(exec'd .*/hunt\)", r"Completed event: (\d+)",
             r"catchpoint already hit 2 times",
             r"Catchpoint 4 \(call to syscall clock_nanosleep\)", r"= -38",
             r"Catchpoint 4 \(returned from syscall clock_nanosleep\)", r"= 0", r"Breakpoint 3, print_account",
             r"Catchpoint 5 \(call to syscall write\)", r"Catchpoint 5 \(returned from syscall write\)",
             r"Breakpoint 3, print_account", r"No more reverse-execution history", r"Breakpoint 3, print_account",
             r'"rent"', r"Breakpoint 3, print_account", r'"books and music"')


# vfork: a debugger leaves its breakpoints out until the child has ended or executed a program.
def vforks(directory):
    trace = os.path.join(directory, "trace")
    printed = record(trace, os.path.join(FIXTURES, "vforks")).stdout
    check(b"spawned: 5" in printed, "the program printed %r" % printed)
    caught = gdb(trace, ["catch vfork", "break waitpid", *["continue"] * 4, "when", "reverse-continue", "when",
                         "continue", "delete 1", *["continue"] * 4, "info breakpoints"])
    child = r"Catchpoint 1 \(vforked process \d+\)"
    in_order(caught, r"Catchpoint 1 \(vfork\)", child, r"Breakpoint 2, .*waitpid", child, r"Breakpoint 2, .*waitpid",
             r"Completed event: \d+", child, r"Breakpoint 2, .*waitpid", r"Breakpoint 2, .*waitpid",
             r"Breakpoint 2, .*waitpid")
    events = [int(event) for event in re.findall(r"Completed event: (\d+)", caught)]
    check(len(events) == 2 and events[1] < events[0], "it went to events %s" % events, caught)
    # Without a word to the person, all breakpoints are met, in both directions.
    passed = gdb(trace, ["break waitpid", *["continue"] * 6, *["reverse-continue"] * 6])
    check(passed.count("Breakpoint 1, ") == 10, "breakpoints were missed", passed)
    # Backward right from the call.
    back = gdb(trace, ["tbreak main", "continue", "stepi", "catch vfork", "break waitpid", "continue", "continue", "continue",
                       "reverse-continue", "when"])
    child = child.replace("1", "2", 1)
    in_order(back, child, r"Breakpoint 3, .*waitpid", child, r"Breakpoint 3, .*waitpid", r"Completed event: \d+")


# Where there is nothing to start: one line.
def refused(directory):
    trace = os.path.join(directory, "trace")
    record(trace, "/bin/true")
    for options, code, words in ((["replay", trace], 2, b"there is no terminal"),
                                 (["replay", "-d", "no-such-gdb", trace, "--", "-q"], 3, b"no-such-gdb"),
                                 (["replay", trace + "-none", "--", "-q"], 3, b"none"),
                                 (["replay", "-s", "99999", trace], 2, b"--dbgport"),
                                 (["replay", "-f", "1", "-p", "1", trace], 2, b"-f and -p")):
        run = subprocess.run([PCP_RR, *options], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                             stderr=subprocess.PIPE, timeout=LIMIT)
        check(run.returncode == code and words in run.stderr and run.stderr.count(b"\n") <= 2,
              "%s ended with %d" % (options, run.returncode), run.stderr.decode())
    taken = socket.socket()
    taken.bind(("127.0.0.1", 0))
    taken.listen()
    run = subprocess.run([PCP_RR, "replay", "-s", str(taken.getsockname()[1]), trace], stdin=subprocess.DEVNULL,
                         stderr=subprocess.PIPE, timeout=LIMIT)
    check(run.returncode == 2 and b"cannot listen on port" in run.stderr, "a port that is taken", run.stderr)
    named_rr = os.path.join(directory, "rr")
    os.symlink(PCP_RR, named_rr)
    version = subprocess.run([named_rr, "--version"], stdout=subprocess.PIPE, check=True).stdout
    check(re.fullmatch(rb"rr version \d+\.\d+\.\d+\n", version), "the version of rr", version)


# lldb: forward, the hunt backward, calls.
def lldb(directory):
    trace = os.path.join(directory, "trace")
    died = record(trace, HUNT)
    check(died.returncode == -11, "the example ends with %d" % died.returncode)
    commands = ["script lldb.debugger.SetAsync(False)", "breakpoint set -n print_account", "process continue",
                "frame variable account->name", "expression (int)strlen(account->name)",
                "expression ((struct account*)account)->balance = 5", "thread step-inst", "frame variable account->balance",
                "breakpoint delete 1", "process continue", "frame select 0",
                "watchpoint set expression -s 8 -- &account->currency", "reverse-continue",
                "thread backtrace -c 2", "frame variable name", "when", "checkpoint", "info-checkpoints",
                "reverse-stepi", "register read rip xmm0 " + PKRU, "memory region $rip", "memory region 0x1000", "quit"]
    words = [word for line in commands for word in ("-o", line)]
    run = subprocess.run([PCP_RR, "replay", "-q", "-d", "lldb", trace, "--", "--no-lldbinit", *words],
                         stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=LIMIT,
                         preexec_fn=BEFORE_START)
    output = run.stdout.decode(errors="replace")
    check(run.returncode == 0, "lldb ended with %d" % run.returncode, output)
    store = line_of("account->name[i] = name[i];")
    in_order(output, r"stop reason = breakpoint 1", r'account->name = "rent', r"\(int\) \$0 = 4", r"\(long\) \$1 = 5",
             r"account->balance = 607447", r"stop reason = signal SIGSEGV", r"Watchpoint created",
             r"stop reason = watchpoint 1", r"rename_account.* at hunt\.c:%d" % store,
             r"rename_account.* at hunt\.c:%d" % store, r"main at hunt\.c:%d" % line_of("rename_account(accounts[2]"),
             r"travel and provisions", r"Completed event: \d+", r"Checkpoint 1 at .*rename_account", r"ID\tWhen\tWhere",
             r"rename_account", r"rip = 0x", r"xmm0 = ", *([r"pkru = 0x"] if PKRU else []), r"\[0x[0-9a-f]+-0x[0-9a-f]+\) r-x",
             r"\[0x0*1000-0x[0-9a-f]+\) ---")


# A processor that counts nothing and whose debug registers never fire.
def hunt_without_hardware(directory):
    without_hardware()
    hunt(directory)


def lldb_without_hardware(directory):
    without_hardware()
    lldb(directory)


def main():
    if not shutil.which("lldb" if CASE.startswith("lldb") else "gdb"):
        print("skipped: the debugger is not installed")
        return 77
    global SOURCE
    SOURCE = source_of_hunt()
    # No debugger's settings of the person who runs the tests.
    with tempfile.TemporaryDirectory(prefix="pcp-rr-gdb-") as directory:
        os.environ.update(TMPDIR=directory, PATH="/usr/bin:/bin")
        globals()[CASE](directory)
        # Nothing is left: no socket, no process that replays.
        left = [name for name in os.listdir(directory) if name.startswith("pcp-rr-")]
        deadline = time.monotonic() + LIMIT
        while left and time.monotonic() < deadline:
            time.sleep(0.1)
            left = [name for name in os.listdir(directory) if name.startswith("pcp-rr-")]
        check(not left, "left behind: %s" % left)
    return 0


if __name__ == "__main__":
    sys.exit(main())
