#!/usr/bin/env python3
"""What the kernel keeps of a process comes back, is refused, or is told: with the real commands.

kernel_state_test.py BIN SUBJECT SPEC [NAME…]

NAME is one of `each` (every state of the subject alone), `segments` (System V segments), `random` (random combinations of them: what
capture takes, validate and restore take too, and a second capture finds the same), `table` (the table
of spec/restore.md names everything that the running kernel shows). All without a name.
RRPCP_SEED and RRPCP_CASES choose the random combinations.
"""
import ctypes
import glob
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import unittest

BIN, SUBJECT, SPEC = sys.argv[1:4]
UNSUPPORTED = 6
PATIENCE = 60


def run(tool, *arguments, **options):
    return subprocess.run([os.path.join(BIN, tool), *arguments], stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=PATIENCE * 3,
                          **options)


def states():
    listed = subprocess.run([SUBJECT, "--list"], stdout=subprocess.PIPE, text=True, check=True).stdout
    return [tuple(line.split()) for line in listed.splitlines()]


def wait_for(condition, what):
    end = time.monotonic() + PATIENCE
    while not condition():
        if time.monotonic() > end:
            raise AssertionError("waited in vain for " + what)
        time.sleep(0.01)


LIBC = ctypes.CDLL(None, use_errno=True)
LIBC.shmat.restype = ctypes.c_void_p
LIBC.shmat.argtypes = [ctypes.c_int, ctypes.c_void_p, ctypes.c_int]
LIBC.shmdt.argtypes = [ctypes.c_void_p]


def find_segment(key):
    return LIBC.shmget(key, 0, 0)


def remove_segment(key):
    if find_segment(key) >= 0:
        LIBC.shmctl(find_segment(key), 0, None)


def segment_bytes(key, write=None):
    """The first bytes of a segment, which gets other ones with `write`."""
    memory = LIBC.shmat(find_segment(key), None, 0)
    if write is not None:
        ctypes.memmove(memory, write, len(write))
    content = ctypes.string_at(memory, 8)
    LIBC.shmdt(memory)
    return content


class Subject:
    """The program in some states, in a directory of its own."""

    def __init__(self, names, wrapper=(), program=SUBJECT):
        self.directory = tempfile.mkdtemp(prefix="kernel-state-")
        os.chmod(self.directory, 0o777)
        self.process = subprocess.Popen(
            [*wrapper, program, self.directory, ",".join(names)], stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True, close_fds=True)
        self.pid = self.process.pid
        wait_for(lambda: self.has("ready") or self.process.poll() is not None, "the subject")
        if not self.has("ready"):
            raise AssertionError("the subject ended with %s" % self.process.returncode)
        self.there = self.read("ready").split()

    def __enter__(self):
        return self

    def __exit__(self, *unused):
        self.kill()
        shutil.rmtree(self.directory, ignore_errors=True)
        remove_segment(self.segment_key())

    def segment_key(self):
        return 0x50000000 | self.pid  # as the subject makes it

    def path(self, name):
        return os.path.join(self.directory, name)

    def has(self, name):
        return os.path.exists(self.path(name))

    def read(self, name):
        with open(self.path(name)) as file:
            return file.read()

    def finish(self):
        """Lets the program, or what was restored of it, look once more; returns what it found."""
        open(self.path("finish"), "w").close()
        wait_for(lambda: self.has("result"), "the result")
        return self.read("result")

    def kill(self):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()

    def alive(self):
        return self.process.poll() is None

    def restore(self, file, *options):
        """Runs pcp-restore --run in the background; returns the command."""
        return subprocess.Popen([os.path.join(BIN, "pcp-restore"), "--run", *options, file],
                                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                                text=True)


# What two captures of one state need not have in common (spec/restore.md "What differs").
FLEETING = {"clocks", "createdAt", "frozenNanoseconds", "parentPid", "sessionId", "processGroup", "inode", "device",
            "id", "chunkPages", "pageCount", "remaining", "runs", "first", "controlGroups", "registers",
            "value", "peer", "omissions", "digests", "modifiedAt", "start", "end", "mappings", "fileOffset",
            "pendingSignals", "namespaces", "namespaceSets", "resourceLimits", "memoryObjects", "object", "auxv"}


