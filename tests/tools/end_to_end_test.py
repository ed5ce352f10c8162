#!/usr/bin/python3
"""The main job on a real program: captured twice on its way, killed, restored, and the output compared.

usage: end_to_end_test.py BIN SUBJECTS PROGRAM

BIN is the folder of the pcp-* commands, SUBJECTS that of the compiled programs of the tests, PROGRAM one
of "python3", "sqlite3", "threads", "gdb", "terminal".
"""

import json
import os
import pty
import re
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
TICK = os.sysconf("SC_CLK_TCK")

SQL = """
PRAGMA cache_size = 200;
CREATE TABLE measured (id INTEGER PRIMARY KEY, name TEXT, value REAL);
SELECT 'filling';
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 100000)
  INSERT INTO measured SELECT i, printf('%08x', i * 2654435761 % 4294967296), i * 0.5 FROM n;
CREATE INDEX by_name ON measured (name);
SELECT 'filled', count(*), sum(value) FROM measured;
SELECT a.id, b.name FROM measured a JOIN measured b ON b.id = a.id * 7919 % 100000 + 1
  WHERE a.name LIKE '00%' ORDER BY b.name;
SELECT count(*), sum(length(a.name || b.name)) FROM measured a JOIN measured b ON b.name > a.name
  WHERE a.id % 1000 = 0 AND b.id % 20 = 0;
PRAGMA integrity_check;
"""


class Failed(Exception):
    pass


class TooLate(Failed):
    """The program had come to its end before it was captured."""


def check(condition, message):
    if not condition:
        raise Failed(message)


class Program:
    """A command in a folder of its own, without any descriptor that leads out of it."""

    def __init__(self, arguments, stdin, folder):
        self.folder = folder
        self.path = lambda name: os.path.join(folder, name)
        with open(self.path("output"), "wb") as output, open(self.path("errors"), "wb") as errors, \
                open(stdin, "rb") as source:
            self.process = subprocess.Popen(arguments, stdin=source, stdout=output, stderr=errors,
                                            cwd=folder, close_fds=True, start_new_session=True)

    def output(self):
        with open(self.path("output"), "rb") as file:
            return file.read()

    def errors(self):
        with open(self.path("errors"), "r", errors="replace") as file:
            return file.read()


def has_ended(pid):
    try:
        with open("/proc/%d/stat" % pid) as file:
            return file.read().rsplit(")", 1)[1].split()[0] in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return True


def processor_seconds(pid):
    with open("/proc/%d/stat" % pid) as file:
        fields = file.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / TICK


def wait_for_work(pid, seconds):
    """Until the process has used that much processor time since it was made. The same work takes more of
    it or less, as other programs use the processor: it may come to its end before."""
    while processor_seconds(pid) < seconds:
        if has_ended(pid):
            raise TooLate("it ended after %.2f s of work" % processor_seconds(pid))
        time.sleep(0.002)


def run(arguments):
    done = subprocess.run(arguments, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, text=True, check=False)
    check(done.returncode == 0, "%s: %d: %s" % (" ".join(arguments), done.returncode, done.stderr))
    return done.stdout


def commands(bin_folder):
    return lambda name: os.path.join(bin_folder, name)


def start_python(folder, _):
    with open(os.path.join(folder, "input"), "wb") as file:
        state = 1
        block = bytearray()
        for _ in range(200000):
            state = state * 6364136223846793005 + 1442695040888963407 & (1 << 64) - 1
            block += state.to_bytes(8, "little")
        file.write(block)
    script = os.path.join(HERE, "..", "demo", "long_computation.py")
    return Program(["/usr/bin/python3", script, "input", "progress", "40000"], "/dev/null", folder)


def start_sqlite(folder, _):
    source = os.path.join(folder, "script.sql")
    with open(source, "w") as file:
        file.write(SQL)
    return Program(["/usr/bin/sqlite3", "-batch", "test.db"], source, folder)


def start_threads(folder, subjects):
    return Program([os.path.join(subjects, "process_computation"), "8", "800"], "/dev/null", folder)


def undisturbed(start, subjects):
    with tempfile.TemporaryDirectory(prefix="rrpcp-test-") as folder:
        program = start(folder, subjects)
        _, status, usage = os.wait4(program.process.pid, 0)
        program.process.returncode = status
        check(status == 0, "the undisturbed run ended with %d: %s" % (status, program.errors()))
        return program.output(), usage.ru_utime + usage.ru_stime


def capture_and_kill(tool, pid, file, profile):
    try:
        result = json.loads(run([tool("pcp-capture"), str(pid), "-o", file, "--profile", profile,
                                 "--kill", "--json"]))
    except Failed:
        if has_ended(pid):
            raise TooLate("it ended while it was to be captured") from None
        raise
    run([tool("pcp-validate"), "--quiet", file])
    return result


