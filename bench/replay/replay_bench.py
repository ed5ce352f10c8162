"""What recording, replaying and checkpoints of the replay host cost.

usage: replay_bench.py PCP-RR [EVENTS [REPETITIONS]]

Prints, measured in one run on this machine, medians of interleaved repetitions:
- record and replay against the native run, for a program that does nothing (what a start costs), one
  that makes system calls, one that computes, and some that people run;
- unless EVENTS is 0, the time to reach events of a recording with EVENTS (1,000,000) events near a checkpoint, with checkpoints and
  without them (--ignore-pcp), at places further and further from the start.
"""

import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

PCP_RR = sys.argv[1]
EVENTS = int(sys.argv[2]) if len(sys.argv) > 2 else 1000000
REPETITIONS = int(sys.argv[3]) if len(sys.argv) > 3 else 3

CALLS = "getppid() for 1..%d; print 1"
COMPUTES = "my $x = 0; $x = ($x * 31 + $_) %% 1000003 for 1..%d; print $x"


def seconds(command, **options):
    start = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, **options)
    return time.perf_counter() - start


def slowdown(directory, name, program):
    native, recorded, replayed = [], [], []
    for i in range(REPETITIONS):
        trace = os.path.join(directory, "%s-%d" % (name, i))
        native.append(seconds(program))
        recorded.append(seconds([PCP_RR, "record", "-q", "-o", trace, "--", *program]))
        replayed.append(seconds([PCP_RR, "replay", "-a", trace]))
    base, record, replay = map(statistics.median, (native, recorded, replayed))
    print("%-14s native %7.3f s   record %7.3f s (%5.1f x)   replay %7.3f s (%5.1f x)"
          % (name, base, record, record / base, replay, replay / base), flush=True)


def real_programs(directory):
    """Those that are there of some that people run."""
    source = os.path.join(directory, "source.c")
    with open(source, "w", encoding="ascii") as file:
        file.writelines(f"int f{i}(int x) {{ return x * {i} + x % {i + 1}; }}\n" for i in range(400))
    tree = os.path.join(directory, "tree")
    table = ("create table t(a, b); with recursive n(i) as (select 1 union all select i + 1 from n "
             "where i < 20000) insert into t select i, hex(i) from n; create index x on t(b); "
             "select count(*), max(b) from t;")
    programs = {
        "gcc": ["gcc", "-O2", "-c", source, "-o", source + ".o"],
        "git": ["git", "init", "-q", tree],
        "sqlite3": ["sqlite3", ":memory:", table],
        "python3": [os.path.realpath(sys.executable), "-c", "import json, re, subprocess"],
    }
    return [(name, program) for name, program in programs.items() if shutil.which(program[0])]


def seek(directory):
    trace = os.path.join(directory, "long")
    record = seconds([PCP_RR, "record", "-q", "-o", trace, "--", "perl", "-e", CALLS % EVENTS])
    count = int(subprocess.run([PCP_RR, "replay", "--place", "-g", "1", trace], check=True, capture_output=True).stdout.split()[3].rstrip(b","))
    create = seconds([PCP_RR, "create-checkpoints", "-q", "-i", str(EVENTS // 20), trace])
    print("%d events: recorded in %.1f s, 20 checkpoints made in %.1f s" % (count, record, create), flush=True)
    print("%10s %18s %18s %8s" % ("event", "with checkpoints", "--ignore-pcp", "ratio"))
    near = []
    for part in (2, 5, 10, 15, 19):
        event = EVENTS // 20 * part + 100
        fast, slow = [], []
        for _ in range(REPETITIONS):
            fast.append(seconds([PCP_RR, "replay", "--place", "-g", str(event), trace]))
        slow.append(seconds([PCP_RR, "replay", "--place", "--ignore-pcp", "-g", str(event), trace]))
        near.append(statistics.median(fast))
        print("%10d %16.3f s %16.3f s %7.0f x" % (event, near[-1], statistics.median(slow),
                                                  statistics.median(slow) / near[-1]), flush=True)
    print("latest against earliest place, with checkpoints: %.2f x" % (near[-1] / near[0]))


with tempfile.TemporaryDirectory() as temporary:
    slowdown(temporary, "nothing", ["true"])
    slowdown(temporary, "system calls", ["perl", "-e", CALLS % 1000000])
    slowdown(temporary, "computation", ["perl", "-e", COMPUTES % 6000000])
    for name, program in real_programs(temporary):
        slowdown(temporary, name, program)
    if EVENTS:
        seek(temporary)