def without_fleeting(value):
    if isinstance(value, dict):
        # What has no name is made again without one.
        if value.get("deleted"):
            value = {key: item for key, item in value.items() if key != "path"}
        if value.get("regular", {}).get("deleted"):
            value = {key: item for key, item in value.items() if key != "flags"}
        return {key: without_fleeting(item) for key, item in value.items() if key not in FLEETING}
    if isinstance(value, list):
        return [without_fleeting(item) for item in value]
    return value


def state_of(file):
    return without_fleeting(json.loads(run("pcp-inspect", "--json", file).stdout)["manifest"]["state"])


class Each(unittest.TestCase):
    def test_every_state(self):
        for expected, name in states():
            with self.subTest(name), Subject([name]) as subject:
                if not subject.there:
                    continue  # not on this machine
                file = subject.path("one.pcp")
                captured = run("pcp-capture", str(subject.pid), "-o", file, "--kill", "-q")
                if expected == "refused":
                    self.assertEqual(captured.returncode, UNSUPPORTED, captured.stdout)
                    self.assertTrue(subject.alive())
                    self.assertEqual(subject.finish(), "ok\n")
                    continue
                self.assertEqual(captured.returncode, 0, captured.stdout)
                subject.process.wait()
                restore = subject.restore(file)
                result = subject.finish()
                # The number of a private segment may be another's by now.
                output = "".join(line for line in restore.communicate(timeout=PATIENCE)[0].splitlines(True)
                                 if not ("(key 0x00000000) has the identifier" in line))
                self.assertEqual((result, output), ("ok\n", ""))

    def test_what_was_allowed_is_told_again(self):
        with Subject(["filter-that-asks"]) as subject:
            file = subject.path("one.pcp")
            captured = run("pcp-capture", str(subject.pid), "-o", file, "--kill", "--allow", "seccomp")
            self.assertEqual(captured.returncode, 0, captured.stdout)
            subject.process.wait()
            refused = run("pcp-restore", file)
            self.assertEqual(refused.returncode, UNSUPPORTED, refused.stdout)
            restore = subject.restore(file, "--allow", "seccomp")
            subject.finish()
            self.assertIn("is confined by a filter that asks another process",
                          restore.communicate(timeout=PATIENCE)[0])

    def test_a_stopped_process_stays_stopped(self):
        with Subject(["timer-slack"]) as subject:
            os.kill(subject.pid, signal.SIGSTOP)
            state = lambda: open("/proc/%d/stat" % subject.pid).read().rsplit(")", 1)[1].split()[0]
            wait_for(lambda: state() == "T", "the stop")
            file = subject.path("one.pcp")
            self.assertEqual(run("pcp-capture", str(subject.pid), "-o", file, "--kill", "-q").returncode, 0)
            subject.process.wait()
            restore = subject.restore(file)
            wait_for(lambda: os.path.exists("/proc/%d" % subject.pid) and state() == "T", "the stop")
            os.kill(subject.pid, signal.SIGCONT)
            self.assertEqual(subject.finish(), "ok\n")
            restore.communicate(timeout=PATIENCE)

    def test_another_user_namespace_gives_no_rights(self):
        wrapper = ("setpriv", "--reuid", "1234", "--regid", "1234", "--clear-groups", "unshare", "-U", "-r")
        if subprocess.run([*wrapper, "true"], stderr=subprocess.DEVNULL).returncode != 0:
            self.skipTest("no user namespaces")
        with Subject(["timer-slack"], wrapper) as subject:
            file = subject.path("one.pcp")
            captured = run("pcp-capture", str(subject.pid), "-o", file)
            self.assertEqual(captured.returncode, UNSUPPORTED, captured.stdout)
            self.assertIn("user", captured.stdout)
            captured = run("pcp-capture", str(subject.pid), "-o", file, "--allow", "namespaces", "--kill")
            self.assertEqual(captured.returncode, 0, captured.stdout)
            subject.process.wait()
            self.assertEqual(run("pcp-restore", file).returncode, UNSUPPORTED)
            restore = subject.restore(file, "--allow", "namespaces")
            wait_for(lambda: os.path.exists("/proc/%d/status" % subject.pid), "the process")
            time.sleep(0.5)
            status = open("/proc/%d/status" % subject.pid).read()
            self.assertIn("Uid:\t1234\t1234\t1234\t1234", status)
            for name in "CapPrm", "CapEff", "CapBnd", "CapAmb":
                self.assertIn(name + ":\t0000000000000000", status)
            subject.finish()
            restore.communicate(timeout=PATIENCE)

    def test_clocks_go_on(self):
        wrapper = ("unshare", "-T", "--monotonic", "100000", "--boottime", "200000", "--fork", "--kill-child")
        if subprocess.run([*wrapper, "true"], stderr=subprocess.DEVNULL).returncode != 0:
            self.skipTest("no time namespaces")
        with Subject(["timer-slack"], wrapper) as subject:
            child = int(subprocess.run(["pgrep", "-P", str(subject.pid)], stdout=subprocess.PIPE,
                                       text=True).stdout.split()[0])
            file = subject.path("one.pcp")
            captured = run("pcp-capture", str(child), "-o", file, "--kill")
            self.assertEqual(captured.returncode, 0, captured.stdout)
            subject.process.wait()
            restore = subject.restore(file)
            wait_for(lambda: os.path.exists("/proc/%d/timens_offsets" % child), "the process")
            time.sleep(0.5)
            offsets = open("/proc/%d/timens_offsets" % child).read().split()
            self.assertEqual((offsets[1], offsets[4]), ("100000", "200000"))
            subject.finish()
            self.assertEqual(restore.communicate(timeout=PATIENCE)[0], "")


