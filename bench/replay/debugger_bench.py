"""What debugging a recording costs, forward and backward.

usage: debugger_bench.py PCP-RR [EVENTS [REPETITIONS]]

Prints, measured in one run on this machine, medians:
- the time to the first prompt of gdb at the end of a recording with EVENTS (1,000,000) events and 20 checkpoints,
  against that of gdb alone on a replay that stands there already;
- reverse-continue to a breakpoint that was passed a second of replay ago, against running that second forward: in
  a program that makes system calls, and in one that only computes; to one that was met on the way, and to one that
  was put only at the end;
- reverse-stepi near a base, in stops of the traced process and in time, early and late in the recording;
- a watchpoint met before a loop of 10,000,000 iterations, looked for from its end, against gdb's own `record full`
  on the same program. gdb records 5,000 iterations of it, which is counted up: all of them take it hours.
"""

import os
import re
import socket
import statistics
import subprocess
import sys
import tempfile
import time

PCP_RR = sys.argv[1]
EVENTS = int(sys.argv[2]) if len(sys.argv) > 2 else 1000000
REPETITIONS = int(sys.argv[3]) if len(sys.argv) > 3 else 5

CALLS = "getppid() for 1..%d; print 1"
COMPUTES = r"""
#include <stdio.h>
#include <unistd.h>
volatile long state;
__attribute__((noinline)) void mark(void) { __asm__ volatile(""); }
static void compute(double seconds) {
  for (long n = (long)(seconds * RATE); n > 0; --n) {
    state = state * 31 + n;
    if (n % CALL_EVERY == 0) getppid();
  }
}
int main(void) {
  compute(1);
  mark();
  compute(1);
  return 0;
}
"""
LOOP = r"""
volatile long watched, sum;
__attribute__((noinline)) void done(void) { __asm__ volatile("syscall" : : "a"(60), "D"(0)); }
void _start(void) {
  for (int i = 0; i < 10; ++i) sum += i;
  watched = 1;
  for (int i = 0; i < ITERATIONS; ++i) sum += i;
  done();
}
"""
ITERATIONS = 10000000
GDB_ITERATIONS = 5000


class Front:
    """A debugger that sends a packet and waits for what is answered."""

    def __init__(self, trace, *options):
        self.server = subprocess.Popen([PCP_RR, "replay", "-s", "0", "-q", "-k", *options, trace],
                                       stdin=subprocess.DEVNULL, stderr=subprocess.PIPE)
        self.server.stderr.readline()
        self.address = re.search(r"127\.0\.0\.1:(\d+)", self.server.stderr.readline().decode()).group(0)
        self.connection = None
        self.read = b""

    def connect(self):
        host, port = self.address.split(":")
        self.connection = socket.create_connection((host, int(port)))
        self.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return self

    def ask(self, text):
        data = text.encode()
        self.connection.sendall(b"$" + data + b"#%02x" % (sum(data) & 255))
        while True:
            found = re.search(rb"\$([^#]*)#..", self.read)
            if found:
                self.read = self.read[found.end():]
                self.connection.sendall(b"+")
                return found.group(1).decode(errors="replace")
            more = self.connection.recv(1 << 16)
            if not more:
                raise SystemExit("the server has gone after " + text)
            self.read += more

    def timed(self, text, wanted="T"):
        start = time.perf_counter()
        answer = self.ask(text)
        took = time.perf_counter() - start
        if not answer.startswith(wanted):
            raise SystemExit("%s: %s" % (text, answer))
        return took

    def stops(self):
        said = bytes.fromhex(self.ask("qRRCmd:replay-costs:0")).decode()
        return int(re.search(r"Stops: (\d+)", said).group(1))

    def end(self):
        if self.connection:
            self.connection.close()
        self.server.terminate()
        self.server.wait()


def seconds(command, **options):
    start = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, stdin=subprocess.DEVNULL,
                   **options)
    return time.perf_counter() - start


def build(directory, name, source, *options):
    path = os.path.join(directory, name)
    with open(path + ".c", "w") as file:
        file.write(source)
    subprocess.run(["cc", "-w", "-g", "-o", path, path + ".c", *options], check=True)
    shown = subprocess.run(["nm", path], stdout=subprocess.PIPE, check=True).stdout.decode().split("\n")
    symbols = {words[2]: int(words[0], 16) for words in map(str.split, shown) if len(words) == 3}
    return path, symbols


def record(trace, *program):
    subprocess.run([PCP_RR, "record", "-q", "-o", trace, "--", *program], stdout=subprocess.DEVNULL)