def test_program(name, tool, subjects):
    start = {"python3": start_python, "sqlite3": start_sqlite, "threads": start_threads}[name]
    expected, seconds = undisturbed(start, subjects)
    for profile in ("raw", "default"):
        # A third of its work, and a third again; less where that is more than it takes this time.
        for share in (3, 6, 12, 24):
            try:
                test_profile(name, tool, subjects, profile, start, expected, seconds / share)
                break
            except TooLate as late:
                print("%s, %s: once more, because %s" % (name, profile, late))
                check(share != 24, "it was always captured too late")


def check_not_done(program, expected):
    if program.output() == expected:
        raise TooLate("it was captured when it had done all")


def test_profile(name, tool, subjects, profile, start, expected, work):
    with tempfile.TemporaryDirectory(prefix="rrpcp-test-") as folder, \
            tempfile.TemporaryDirectory(prefix="rrpcp-test-") as checkpoints:
        first = os.path.join(checkpoints, "first.pcp")
        second = os.path.join(checkpoints, "second.pcp")
        program = start(folder, subjects)
        pid = program.process.pid
        try:
            wait_for_work(pid, work)
            captured = capture_and_kill(tool, pid, first, profile)
            program.process.wait()
            check_not_done(program, expected)
            # Stopped, continued, and captured once more.
            restored = json.loads(run([tool("pcp-restore"), first, "--json"]))
            check(restored["pid"] == pid, "it has another id: %r" % restored)
            check(len(restored["tids"]) == int(captured["tasks"]), "it has other threads")
            os.kill(pid, signal.SIGCONT)
            wait_for_work(pid, work)
            capture_and_kill(tool, pid, second, profile)
            check_not_done(program, expected)
            wait_until_gone(pid)
            # To the end.
            done = subprocess.run([tool("pcp-restore"), "--run", second], check=False,
                                  stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                  stderr=subprocess.STDOUT, text=True)
            check(done.returncode == 0, "it ended with %d: %s%s" % (done.returncode, done.stdout,
                                                                   program.errors()))
            check(done.stdout == "", "pcp-restore --run said: " + done.stdout)
            check(program.output() == expected, "the output differs: %r" % program.output()[-400:])
            check(program.errors() == "", program.errors())
            print("%s, %s: %d threads, %d mappings, %d bytes; the output is that of the "
                  "undisturbed run" % (name, profile, int(captured["tasks"]),
                                       int(captured["mappings"]), int(captured["fileBytes"])))
        except TooLate as late:
            check(program.output() == expected and program.errors() == "",
                  "%s, and had not done its work: %s" % (late, program.errors()))
            raise
        finally:
            kill(pid)


def wait_until_gone(pid):
    while os.path.exists("/proc/%d" % pid):
        try:
            os.waitpid(pid, os.WNOHANG)
        except ChildProcessError:
            pass
        time.sleep(0.002)


def kill(pid):
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        pass


GDB_NAMES = ["rax", "rbx", "rcx", "rdx", "rsi", "rdi", "rbp", "rsp", "r8", "r9", "r10", "r11", "r12", "r13",
             "r14", "r15", "rip", "eflags", "cs", "ss", "ds", "es", "fs", "gs", "fs_base", "gs_base", "mxcsr"]


GDB_SCRIPT = """
import gdb
for thread in gdb.selected_inferior().threads():
    thread.switch()
    print("lwp=%%#x" %% thread.ptid[1])
    for name in %r:
        print(name + "=" + gdb.selected_frame().read_register(name).format_string(format="x"))
"""


def test_gdb(tool, subjects):
    """gdb sees in a restored, stopped process what the checkpoint says."""
    with tempfile.TemporaryDirectory(prefix="rrpcp-test-") as folder, \
            tempfile.TemporaryDirectory(prefix="rrpcp-test-") as checkpoints:
        file = os.path.join(checkpoints, "program.pcp")
        program = start_threads(folder, subjects)
        pid = program.process.pid
        try:
            wait_for_work(pid, 0.05)
            capture_and_kill(tool, pid, file, "default")
            program.process.wait()
            said = json.loads(run([tool("pcp-inspect"), "regs", file, "--json"]))
            run([tool("pcp-restore"), file])
            script = os.path.join(checkpoints, "registers.py")
            with open(script, "w") as out:
                out.write(GDB_SCRIPT % GDB_NAMES)
            output = run(["/usr/bin/gdb", "-nx", "-batch", "-p", str(pid), "-x", script,
                          "-ex", "thread apply all backtrace"])
            seen = {}
            for line in output.splitlines():
                match = re.match(r"(\w+)=(0x[0-9a-f]+)$", line)
                if match and match[1] == "lwp":
                    registers = seen.setdefault(int(match[2], 16), {})
                elif match:
                    registers[match[1]] = int(match[2], 16)
            check(len(seen) == 9, "gdb sees %d threads: %s" % (len(seen), output[-3000:]))
            compare_registers(said, seen)
            check(len(re.findall(r"\bcompute \(", output)) >= 8, "no backtrace: " + output[-3000:])
            print("gdb: registers of %d threads are those of the checkpoint" % len(seen))
            os.kill(pid, signal.SIGCONT)
            wait_until_gone(pid)
            check(program.output().endswith(b"done\n"), "it did not come to its end")
        finally:
            kill(pid)


