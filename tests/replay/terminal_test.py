#!/usr/bin/env python3
"""An interactive shell with job control on a terminal of its own is recorded and replayed.

usage: terminal_test.py PCP_RR
"""

import os
import pty
import select
import subprocess
import sys
import tempfile
import time

PCP_RR = sys.argv[1]
TIMEOUT = 300

# What is typed once the terminal has shown the words. The shell computes some of the words, because
# what is typed is shown as well.
DIALOGUE = [
    (b"ready> ", b"echo job $((40 + 2)); sleep 1000\n"),
    (b"job 42\r\n", b"\x1a"),  # ^Z; the shell has to wait for the job: see below
    (b"Stopped", b""),
    (b"ready> ", b"jobs; bg; jobs\n"),
    (b"Running", b""),
    (b"ready> ", b"echo again $((40 + 3)); fg\n"),
    (b"again 43\r\n", b""),
    (b"sleep 1000\r\n", b"\x03"),  # ^C
    (b"ready> ", b"echo status $?\n"),
    (b"status 130\r\n", b""),
    (b"ready> ", b"echo opened $((40 + 4)) > /dev/tty\n"),
    (b"opened 44\r\n", b""),
    (b"ready> ", b"exit 7\n"),
]


def fail(what, seen):
    print(f"FAILED: {what}\n{seen.decode(errors='replace')}")
    sys.exit(1)


def converse(master):
    """Has the dialogue, and returns all that the terminal showed."""
    seen = b""
    place = 0
    deadline = time.monotonic() + TIMEOUT
    for words, typed in DIALOGUE:
        while words not in seen[place:]:
            if not select.select([master], [], [], max(0.0, deadline - time.monotonic()))[0]:
                fail(f"{words} did not come", seen)
            try:
                seen += os.read(master, 65536)
            except OSError:
                fail(f"the shell ended before {words}", seen)
        place = seen.index(words, place) + len(words)
        while typed in (b"\x1a", b"\x03") and not foreground_sleeps(master):
            if time.monotonic() > deadline:
                fail("no job runs in the foreground", seen)
            time.sleep(0.02)
        os.write(master, typed)
    while True:
        try:
            piece = os.read(master, 65536)
        except OSError:  # EIO: nobody has the terminal open
            return seen
        if not piece:
            return seen
        seen += piece


def foreground_sleeps(master):
    """Whether sleep(1) has the terminal, so that a typed signal reaches it and not the shell."""
    try:
        with open(f"/proc/{os.tcgetpgrp(master)}/comm", encoding="ascii") as file:
            return file.read() == "sleep\n"
    except OSError:
        return False


def main():
    with tempfile.TemporaryDirectory(prefix="pcp-rr-") as directory:
        trace = os.path.join(directory, "trace")
        pid, master = pty.fork()
        if pid == 0:
            os.environ["PS1"] = "ready> "
            os.environ["HISTFILE"] = "/dev/null"
            os.environ["TERM"] = "dumb"
            os.execv(PCP_RR, [PCP_RR, "record", "-o", trace, "--", "bash", "--norc",
                              "--noprofile", "--noediting", "-i"])
        seen = converse(master)
        os.close(master)
        status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        if status != 7:
            fail(f"the shell ended with {status}", seen)
        for _ in range(3):
            replayed = subprocess.run([PCP_RR, "replay", "-a", trace], stdin=subprocess.DEVNULL,
                                      capture_output=True, timeout=TIMEOUT, check=False)
            said = replayed.stdout + replayed.stderr
            if replayed.returncode != 7:
                fail(f"the replay ended with {replayed.returncode}", said)
            for words in (b"job 42", b"Stopped", b"Running", b"again 43", b"status 130", b"opened 44"):
                if words not in said:
                    fail(f"the replay does not show {words}", said)
        print(f"a dialogue of {len(DIALOGUE)} steps, {len(seen)} bytes shown, 3 replays")


main()
