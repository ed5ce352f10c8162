#!/usr/bin/env python3
"""Records a program and replays it: output, exit status and signal must be the recorded ones.

usage: record_replay_test.py PCP_RR FIXTURES CASE [COUNT]

COUNT times (10 as a rule) the program is recorded, and each recording replayed from its start and
from a checkpoint. The programs that take longest work on as much as was promised the first time, and
on less the other times; with RRPCP_FULL=1 in the environment always on as much. Prints the counts.
"""

import os
import shutil
import signal
import subprocess
import sys
import tempfile

PCP_RR, FIXTURES, CASE = sys.argv[1:4]
TIMEOUT = 600

BIG = "python3 -c 'import random; open(\"big\", \"wb\").write(random.Random(1).randbytes(SIZE))'"

SQL = """
create table t(a integer primary key, b text);
with recursive c(x) as (select 1 union all select x+1 from c where x<SIZE)
  insert into t select x, 'row '||(x*7919 % 100003) from c;
create index i on t(b);
select count(*), sum(a) from t where b like 'row 1%';
select a from t where b = 'row 777';
delete from t where a % 3 = 0;
select count(*) from t;
"""

PYTHON = """
import collections, json, re, subprocess, sqlite3, threading, queue, hashlib, random, time, os
q = queue.Queue()
def work(n):
    for i in range(50):
        q.put((n, hashlib.sha256(str(i * n).encode()).hexdigest()[:8]))
threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
for t in threads: t.start()
for t in threads: t.join()
print(q.qsize(), sorted(q.queue)[:3])
print(json.dumps({"random": random.random(), "time": time.time(), "pid": os.getpid()}))
print(subprocess.run(["sh", "-c", "echo from a child; exit 3"], capture_output=True))
print(len(re.findall(r"e", open("/usr/lib/python3.11/os.py").read()))
      if os.path.exists("/usr/lib/python3.11/os.py") else "")
"""

PERL = """
use strict; use POSIX; use Data::Dumper; use File::Temp;
my %h; $h{$_ % 17} += $_ for 1..5000; print join(",", map { "$_=$h{$_}" } sort keys %h), "\\n";
print strftime("%Y", gmtime(0)), " ", scalar(localtime) ne "" ? "now" : "", "\\n";
my $out = `echo a child; exit 2`; print $out, $? >> 8, "\\n";
my $pid = fork; if (!$pid) { print "in the child\\n"; exit 4 } waitpid $pid, 0; print $? >> 8, "\\n";
"""

BASH = """
seq 1 2000 | sort -rn | head -50 | while read n; do echo $((n * n)); done | tail -3
for i in 1 2 3; do (sleep 0.0$i; echo job $i) & done; wait
trap 'echo got USR1' USR1; kill -USR1 $$
x=$(echo one; ls / | wc -l); echo "$x" | tr a-z A-Z
cat <(echo substituted) - <<< "here"
sleep 30 & kill $!; wait $!; echo "killed: $?"
exit 7
"""

C_SOURCE = """
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <math.h>
static int compare(const void* a, const void* b) { return *(const int*)a - *(const int*)b; }
double work(int n) { double s = 0; int* v = malloc(n * sizeof *v);
  for (int i = 0; i < n; ++i) v[i] = (i * 7919) % 1000; qsort(v, n, sizeof *v, compare);
  for (int i = 0; i < n; ++i) s += sqrt(v[i]) * sin(i); free(v); return s; }
int main(int argc, char** argv) { printf("%f\\n", work(argc * 1000 + (int)strlen(argv[0]))); }
"""

GIT = """
git init -q repo && cd repo && git config user.name N && git config user.email e@example.org
for i in 1 2 3; do seq 1 $((i * 100)) > file$i; done
git add . && git commit -q -m first && echo more >> file1 && git commit -q -a -m second
git log --format='%h %s %ct' && git diff HEAD~1 --stat && git fsck 2>&1 | head -3
"""

# name: (how to prepare the directory, command, expected status, SIZE the first time and the others)
CASES = {
    "echo": ("", ["/bin/echo", "hello"], 0),
    "true_false": ("", ["sh", "-c", "/bin/true && /bin/false"], 1),
    "ls": ("", ["ls", "-lR", "/usr/share/doc/bash", "/usr/lib/x86_64-linux-gnu/perl-base"], 0),
    "sha256sum": (BIG, ["sha256sum", "big"], 0, 50 << 20, 50 << 20),
    "gzip": (BIG, ["sh", "-c", "gzip -9 -c big > big.gz; sha256sum < big.gz"], 0, 50 << 20, 8 << 20),
    "sort": ("seq 1 SIZE | sort -R --random-source=/bin/bash > numbers",
             ["sort", "-S", "1M", "-T", ".", "numbers"], 0, 200_000, 200_000),
    "sqlite3": ("", ["sqlite3", "db"], 0, 100_000, 20_000),
    # (Not what PATH has first: that may be a script of many processes, which chooses a version.)
    "python3": ("", [sys.executable, "script.py"], 0),
    "perl": ("", ["perl", "script.pl"], 0),
    "bash": ("", ["bash", "script.sh"], 7),
    "gcc": ("", ["sh", "-c", "gcc -O2 -c code.c -o code.o && sha256sum < code.o"], 0),
    "git": ("", ["sh", "-c", GIT], 0),
    "producer_consumer": ("", ["@producer_consumer"], 0),
    "loopback": ("", ["@loopback"], 0),
    "signals": ("", ["@signals"], -signal.SIGTERM),
    "shared_memory": ("", ["@shared_memory"], 0),
    "vforks": ("", ["@vforks"], 0),
    "spinner": ("", ["@spinner"], 0),
    "clocks": ("", ["@clocks"], 0),
    "instructions": ("", ["@instructions"], 0),
    "exec_in_thread": ("", ["@exec_in_thread"], 0),
    "robust": ("", ["@robust"], 9),
    "unsupported": ("", ["@unsupported"], 0),
    "mapped_files": ("", ["@mapped_files"], 0),
    "behind_end": ("", ["@behind_end"], 0),
    "own_pages": ("", ["@own_pages"], 0),
    "held_signals": ("", ["@held_signals"], 0),
    "half_done": ("", ["@half_done"], 0),
    "small_mappings": ("", ["@small_mappings"], 0),
    "foreign_memory": ("", ["@foreign_memory"], 0),
    "futex_words": ("", ["@futex_words"], 0),
    "nameless_exec": ("", ["@nameless_exec"], 0),
    "bad_pointers": ("", ["@bad_pointers"], 0),
    "leader_ends": ("", ["@leader_ends"], 3),
    "init_faults": ("", ["@init_faults"], 0),
    "buffered_calls": ("", ["@buffered_calls"], 0),
    "saved_state": ("", ["@saved_state"], 0),
    "identification": ("", ["@identification"], 0),
    "many_events": ("", ["@many_events", "SIZE"], 0, 20_000, 5_000),
}