class Segments(unittest.TestCase):
    """A System V segment outlives its process: nobody else's work in it is lost, and none is left."""

    def setUp(self):
        directory = tempfile.mkdtemp(prefix="kernel-state-")
        self.addCleanup(shutil.rmtree, directory)
        self.program = shutil.copy(SUBJECT, directory)
        self.subject = Subject(["segment", "large-reserve"], program=self.program)
        self.addCleanup(self.subject.__exit__, None, None, None)
        self.key = self.subject.segment_key()
        self.file = self.subject.path("one.pcp")
        captured = run("pcp-capture", str(self.subject.pid), "-o", self.file, "--kill")
        self.assertEqual(captured.returncode, 0, captured.stdout)
        self.subject.process.wait()

    def test_what_others_wrote_is_not_overwritten(self):
        segment_bytes(self.key, b"newer...")
        refused = run("pcp-restore", self.file)
        self.assertNotEqual(refused.returncode, 0)
        self.assertIn("was written to since the checkpoint was made", refused.stdout)
        self.assertEqual(segment_bytes(self.key), b"newer...")
        restore = self.subject.restore(self.file, "--allow", "segment")
        self.assertEqual(self.subject.finish(), "ok\n")
        restore.communicate(timeout=PATIENCE)

    def test_a_refusal_for_another_reason_touches_nothing(self):
        segment_bytes(self.key, b"newer...")
        os.rename(self.program, self.program + ".away")
        try:
            refused = run("pcp-restore", self.file, "--allow", "segment")
        finally:
            os.rename(self.program + ".away", self.program)
        self.assertNotEqual(refused.returncode, 0)
        self.assertEqual(segment_bytes(self.key), b"newer...")

    def fail(self):
        failed = subprocess.run(["prlimit", "--as=%d" % (16 << 30), os.path.join(BIN, "pcp-restore"), "--allow",
                                 "segment", self.file], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                stderr=subprocess.STDOUT, text=True, timeout=PATIENCE)
        self.assertNotEqual(failed.returncode, 0)
        self.assertIn("failed in the new process", failed.stdout)

    def test_a_failed_restore_leaves_no_segment(self):
        remove_segment(self.key)
        self.fail()
        self.assertEqual(find_segment(self.key), -1)

    def test_a_failed_restore_puts_back_what_was_there(self):
        segment_bytes(self.key, b"newer...")
        self.fail()
        self.assertEqual(segment_bytes(self.key), b"newer...")