def first_prompt(directory):
    trace = os.path.join(directory, "calls")
    record(trace, "perl", "-e", CALLS % EVENTS)
    subprocess.run([PCP_RR, "create-checkpoints", "-q", "-i", str(EVENTS // 20), trace], check=True)
    at_end = ["-e"]
    front = Front(trace, *at_end)
    # What a prompt shows: where the program stands.
    look = ["-nx", "-q", "-batch", "-l", "10000", "-ex", "set sysroot /"]
    alone, whole = [], []
    for _ in range(REPETITIONS):
        alone.append(seconds(["gdb", *look, "-ex", "target extended-remote " + front.address, "-ex", "backtrace 1",
                              "-ex", "disconnect", "/usr/bin/perl"]))
        whole.append(seconds([PCP_RR, "replay", *at_end, "-q", trace, "--", "-nx", "-q", "-batch", "-ex", "backtrace 1"]))
    front.end()
    alone, whole = map(statistics.median, (alone, whole))
    print("first prompt at event %d: %.0f ms, of which gdb %.0f ms: %.0f ms more (at most 150)"
          % (EVENTS, whole * 1000, alone * 1000, (whole - alone) * 1000), flush=True)
    steps_back(trace)


def steps_back(trace):
    for event in (EVENTS // 40, EVENTS // 2, EVENTS - EVENTS // 40):
        front = Front(trace, "-g", str(event)).connect()
        stops, times = [], []
        for _ in range(21):
            before = front.stops()
            times.append(front.timed("bs"))
            stops.append(front.stops() - before)
        front.end()
        print("reverse-stepi at event %d: %d stops, %.1f ms (medians of 21; at most 100 stops)"
              % (event, statistics.median(stops), statistics.median(times) * 1000), flush=True)


def a_second_back(directory, name, calls):
    # How far a second goes. `calls`: system calls in it.
    options = ("-O1", "-no-pie")
    rate = 100e6
    path, _ = build(directory, "probe", COMPUTES, *options, "-DRATE=%g" % rate, "-DCALL_EVERY=(1L<<60)")
    rate *= 2 / seconds([path])
    path, symbols = build(directory, "computes", COMPUTES, *options, "-DRATE=%g" % rate,
                          "-DCALL_EVERY=%d" % (rate / calls if calls else 1 << 60))
    trace = os.path.join(directory, "computing-%d" % calls)
    record(trace, path)
    put, take = ("%s0,%x,1" % (letter, symbols["mark"]) for letter in "Zz")
    for met in (True, False):
        front = Front(trace).connect()
        forward, backward = [], []
        for _ in range(REPETITIONS if met else 1): # once it was met, it has been
            front.ask("vRun;;")
            front.ask("vCont;c")
            if met:
                front.ask(put)
                front.ask("vCont;c")
            forward.append(front.timed("vCont;c") / (1 if met else 2))
            front.ask(put)
            backward.append(front.timed("bc", "T05"))
            front.ask(take)
        front.end()
        forward, backward = map(statistics.median, (forward, backward))
        print("reverse-continue to a breakpoint %.2f s of replay ago, %s, %s: %.2f s, %.1f times that (at most 2)"
              % (forward, name, "met on the way" if met else "put at the end", backward, backward / forward), flush=True)


def against_gdb(directory):
    # Nothing of it is from a library, which may use AVX instructions: `record full` stops at the first.
    options = ("-O1", "-mno-avx", "-nostdlib", "-static", "-no-pie")
    path, symbols = build(directory, "loop", LOOP, *options, "-DITERATIONS=%d" % ITERATIONS)
    trace = os.path.join(directory, "looping")
    ours = []
    for i in range(3):
        start = time.perf_counter()
        record(trace + str(i), path)
        front = Front(trace + str(i)).connect()
        front.ask("vCont;c")
        front.ask("Z2,%x,8" % symbols["watched"])
        answer = front.ask("bc")
        if "watch:" not in answer:
            raise SystemExit("it is not found: " + answer)
        ours.append(time.perf_counter() - start)
        front.end()
    path, _ = build(directory, "short", LOOP, *options, "-DITERATIONS=%d" % GDB_ITERATIONS)
    commands = ["set can-use-hw-watchpoints 0", "starti", "record full", "set record full insn-number-max unlimited",
                "continue", "watch watched", "reverse-continue"]
    start = time.perf_counter()
    said = subprocess.run(["gdb", "-nx", "-q", "-batch", *[word for line in commands for word in ("-ex", line)], path],
                          stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT).stdout.decode()
    theirs = time.perf_counter() - start
    if "Old value = 1" not in said:
        raise SystemExit("gdb does not find it:\n" + said)
    ours = statistics.median(ours)
    counted_up = theirs / GDB_ITERATIONS * ITERATIONS
    print("recorded, and found before %d iterations: %.2f s; gdb's record full: %.1f s for %d, so %.0f s: %.0f times "
          "that (at least 100)" % (ITERATIONS, ours, theirs, GDB_ITERATIONS, counted_up, counted_up / ours), flush=True)


with tempfile.TemporaryDirectory() as temporary:
    a_second_back(temporary, "with a system call every millisecond", 1000)
    a_second_back(temporary, "without a system call in between", 0)
    against_gdb(temporary)
    first_prompt(temporary)
