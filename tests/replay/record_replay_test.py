#!/usr/bin/env python3
"""Records a program and replays it: output, exit status and signal must be the recorded ones.

usage: record_replay_test.py PCP_RR FIXTURES CASE [COUNT]

COUNT times (10 as a rule) the program is recorded and each recording replayed; heavy programs are
recorded twice and each recording replayed COUNT / 2 times. Prints how many replays there were.
"""

import os
import shutil
import signal
import subprocess
import sys
import tempfile

TIMEOUT = 600

BIG = "python3 -c 'import random; open(\"big\", \"wb\").write(random.Random(1).randbytes(50 << 20))'"

SQL = """
create table t(a integer primary key, b text);
with recursive c(x) as (select 1 union all select x+1 from c where x<100000)
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

# name: (how to prepare the directory, command, expected status, heavy)
CASES = {
    "echo": ("", ["/bin/echo", "hello"], 0, False),
    "true_false": ("", ["sh", "-c", "/bin/true && /bin/false"], 1, False),
    "ls": ("", ["ls", "-lR", "/usr/share/doc/bash", "/usr/lib/x86_64-linux-gnu/perl-base"], 0, True),
    "sha256sum": (BIG, ["sha256sum", "big"], 0, True),
    "gzip": (BIG, ["sh", "-c", "gzip -9 -c big > big.gz; sha256sum < big.gz"], 0, True),
    "sort": ("seq 1 200000 | sort -R --random-source=/bin/bash > numbers",
             ["sort", "-S", "1M", "-T", ".", "numbers"], 0, True),
    "sqlite3": ("", ["sqlite3", "db"], 0, True),
    "python3": ("", ["python3", "script.py"], 0, True),
    "perl": ("", ["perl", "script.pl"], 0, False),
    "bash": ("", ["bash", "script.sh"], 7, False),
    "gcc": ("", ["sh", "-c", "gcc -O2 -c code.c -o code.o && sha256sum < code.o"], 0, True),
    "git": ("", ["sh", "-c", GIT], 0, True),
    "producer_consumer": ("", ["@producer_consumer"], 0, False),
    "loopback": ("", ["@loopback"], 0, False),
    "signals": ("", ["@signals"], -signal.SIGTERM, False),
    "shared_memory": ("", ["@shared_memory"], 0, False),
    "vforks": ("", ["@vforks"], 0, False),
    "spinner": ("", ["@spinner"], 0, False),
    "clocks": ("", ["@clocks"], 0, False),
    "exec_in_thread": ("", ["@exec_in_thread"], 0, False),
    "robust": ("", ["@robust"], 9, False),
    "unsupported": ("", ["@unsupported"], 0, False),
    "many_events": ("", ["@many_events", "20000"], 0, True),
}



def run(command, directory, stdin=None):
    return subprocess.run(command, cwd=directory, input=stdin, capture_output=True,
                          timeout=TIMEOUT, check=False)


def fail(what, result):
    print(f"FAILED: {what}, status {result.returncode}")
    print(result.stdout[-2000:].decode(errors="replace"))
    print(result.stderr[-2000:].decode(errors="replace"))
    sys.exit(1)


def main():
    pcp_rr, fixtures, name = sys.argv[1:4]
    count = int(sys.argv[4]) if len(sys.argv) > 4 else 10
    prepare, command, expected, heavy = CASES[name]
    command = [os.path.join(fixtures, c[1:]) if c.startswith("@") else c for c in command]
    recordings = 2 if heavy else count
    replays = (count + recordings - 1) // recordings
    total = 0
    for _ in range(recordings):
        with tempfile.TemporaryDirectory(prefix="pcp-rr-") as directory:
            for file, text in (("script.py", PYTHON), ("script.pl", PERL), ("script.sh", BASH),
                               ("code.c", C_SOURCE)):
                with open(os.path.join(directory, file), "w", encoding="ascii") as out:
                    out.write(text)
            if prepare:
                subprocess.run(["sh", "-c", prepare], cwd=directory, check=True)
            trace = os.path.join(directory, "trace")
            stdin = SQL.encode() if name == "sqlite3" else b""
            recorded = run([pcp_rr, "record", "-o", trace, "--", *command], directory, stdin)
            if recorded.returncode != expected:
                fail("recording", recorded)
            if not recorded.stdout and expected == 0:
                fail("recording printed nothing", recorded)
            for entry in os.listdir(directory):  # a replay needs the trace alone
                path = os.path.join(directory, entry)
                if path != trace:
                    shutil.rmtree(path) if os.path.isdir(path) else os.unlink(path)
            for _ in range(replays):
                replayed = run([pcp_rr, "replay", "-a", trace], "/")
                status = 128 - expected if expected < 0 else expected
                if replayed.returncode != status:
                    fail(f"replay {total + 1}", replayed)
                if replayed.stdout != recorded.stdout:
                    fail(f"output of replay {total + 1} differs", replayed)
                total += 1
    print(f"{name}: {recordings} recordings, {total} replays, no divergence")


main()