class Random(unittest.TestCase):
    def test_what_capture_takes_restore_takes(self):
        seed = int(os.environ.get("RRPCP_SEED", "20260101"))
        count = int(os.environ.get("RRPCP_CASES", "12"))
        choose = random.Random(seed)
        everything = states()
        carried = [name for expected, name in everything if expected == "carried"]
        refused = [name for expected, name in everything if expected == "refused"]
        for case in range(count):
            names = choose.sample(carried, choose.randint(1, len(carried)))
            if choose.random() < 0.3:
                names += choose.sample(refused, 1)
            with self.subTest(seed=seed, case=case, states=",".join(names)), Subject(names) as subject:
                self.check(subject, set(subject.there) & set(refused))

    def check(self, subject, expected_refusals):
        file = subject.path("one.pcp")
        captured = run("pcp-capture", str(subject.pid), "-o", file, "--kill", "-q")
        if captured.returncode == UNSUPPORTED:
            self.assertTrue(expected_refusals, captured.stdout)
            self.assertTrue(subject.alive())
            self.assertFalse(os.path.exists(file))
            self.assertEqual(subject.finish(), "ok\n")
            return
        self.assertEqual(captured.returncode, 0, captured.stdout)
        self.assertFalse(expected_refusals, "capture took what it has to refuse")
        subject.process.wait()
        validated = run("pcp-validate", "-q", file)
        self.assertEqual(validated.returncode, 0, validated.stdout)
        restored = run("pcp-restore", file)
        self.assertEqual(restored.returncode, 0, restored.stdout)
        try:
            again = subject.path("again.pcp")
            captured = run("pcp-capture", str(subject.pid), "-o", again, "-q")
            self.assertEqual(captured.returncode, 0, captured.stdout)
            first, second = state_of(file), state_of(again)
            for process in first["processes"] + second["processes"]:
                process.pop("stopSignal")
            self.assertEqual(first, second)
            os.kill(subject.pid, signal.SIGCONT)
            self.assertEqual(subject.finish(), "ok\n")
        finally:
            try:
                os.kill(subject.pid, signal.SIGKILL)
            except ProcessLookupError:
                pass


class Table(unittest.TestCase):
    """spec/restore.md names every entry that the running kernel shows."""

    @classmethod
    def setUpClass(cls):
        with open(os.path.join(SPEC, "restore.md")) as page:
            text = page.read()
        table = text[text.index("## Everything that the kernel keeps"):]
        table = table[:table.index("\n## ", 5)]
        cls.rows = [row for row in table.splitlines() if row.startswith("| ")]
        cls.names = set()
        for row in cls.rows:
            cls.names.update(re.findall("`([^`]+)`", row.split("|")[2]))

    def expect(self, found, what):
        self.assertTrue(found)
        self.assertEqual(sorted(set(found) - self.names), [], "%s that the table does not name" % what)

    def test_status(self):
        with open("/proc/self/status") as file:
            self.expect([line.split(":")[0] for line in file], "entries of /proc/PID/status")

    def test_flags_of_mappings(self):
        found = set()
        for path in glob.glob("/proc/[0-9]*/smaps"):
            try:
                with open(path) as file:
                    for line in file:
                        if line.startswith("VmFlags:"):
                            found.update(line.split()[1:])
            except OSError:
                pass  # it ended, or is another user's
        self.expect(found, "VmFlags")

    def test_descriptors(self):
        import select
        import socket
        libc = ctypes.CDLL(None)
        descriptors = [os.open("/dev/null", os.O_RDONLY), os.memfd_create("x"), libc.eventfd(0, 0),
                       libc.timerfd_create(1, 0), libc.inotify_init(), os.pidfd_open(os.getpid())]
        mask = ctypes.create_string_buffer(8)
        descriptors.append(libc.syscall(289, -1, mask, 8, 0))  # signalfd4
        libc.inotify_add_watch(descriptors[4], b"/tmp", 0x100)
        poll = select.epoll()
        poll.register(descriptors[2])
        pair = socket.socketpair()
        found = set()
        for fd in [*descriptors, poll.fileno(), pair[0].fileno(), *os.pipe()]:
            with open("/proc/self/fdinfo/%d" % fd) as file:
                for line in file:
                    key = line.split(":")[0] if ":" in line else line.split()[0]
                    found.add(key.split()[0] if key.split()[0] in ("inotify", "fanotify") else key.strip())
        self.expect(found, "entries of fdinfo")

    def test_prctl(self):
        header = "/usr/include/linux/prctl.h"
        if not os.path.exists(header):
            self.skipTest("no kernel headers")
        with open(header) as file:
            found = set(re.findall(r"#\s*define\s+(PR_GET_[A-Z0-9_]+|PR_[A-Z_]+_GET)\s", file.read()))
        # The names of operations within one call, and of values.
        found -= {"PR_SCHED_CORE_GET", "PR_GET_TSC_ENABLE"}
        self.expect(found, "attributes of prctl(2)")


if __name__ == "__main__":
    if os.geteuid() != 0:
        print("needs root: other users, capabilities, namespaces")
        sys.exit(77)
    wanted = [name.capitalize() for name in sys.argv[4:]] or ["Each", "Segments", "Random", "Table"]
    unittest.main(argv=[sys.argv[0], "-v", *wanted])