def run(command, directory, stdin=None):
    return subprocess.run(command, cwd=directory, input=stdin, capture_output=True,
                          timeout=TIMEOUT, check=False)


def fail(what, result):
    print(f"FAILED: {what}, status {result.returncode}")
    print(result.stdout[-2000:].decode(errors="replace"))
    print(result.stderr[-2000:].decode(errors="replace"))
    sys.exit(1)


def make_inputs(directory, prepare, size):
    for file, text in (("script.py", PYTHON), ("script.pl", PERL), ("script.sh", BASH),
                       ("code.c", C_SOURCE)):
        with open(os.path.join(directory, file), "w", encoding="ascii") as out:
            out.write(text)
    if prepare:
        subprocess.run(["sh", "-c", prepare.replace("SIZE", str(size))], cwd=directory, check=True)


def remove_others(directory, trace):
    """A replay needs the trace alone."""
    for entry in os.listdir(directory):
        path = os.path.join(directory, entry)
        if path != trace:
            shutil.rmtree(path) if os.path.isdir(path) else os.unlink(path)


def count_events(trace):
    last = run([PCP_RR, "dump", trace, "end"], "/")
    if last.returncode != 0 or not last.stdout:
        fail("looking at the last event", last)
    return int(last.stdout.split()[0])


def replay_from_start(trace, recorded, status):
    replayed = run([PCP_RR, "replay", "-a", "--ignore-pcp", trace], "/")
    if replayed.returncode != status:
        fail("a replay from the start", replayed)
    if replayed.stdout != recorded.stdout:
        fail("the output of a replay from the start differs", replayed)


def replay_from_checkpoint(trace, recorded, status):
    """Makes a checkpoint in the middle, and goes on from it to the end."""
    events = count_events(trace)
    target = max(2, events * 2 // 3)
    made = run([PCP_RR, "create-checkpoints", "-q", "-i", str(max(1, events // 2)), "-e",
                str(target), trace], "/")
    if made.returncode != 0:
        fail("making a checkpoint", made)
    names = os.listdir(os.path.join(trace, "checkpoints"))
    if not any(0 < int(name.split("-")[0]) <= target for name in names if name.endswith(".pcp")):
        fail(f"no checkpoint before event {target} of {events}: {names}", made)
    replayed = run([PCP_RR, "replay", "-a", "-g", str(target), trace], "/")
    if replayed.returncode != status:
        fail("a replay from a checkpoint", replayed)
    if not recorded.stdout.endswith(replayed.stdout):
        fail("the output of a replay from a checkpoint differs", replayed)
    if b"checkpoint" in replayed.stderr:
        fail("the checkpoint was not used", replayed)


def main():
    count = int(sys.argv[4]) if len(sys.argv) > 4 else 10
    prepare, command, expected, *sizes = CASES[CASE]
    status = 128 - expected if expected < 0 else expected
    full = 0
    for number in range(count):
        whole = number == 0 or len(set(sizes)) < 2 or os.environ.get("RRPCP_FULL") == "1"
        full += whole
        size = sizes[0 if whole else 1] if sizes else 0
        words = [os.path.join(FIXTURES, word[1:]) if word.startswith("@") else
                 word.replace("SIZE", str(size)) for word in command]
        with tempfile.TemporaryDirectory(prefix="pcp-rr-") as directory:
            make_inputs(directory, prepare, size)
            trace = os.path.join(directory, "trace")
            stdin = SQL.replace("SIZE", str(size)).encode() if CASE == "sqlite3" else b""
            recorded = run([PCP_RR, "record", "-o", trace, "--", *words], directory, stdin)
            if recorded.returncode != expected:
                fail(f"recording {number + 1}", recorded)
            if not recorded.stdout and expected == 0:
                fail("recording printed nothing", recorded)
            remove_others(directory, trace)
            replay_from_start(trace, recorded, status)
            replay_from_checkpoint(trace, recorded, status)
    print(f"{CASE}: {count} of {count} recordings ({full} in full size), {2 * count} replays "
          f"({count} from a checkpoint), no divergence")


main()
