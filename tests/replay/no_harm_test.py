#!/usr/bin/env python3
"""What recorder and replayer must not do to others: leave processes behind, take signals' actions
away, show what was recorded to others, write outside of a trace, hang.

usage: no_harm_test.py PCP_RR FIXTURES END_AT_CALL_LIBRARY CASE
"""

import ctypes
import json
import os
import random
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import time

PCP_RR, FIXTURES, LIBRARY, CASE = sys.argv[1:5]
TIMEOUT = 300
PR_SET_CHILD_SUBREAPER = 36


def run(command, **options):
    return subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=TIMEOUT,
                          check=False, **options)


def check(condition, what, result=None):
    if not condition:
        print("FAILED:", what)
        if result is not None:
            print("status", result.returncode)
            print(result.stdout[-1000:].decode(errors="replace"))
            print(result.stderr[-1000:].decode(errors="replace"))
        sys.exit(1)


def fixture(name):
    return os.path.join(FIXTURES, name)


def leftovers():
    """Processes below this one; the ended ones are reaped. They come here when their parent ends."""
    with open(f"/proc/self/task/{os.getpid()}/children", encoding="ascii") as file:
        pids = [int(word) for word in file.read().split()]
    left = []
    for pid in pids:
        try:
            if os.waitpid(pid, os.WNOHANG)[0] == 0:
                with open(f"/proc/{pid}/stat", encoding="ascii") as file:
                    left.append(file.read())
        except OSError:
            pass
    return left


def require_none_left(what):
    # What was killed with its tracer needs a moment to end.
    deadline = time.monotonic() + 60
    while left := leftovers():
        if time.monotonic() > deadline:
            for line in left:
                os.kill(int(line.split()[0]), signal.SIGKILL)
            check(False, f"{what}: left behind: {left}")
        time.sleep(0.005)


COMMANDS = {
    "record": lambda trace: ["record", "-o", trace, "--", fixture("family"), "12"],
    "follow": lambda trace: ["record", "--self-check", "--checkpoint-interval", "40", "-o", trace,
                             "--", fixture("family"), "12"],
    "replay": lambda trace: ["replay", "-a", trace],
    "checkpoints": lambda trace: ["create-checkpoints", "-i", "60", trace],
    "rerun": lambda trace: ["rerun", "-s", "100", "-e", "120", "--singlestep", "ip", trace],
}


def trace_for(directory, name):
    """A fresh place to record in, or a recording."""
    trace = os.path.join(directory, "trace")
    shutil.rmtree(trace, ignore_errors=True)
    if name not in ("record", "follow"):
        recorded = os.path.join(directory, "recorded")
        if not os.path.exists(recorded):
            result = run([PCP_RR, *COMMANDS["record"](recorded)])
            check(result.returncode == 0, "recording", result)
        shutil.copytree(recorded, trace)
    return trace


