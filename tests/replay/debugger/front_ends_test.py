#!/usr/bin/python3
"""Front ends of rr, which find pcp-rr by a link named rr.

usage: front_ends_test.py PCP_RR HUNT midas|delve

midas: what Midas (a front end for VS Code; version 0.25) asks rr for, and lets gdb do by its Python part.
delve: Delve as Debian has it, on a program in Go that it records itself. With RRPCP_ALL=1.
"""

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile

PCP_RR, HUNT, CASE = sys.argv[1:]
LIMIT = 600


def check(condition, what, shown=""):
    if not condition:
        sys.exit("%s\n%s" % (what, shown))


def in_order(output, *patterns):
    """Each pattern is found after the one before."""
    at = 0
    for pattern in patterns:
        found = re.compile(pattern, re.MULTILINE).search(output, at)
        check(found, "missing: %s" % pattern, output)
        at = found.end()
    return output


def free_port():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return taken.getsockname()[1]


# In gdb: carries out commands one after the other, each posted to gdb's own thread by another one, which waits for
# the stop where the program is to run, and looks where that is.
PLAYER = r"""
import gdb, json, queue, threading
steps = json.load(open(%r))
shown = []
stops = queue.Queue()
gdb.events.stop.connect(lambda event: stops.put(event))
RUNS = ('continue', 'reverse-', 'next', 'step', 'run', 'restart')
def play():
    done = queue.Queue()
    def one(command):
        try:
            done.put(gdb.execute(command, to_string=True))
        except gdb.error as error:
            done.put('error: %%s' %% error)
    for command in steps:
        while not stops.empty():
            stops.get()
        gdb.post_event(lambda: one(command))
        said = done.get()
        if command.startswith(RUNS) and not said.startswith('error'):
            stops.get(timeout=300)
            gdb.post_event(lambda: one('frame'))
            said += done.get()
        shown.append([command, said])
        print('> %%s\n%%s' %% (command, said), flush=True)
    json.dump(shown, open(%r, 'w'))
    gdb.post_event(lambda: gdb.execute('exit'))
threading.Thread(target=play, daemon=True).start()
"""