def compare_registers(said, seen):
    compared = 0
    for task in said["tasks"]:
        stored = {}
        for one in task["sets"]:
            stored.update((name, int(value)) for name, value in one["registers"].items()
                          if name in GDB_NAMES)
        for name, value in seen[task["tid"]].items():
            if name == "rax" and stored["rax"] == (1 << 64) - 516:
                continue  # a call to be restarted is told so in another way
            check(stored[name] == value, "thread %d: %s is %#x instead of %#x"
                  % (task["tid"], name, value, stored[name]))
            compared += 1
    check(compared > 8 * 20, "only %d registers were compared" % compared)


ASKING = """
import os, sys
open("ready", "w").close()
line = sys.stdin.readline()
print("read " + line.strip() + " as leader %d" % (os.getsid(0) == os.getpid()), flush=True)
sys.stdin.readline()
"""


class Terminal:
    """Runs a command in a terminal of its own, as its session's leader."""

    def __init__(self, arguments, folder):
        self.text = ""
        self.pid, self.master = pty.fork()
        if self.pid == 0:
            os.chdir(folder)
            os.closerange(3, 1024)
            os.execv(arguments[0], arguments)

    def type(self, text):
        os.write(self.master, text.encode())

    def read(self, timeout):
        """What comes within that many seconds; False at the end."""
        if not select.select([self.master], [], [], timeout)[0]:
            return True
        try:
            data = os.read(self.master, 65536)
        except OSError:
            return False
        self.text += data.decode(errors="replace")
        return data != b""

    def wait_for_text(self, text):
        while text not in self.text:
            check(self.read(60), "no '%s' in '%s'" % (text, self.text))

    def wait(self):
        while self.read(60):
            pass
        return os.waitpid(self.pid, 0)[1]


def test_terminal(tool, subjects):
    """A program that talks to a terminal goes on in another one; and a terminal is shown how far it is."""
    with tempfile.TemporaryDirectory(prefix="rrpcp-test-") as folder, \
            tempfile.TemporaryDirectory(prefix="rrpcp-test-") as checkpoints:
        file = os.path.join(checkpoints, "asking.pcp")
        first = Terminal(["/usr/bin/python3", "-c", ASKING], folder)
        while not os.path.exists(os.path.join(folder, "ready")):
            first.read(0.01)
        refused = subprocess.run([tool("pcp-capture"), str(first.pid), "-o", file], check=False,
                                 capture_output=True, text=True)
        check(refused.returncode == 6 and "--allow terminal" in refused.stderr, repr(refused))
        run([tool("pcp-capture"), str(first.pid), "-o", file, "--allow", "terminal", "--kill"])
        first.wait()
        for keys, status in (("and more\n", 0), ("\x03", signal.SIGINT)):
            second = Terminal([tool("pcp-restore"), "--run", "--allow", "terminal", file], folder)
            second.wait_for_text("warning: ")
            second.type("hello\n")
            second.wait_for_text("read hello as leader 1")
            second.type(keys)
            ended = second.wait()
            if status == 0:
                check(ended == 0, "it ended with %d: %s" % (ended, second.text))
            else:
                check(ended != 0 and "KeyboardInterrupt" in second.text, second.text)
        # Progress on a terminal, none into a file.
        os.unlink(os.path.join(folder, "ready"))
        program = Program([os.path.join(subjects, "fixtures", "fixture-large"), folder], "/dev/null",
                          folder)
        try:
            while not os.path.exists(os.path.join(folder, "ready")):
                time.sleep(0.01)
            capture = [tool("pcp-capture"), str(program.process.pid), "-o", file, "--profile", "small"]
            shown = Terminal(capture, folder)
            check(shown.wait() == 0, shown.text)
            check(re.search(r"Capturing process \d+: \d+ % \(.* of .*\), .*/s", shown.text), shown.text)
            quiet = Terminal(capture + ["--quiet"], folder)
            check(quiet.wait() == 0 and quiet.text == "", quiet.text)
            done = subprocess.run(capture, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, check=True)
            check(done.stderr == b"", repr(done.stderr))
        finally:
            kill(program.process.pid)
            program.process.wait()
        print("terminal: two conversations went on, and the progress was shown")


def main(arguments):
    bin_folder, subjects = [os.path.abspath(folder) for folder in arguments[:2]]
    program = arguments[2]
    tool = commands(bin_folder)
    try:
        libc_subreaper()
        if program == "gdb":
            test_gdb(tool, subjects)
        elif program == "terminal":
            test_terminal(tool, subjects)
        else:
            check(program == "threads" or shutil.which(program), program + " is not installed")
            test_program(program, tool, subjects)
    except Failed as failure:
        print("FAILED: %s" % failure)
        return 1
    return 0


def libc_subreaper():
    """What pcp-restore leaves behind becomes our child, so that its end can be seen."""
    import ctypes
    pr_set_child_subreaper = 36
    check(ctypes.CDLL(None).prctl(pr_set_child_subreaper, 1, 0, 0, 0) == 0, "prctl failed")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