def killed(directory, points):
    """Kills each command in several ways; after each, no process is left."""
    libc = ctypes.CDLL(None, use_errno=True)
    check(libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) == 0, "becoming a subreaper")
    generator = random.Random(20261130)
    for name, command in COMMANDS.items():
        count = os.path.join(directory, "count")
        environment = dict(os.environ, LD_PRELOAD=LIBRARY, END_COUNT=count)
        begun = time.monotonic()
        whole = run([PCP_RR, *command(trace_for(directory, name))], env=environment)
        duration = time.monotonic() - begun
        check(whole.returncode == 0, f"{name} is not done", whole)
        with open(count, encoding="ascii") as file:
            calls = int(file.read())
        check(calls > 20, f"{name} makes {calls} calls")
        require_none_left(f"{name}, undisturbed")
        # The first calls one by one: there processes come into being. Then here and there.
        at = sorted(set(range(1, points // 2)) |
                    set(generator.sample(range(1, calls + 1), min(points // 2, calls))))
        for number in at:
            environment["END_AT"] = str(number)
            result = run([PCP_RR, *command(trace_for(directory, name))], env=environment)
            check(result.returncode in (-signal.SIGKILL, 0), f"{name} at call {number}", result)
            require_none_left(f"{name}, killed at call {number} of {calls}")
        for _ in range(points):
            trace = trace_for(directory, name)
            with subprocess.Popen([PCP_RR, *command(trace)], stdin=subprocess.DEVNULL,
                                  stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
                time.sleep(generator.uniform(0, duration))
                process.kill()
            require_none_left(f"{name}, killed at some time")
        print(f"{name}: killed at {len(at)} of {calls} calls and at {points} instants, none left")


def killed_anywhere(directory):
    """A sample, for every run of the suite; RRPCP_ALL=1: 100 of each command, 500 in all."""
    killed(directory, 50 if os.environ.get("RRPCP_ALL") else 16)


def inherited_signals(directory):
    """What is ignored or blocked when a recording begins, is so for the program; and for it alone."""
    ways = [[], [signal.SIGHUP], [signal.SIGINT, signal.SIGQUIT], [signal.SIGPIPE, signal.SIGCHLD],
            [signal.SIGTERM, signal.SIGUSR1, signal.SIGTSTP, signal.SIGURG]]
    for number, ignored in enumerate(ways):
        def prepare(signals=ignored):
            for name in (signal.SIGPIPE, signal.SIGXFSZ):  # which Python ignores
                signal.signal(name, signal.SIG_DFL)
            for name in signals:
                signal.signal(name, signal.SIG_IGN)
            signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR2] if signals else [])

        options = {"preexec_fn": prepare, "restore_signals": False}
        native = run([fixture("ignored_signals")], **options)
        trace = os.path.join(directory, str(number))
        recorded = run([PCP_RR, "record", "-o", trace, "--", fixture("ignored_signals")], **options)
        check(recorded.returncode == 0 and recorded.stdout == native.stdout,
              f"{ignored}: natively {native.stdout}", recorded)
        replayed = run([PCP_RR, "replay", "-a", trace])
        check(replayed.returncode == 0 and replayed.stdout == native.stdout, "replay", replayed)


def signals_to_the_group(directory):
    """The recorder is in the program's process group, and survives what the program sends there."""
    native = run([fixture("group_signals")], start_new_session=True)
    check(native.returncode == 0 and b"still here" in native.stdout, "natively", native)
    trace = os.path.join(directory, "trace")
    recorded = run([PCP_RR, "record", "-o", trace, "--", fixture("group_signals")],
                   start_new_session=True)
    check(recorded.returncode == 0 and recorded.stdout == native.stdout,
          f"natively {native.stdout}", recorded)
    replayed = run([PCP_RR, "replay", "-a", trace])
    check(replayed.returncode == 0 and replayed.stdout == native.stdout, "replay", replayed)


def private(directory):
    """Nobody else can read what is in a trace, whatever the umask and whoever made the folder."""
    words = os.path.join(directory, "words")
    with open(words, "w", encoding="ascii") as file:
        file.write("b\na\n")
    for umask in (0o000, 0o022, 0o777):
        for made in (False, True):
            trace = os.path.join(directory, f"{umask:o}-{made}")
            if made:
                os.mkdir(trace)
                os.chmod(trace, 0o755)
            result = run([PCP_RR, "record", "-o", trace, "--", "/usr/bin/sort", words],
                         preexec_fn=lambda mask=umask: os.umask(mask))
            check(result.returncode == 0 and result.stdout == b"a\nb\n", f"umask {umask:o}", result)
            result = run([PCP_RR, "create-checkpoints", "-i", "20", trace],
                         preexec_fn=lambda mask=umask: os.umask(mask))
            check(result.returncode == 0, f"checkpoints, umask {umask:o}", result)
            seen = 0
            for folder, _, files in os.walk(trace):
                check(stat.S_IMODE(os.stat(folder).st_mode) == 0o700,
                      f"{folder} has mode {os.stat(folder).st_mode:o}")
                for name in files:
                    status = os.stat(os.path.join(folder, name))
                    if status.st_nlink == 1:  # else it is a file of the system by another name
                        check(status.st_mode & 0o077 == 0, f"{folder}/{name} is {status.st_mode:o}")
                    seen += 1
            check(seen >= 3, f"{seen} files in {trace}")


def linked_folders(directory):
    """A trace whose folders are links: nothing is written where they lead."""
    recorded = os.path.join(directory, "recorded")
    result = run([PCP_RR, "record", "-o", recorded, "--", "/bin/echo", "words"])
    check(result.returncode == 0, "recording", result)
    elsewhere = os.path.join(directory, "elsewhere")
    for folder, command in (("checkpoints", ["create-checkpoints", "-i", "10"]), ("files", ["pack"])):
        trace = os.path.join(directory, f"{folder}-linked")
        shutil.copytree(recorded, trace)
        shutil.rmtree(elsewhere, ignore_errors=True)
        if os.path.exists(os.path.join(trace, folder)):
            shutil.move(os.path.join(trace, folder), elsewhere)
        else:
            os.mkdir(elsewhere)
        with open(os.path.join(elsewhere, ".taking-1"), "w", encoding="ascii") as file:
            file.write("somebody's own")
        before = {name: os.stat(os.path.join(elsewhere, name)) for name in os.listdir(elsewhere)}
        os.symlink(elsewhere, os.path.join(trace, folder))
        result = run([PCP_RR, *command, trace])
        check(result.returncode not in (0, -signal.SIGSEGV), f"{command} goes through a link", result)
        check(b"link" in result.stderr, "the message does not say why", result)
        after = {name: os.stat(os.path.join(elsewhere, name)) for name in os.listdir(elsewhere)}
        check({name: (s.st_ino, s.st_mtime_ns) for name, s in before.items()} ==
              {name: (s.st_ino, s.st_mtime_ns) for name, s in after.items()},
              f"something was written through the link: {sorted(after)}")


def no_ptrace(directory):
    """Where ptrace is not allowed there is one line that says so, and no process and no trace."""
    trace = os.path.join(directory, "trace")
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    result = run([fixture("no_ptrace"), PCP_RR, "record", "-o", trace, "--", "/bin/echo", "a"])
    check(result.returncode == 4, "the exit code", result)
    text = result.stderr.decode()
    check(text.count("\n") == 1 and "seccomp" in text and "ptrace" in text, "the message", result)
    check(result.stdout == b"" and not os.path.exists(trace), "the program ran", result)
    require_none_left("without ptrace")


def checked(directory):
    """Digests are stored and compared; the recorder checks itself."""
    trace = os.path.join(directory, "trace")
    command = [fixture("family"), "8"]
    plain = run(command)
    result = run([PCP_RR, "record", "--checksum", "5", "--self-check", "-o", trace, "--", *command])
    check(result.returncode == 0 and result.stdout == plain.stdout, "recording", result)
    for options in (["--verify"], ["--verify", "--ignore-pcp"], []):
        replayed = run([PCP_RR, "replay", "-a", *options, trace])
        check(replayed.returncode == 0 and replayed.stdout == plain.stdout, "replay", replayed)
        if options:
            words = replayed.stderr.decode().split()
            check("compared" in words and int(words[words.index("compared") + 1]) >= 10,
                  "not much was compared", replayed)
    other = os.path.join(directory, "other")
    result = run([PCP_RR, "record", "-o", other, "--", "/bin/true"])
    check(result.returncode == 0, "recording", result)
    replayed = run([PCP_RR, "replay", "-a", "--verify", other])
    check(replayed.returncode == 0 and b"--checksum" in replayed.stderr, "nothing to verify", replayed)


def self_check(directory):
    """A recording that cannot be replayed is ended, with a message, while the program still runs."""
    trace = os.path.join(directory, "trace")
    # The file is mapped private and changed by nobody that is recorded: the program sees that, a
    # replay has what was there.
    words = os.path.join(directory, "words")
    with open(words, "wb") as file:
        file.write(b"A" * 8192)
    with subprocess.Popen(
            [PCP_RR, "record", "--self-check", "-o", trace, "--", fixture("watcher"), words],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as recorder:
        check(recorder.stdout.readline() == b"ready\n", "the program does not start")
        with open(words, "r+b") as file:
            file.seek(4096)
            file.write(b"B")
        begun = time.monotonic()
        recorder.stdin.write(b"go\n")
        recorder.stdin.flush()
        code = recorder.wait(TIMEOUT)
        text = recorder.stderr.read().decode()
    check(code == 1, f"exit code {code}: {text}")
    check("checking the recording" in text and "event" in text and "write" in text,
          f"the message: {text}")
    print(f"ended after {time.monotonic() - begun:.1f} s: {text}")
    dumped = run([PCP_RR, "dump", "--json", trace])
    check(json.loads(dumped.stdout)["events"], "nothing of the trace can be read", dumped)


CASES = [killed_anywhere, inherited_signals, signals_to_the_group, private, linked_folders, no_ptrace, checked, self_check]
with tempfile.TemporaryDirectory(prefix="pcp-rr-") as temporary:
    {case.__name__: case for case in CASES}[CASE](temporary)
print(CASE, "passed")