def midas(directory):
    os.environ["_PCP_RR_TRACE_DIR"] = traces = os.path.join(directory, "traces")
    ours, theirs = os.pipe()
    subprocess.run(["rr", "record", "--print-trace-dir=%d" % theirs, HUNT], stdout=subprocess.DEVNULL,
                   stderr=subprocess.DEVNULL, pass_fds=[theirs], timeout=LIMIT)
    os.close(theirs)
    with os.fdopen(ours) as told:
        name = told.read()
    check(name == os.path.join(os.path.realpath(traces), "hunt-0") + "\n", "the trace is said to be %r" % name)

    def rr(*words):
        return subprocess.run(["rr", *words], stdout=subprocess.PIPE, check=True, timeout=LIMIT).stdout.decode()

    # What it lets the user choose from.
    names = [line.split(" ")[0].strip() for line in rr("ls", traces, "-t", "-r").split("\n")]
    names = [name for name in names if name]
    check(names == ["hunt-0"], "the traces are %s" % names)
    trace = os.path.join(traces, names[0])
    rows = [line.split(None, 3) for line in rr("ps", trace).split("\n")[1:] if len(line) > 2]
    check(len(rows) == 1 and rows[0][1:3] == ["--", "-11"], "the processes are %s" % rows)
    pid, program = rows[0][0], rows[0][3].split(" ")[0]
    check(os.path.samefile(program, HUNT), "the program is %s" % program)
    macros = []
    for line in rr("gdbinit").split("\n"):
        if "define hook-run" in line:
            break
        macros.append(line)
    init = os.path.join(directory, "rrinit")
    with open(init, "w") as file:
        file.write("\n".join(macros))
    address = "127.0.0.1:%d" % free_port()
    with open(HUNT_SOURCE) as source:
        lines = list(source)
    at = 1 + next(number for number, line in enumerate(lines) if "account->name[i] = name[i]" in line)
    steps = ["set confirm off", "set pagination off", "set python print-stack full", "set non-stop off",
             "source " + init, "set sysroot /", "set remotetimeout 10000", "set tcp connect-timeout 10000",
             "target extended-remote " + address, "tbreak main", "continue", "info threads",
             "break %s:%d if i == 20" % (HUNT_SOURCE, at), "continue", "checkpoint", "info checkpoints",
             "watch -l *(long*)&account->currency", "continue", "reverse-continue", "reverse-continue", "next", "reverse-next",
             "reverse-step", "step", "reverse-finish", "run 3", "continue", "restart 1", "info checkpoints",
             "delete checkpoint 1", "info checkpoints", "print account->name", "kill"]
    script, recorded, result = (os.path.join(directory, name) for name in ("player.py", "steps", "shown"))
    with open(script, "w") as file:
        file.write(PLAYER % (recorded, result))
    with open(recorded, "w") as file:
        json.dump(steps, file)
    server = subprocess.Popen(["rr", "replay", "-h", "127.0.0.1", "-s", address.split(":")[1], "-p", pid, "-k", trace],
                              stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    try:
        check(server.stderr.readline() == b"Launch debugger with\n", "the server does not start")
        with subprocess.Popen(["gdb", "-nx", "-q", "-ex", "source " + script], stdin=subprocess.PIPE,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as front:
            said = front.stdout.read().decode(errors="replace")
            front.wait(LIMIT)
        check(os.path.exists(result), "gdb did not come to the end", said)
        with open(result) as file:
            shown = json.load(file)
        text = "".join("> %s\n%s" % (command, output) for command, output in shown)
        check("error: " not in text and "Traceback" not in text, "a command failed", text + said)
        in_order(text, r"^> tbreak main", r"^> continue\n(.*\n)*?.*main \(\) at", r"rename_account .*\"travel and provisions\"",
                 r"^Checkpoint 1 at rename_account", r"^1\t\d+\trename_account \(.*:%d$" % at, r"atchpoint \d+",
                 r"^> reverse-continue\n(.*\n)*?.*rename_account", r"^> next", r"^> restart 1\n(.*\n)*?.*rename_account",
                 r"^> info checkpoints\n(.*\n)*?1\t\d+\trename_account \(.*:%d$" % at,
                 r"^> info checkpoints\nNo checkpoints\.", r'"travel and provi')
        check(server.poll() is None, "it does not wait for the next one (-k)")
    finally:
        server.terminate() # as Midas does
        server.wait(LIMIT)


GO = """package main

import (
\t"fmt"
\t"os"
)

type account struct {
\tname    string
\tbalance int
}

//go:noinline
func deposit(a *account, amount int) int {
\ta.balance += amount
\treturn a.balance
}

func main() {
\ta := &account{name: "travel"}
\tfor i := 1; i <= 5; i++ {
\t\tdeposit(a, i*100)
\t}
\tdone := make(chan int)
\tgo func() { done <- deposit(a, 7) }()
\tfmt.Println(a.name, <-done, len(os.Args))
}
"""


def dlv(directory, commands, *words):
    # Delve refuses to look for rr where this file says more than 1, which pcp-rr does not mind: for it alone
    # it says something else.
    setting = "/proc/sys/kernel/perf_event_paranoid"
    start = []
    if os.path.exists(setting) and int(open(setting).read()) > 1:
        other = os.path.join(directory, "setting")
        with open(other, "w") as file:
            file.write("1\n")
        start = ["unshare", "-m" if os.getuid() == 0 else "-rm", "sh", "-c",
                 'mount --bind "$0" "$1" && shift && exec "$@"', other, setting]
        if subprocess.run(start + ["true"], stderr=subprocess.DEVNULL).returncode != 0:
            print("skipped: Delve does not start where %s is above 1" % setting)
            sys.exit(77)
    run = subprocess.run(start + ["dlv", *words], input="".join(line + "\n" for line in commands + ["exit"]).encode(),
                         stdout=subprocess.PIPE, stderr=subprocess.STDOUT, cwd=directory, timeout=LIMIT)
    output = re.sub(r"\x1b\[[0-9;]*m", "", run.stdout.decode(errors="replace"))
    check("Internal debugger error" not in output and "Command failed" not in output, "Delve is at odds", output)
    return output


def delve(directory):
    if os.environ.get("RRPCP_ALL") != "1":
        print("skipped: only with RRPCP_ALL=1")
        sys.exit(77)
    check(shutil.which("dlv") and shutil.which("go"), "this needs the packages delve and golang-go")
    os.environ.update(HOME=directory, GOCACHE=os.path.join(directory, "cache"), GO111MODULE="off", GOFLAGS="-p=1",
                      _PCP_RR_TRACE_DIR=os.path.join(directory, "traces"))
    with open(os.path.join(directory, "main.go"), "w") as file:
        file.write(GO)
    subprocess.run(["go", "build", "-gcflags", "all=-N -l", "-o", "program", "main.go"], cwd=directory, check=True,
                   timeout=LIMIT)
    hit = r"main\.deposit\(\) \./main\.go:14 \(hits"
    talk = ["break main.deposit", "continue", "args", "stack", "goroutines", "threads", "continue", "print amount",
            "checkpoint the second", "checkpoints", "continue", "print amount", "rewind", "print amount", "next",
            "stepout", "print a.balance", "rev step-instruction", "rev next", "restart c1", "print amount",
            "clear-checkpoint c1", "checkpoints", "clearall", "continue"]
    seen = (r"amount = 100", r"main\.main\n", r"Goroutine 1 - User: \./main\.go:14 main\.deposit", r"\* Thread \d+ at",
            hit, r"^\(dlv\) 200$", r"Checkpoint c1 created", r"c1 +\d+ +the second", hit, r"^\(dlv\) 300$",
            hit, r"^\(dlv\) 200$", r"main\.deposit\(\) \./main\.go:15", r"Values returned:\n\s+~r0: 300", r"^\(dlv\) 300$",
            r"main\.deposit\(\)", r"^\(dlv\) 200$", r"exited with status 0")
    # It records and replays; the trace is found afterwards.
    first = dlv(directory, talk, "exec", "--backend=rr", "--allow-non-terminal-interactive=true", "./program")
    in_order(first, *seen)
    subprocess.run(["rr", "record", "-o", "trace", "./program"], cwd=directory, check=True, timeout=LIMIT,
                   stdout=subprocess.DEVNULL)
    in_order(dlv(directory, talk, "replay", "--allow-non-terminal-interactive=true", "trace"), *seen)


def main():
    if not shutil.which("gdb"):
        print("skipped: gdb is not installed")
        return 77
    global HUNT_SOURCE
    shown = subprocess.run(["gdb", "-nx", "-batch", "-ex", "list main", "-ex", "info source", HUNT],
                           stdout=subprocess.PIPE, check=True).stdout.decode()
    HUNT_SOURCE = re.search(r"Located in (.*)", shown).group(1)
    with tempfile.TemporaryDirectory(prefix="pcp-rr-front-") as directory:
        os.mkdir(os.path.join(directory, "bin"))
        os.symlink(PCP_RR, os.path.join(directory, "bin", "rr"))
        os.environ.update(TMPDIR=directory, PATH=os.path.join(directory, "bin") + ":/usr/bin:/bin")
        globals()[CASE](directory)
    return 0


if __name__ == "__main__":
    sys.exit(main())
