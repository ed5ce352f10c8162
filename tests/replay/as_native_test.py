#!/usr/bin/env python3
"""Programs that print what they see of themselves: alone, recorded and replayed they say the same.

usage: as_native_test.py PCP_RR FIXTURES CASE
"""

import os
import shutil
import subprocess
import sys
import tempfile

PCP_RR, FIXTURES, CASE = sys.argv[1:4]
TIMEOUT = 300

# Jobs that are stopped and go on, in the background and in the foreground, by themselves and by
# others; without a terminal.
JOBS = """
stopped() { until jobs %% | grep -q Stopped; do sleep 0.02; done; }
set -m
sleep 1000 & job=$!
kill -STOP %%
stopped
jobs %%
kill -CONT %%
until jobs %% | grep -q Running; do sleep 0.02; done
kill -TERM %%
wait $job
echo "ended $?"
sh -c 'echo stopping; kill -TSTP $$; echo continued; exit 4' &
stopped
fg %%
echo "in the foreground $?"
(trap 'echo told to go on' CONT; kill -STOP $BASHPID; echo going on; exit 5) & job=$!
stopped
bg %% > announced
wait $job
echo "in the background $?"
sh -c 'kill -STOP $$; echo resumed; exit 6'
echo "stopped $?"
fg > announced
echo "then $?"
sleep 1000 | sleep 1000 & job=$!
kill -STOP %%
stopped
kill -KILL %%
# (wait does not wait for one that bash still takes for stopped.)
while jobs -s | grep -q .; do sleep 0.02; done
wait $job
echo "killed"
"""

MANUAL = """
printf '.TH small 1 2020-01-01\\n.SH NAME\\nsmall \\\\- a page\\n' | gzip > small.1.gz
MANPAGER=cat MANWIDTH=60 LC_ALL=C man -l small.1.gz
"""

# strace(1) follows a tree of processes, and attaches to the shell.
STRACE = """
rm -f calls.* said
strace -ff -qq -e trace=execve,exit_group -e signal=none -o calls sh -c 'echo hi; /bin/true | cat; exit 3'
echo "status $?"
cat calls.* | sed 's/0x[0-9a-f]* //' | sort
strace -p $$ -e trace=kill -e signal=none -o later 2> said & other=$!
until grep -q attached said; do sleep 0.05; done
kill -0 $$
kill -INT $other
wait $other
head -n 1 later | sed 's/([0-9]*/(PID/'
"""

# gdb(1) stops, steps, calls a function, changes memory, watches it, and follows a fork.
GDB = r"""
cat > script <<END
set pagination off
set can-use-hw-watchpoints 0
set print thread-events off
break main
run
stepi
x/i \$pc
p (long)strlen("four")
p (long)\$rsp % 8
tbreak fork
continue
finish
catch syscall exit_group
set follow-fork-mode parent
continue
p \$rax
set \$rdi = 9
continue
END
gdb -nx -batch -x script "$0" 2>&1 | grep -v -e process -e libthread -e 'Run till' -e '^[$]3 = ' -e 'Value returned' -e ' at 0x7'
"""

# name: command, "@" for one of the fixtures
CASES = {
    "masked_faults": ["@masked_faults"],
    "attributes": ["@attributes"],
    "untraced": ["@untraced"],
    "filters": ["@filters"],
    "early_alarms": ["@early_alarms"],
    "killed": ["@killed"],
    "vdso": ["@vdso"],
    "memory_loops": ["@memory_loops"],
    # The same pipe through another description.
    "opened_output": ["sh", "-c", "echo one > /dev/stdout; cat /proc/self/comm > /proc/self/fd/1; "
                                  "echo two | tee /dev/stderr; echo three"],
    "odd_callers": ["@odd_callers"],
    "small_mappings": ["@small_mappings"],
    "debugger": ["@debugger"],
    "call_tracer": ["@call_tracer"],
    "attacher": ["@attacher"],
    "jobs": ["bash", "-c", JOBS],
    "strace": ["sh", "-c", STRACE],
    "gdb": ["sh", "-c", GDB, "@family"],
    # man(1) of Debian keeps its helpers in a sandbox of libseccomp.
    "man": ["sh", "-c", MANUAL],
}

# On some machines a hypervisor does not trap the counter. There a program is recorded as the kernel says,
# and the replay is as the recording.
NOT_TRAPPED = {"attributes": b"counter 2 (0), counts"}
# On some it cannot take a system call with such a stack pointer, which ends the program: without that part.
NOT_POSSIBLE = {"odd_callers": (b"\n1: b\n", "1")}


def run(command, directory):
    return subprocess.run(command, cwd=directory, stdin=subprocess.DEVNULL, capture_output=True,
                          timeout=TIMEOUT, check=False)


def describe(result):
    return (f"status {result.returncode}\n{result.stdout.decode(errors='replace')}"
            f"{result.stderr.decode(errors='replace')}")


def require_same(what, native, other):
    """`other` did as `native` did, but for how a signal that ended it is told."""
    status = 128 - native.returncode if native.returncode < 0 else native.returncode
    if other.returncode not in (native.returncode, status) or other.stdout != native.stdout:
        print(f"FAILED: {what} is not as without a recorder\nalone: {describe(native)}\n"
              f"{what}: {describe(other)}")
        sys.exit(1)


def last_event(trace):
    return int(run([PCP_RR, "replay", "--place", "-g", "1", trace], "/").stdout.split()[3].rstrip(b","))


with tempfile.TemporaryDirectory(prefix="pcp-rr-") as temporary:
    if CASE in ("man", "strace", "gdb") and shutil.which(CASE) is None:
        print(f"skipped: there is no {CASE}(1)")
        sys.exit(77)
    words = [os.path.join(FIXTURES, word[1:]) if word.startswith("@") else word
             for word in CASES[CASE]]
    alone = run(words, temporary)
    if CASE in NOT_POSSIBLE and NOT_POSSIBLE[CASE][0] in alone.stdout:
        words.append(NOT_POSSIBLE[CASE][1])
        alone = run(words, temporary)
    if not alone.stdout or alone.returncode == 127:
        print(f"FAILED: the program says nothing: {describe(alone)}")
        sys.exit(1)
    recording = os.path.join(temporary, "trace")
    recorded = run([PCP_RR, "record", "-o", recording, "--", *words], temporary)
    if CASE in NOT_TRAPPED and NOT_TRAPPED[CASE] in alone.stdout:
        if NOT_TRAPPED[CASE] in recorded.stdout or b"counter 2 (0), faults" not in recorded.stdout:
            print(f"FAILED: recorded as the machine has it: {describe(recorded)}")
            sys.exit(1)
        alone = recorded
    require_same("recorded", alone, recorded)
    if b"pcp-rr: " in recorded.stderr:
        print(f"FAILED: the recorder said {recorded.stderr}")
        sys.exit(1)
    require_same("replayed", alone, run([PCP_RR, "replay", "-a", recording], "/"))
    events = last_event(recording)
    run([PCP_RR, "create-checkpoints", "-i", str(max(1, events // 4)), recording], "/")
    late = run([PCP_RR, "replay", "-a", "-g", str(events * 3 // 4), recording], "/")
    if b"checkpoint" in late.stderr or not alone.stdout.endswith(late.stdout):
        print(f"FAILED: from a checkpoint: {describe(late)}")
        sys.exit(1)
    print(f"{CASE}: {events} events, {len(alone.stdout)} bytes of output, three times the same")
