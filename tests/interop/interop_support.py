"""What the tests of this folder share: real programs, captured, restored, and looked at with gdb."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time

ALL = bool(os.environ.get("RRPCP_ALL"))


class Failed(Exception):
    pass


def check(condition, message):
    if not condition:
        raise Failed(message)


def run(arguments, expected=0, timeout=300, **more):
    done = subprocess.run(arguments, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, text=True, errors="replace", check=False,
                          timeout=timeout, **more)
    check(expected is None or done.returncode == expected,
          "%s: %d: %s%s" % (" ".join(arguments), done.returncode, done.stdout[-2000:],
                            done.stderr[-2000:]))
    return done


def gdb(arguments, commands, program=None):
    line = ["gdb", "-nx", "-batch", "-q", "-iex", "set debuginfod enabled off",
            "-iex", "set pagination off", "-iex", "set width 0", "-iex", "set height 0",
            "-iex", "set auto-load off", "-iex", "set print frame-arguments none",
            "-iex", "set print entry-values no", "-iex", "set backtrace past-main off"]
    for command in commands:
        line += ["-ex", "echo @@%s\\n" % command.replace('"', ""), "-ex", command]
    if program:
        line.append(program)
    out = run(line + arguments, expected=None).stdout
    parts = {}
    for part in re.split(r"^@@", out, flags=re.M)[1:]:
        name, _, text = part.partition("\n")
        parts[name] = text
    return parts


class Subject:
    """A running program that ends with the test, and whatever is restored of it."""

    def __init__(self, arguments, folder, ready=None, stdin=os.devnull, work=0.0):
        self.folder = folder
        self.pids = []
        output = open(os.path.join(folder, "output"), "wb")
        with output, open(stdin, "rb") as source, \
                open(os.path.join(folder, "errors"), "wb") as errors:
            self.process = subprocess.Popen(arguments, stdin=source, stdout=output, stderr=errors,
                                            cwd=folder, close_fds=True, start_new_session=True)
        deadline = time.monotonic() + 120
        while True:
            check(self.process.poll() is None, "the program ended: %s" % arguments)
            check(time.monotonic() < deadline, "the program does not become ready")
            with open(os.path.join(folder, "output"), "rb") as file:
                if (ready is None or ready in file.read()) and self.seconds() >= work:
                    break
            time.sleep(0.01)

    def seconds(self):
        with open("/proc/%d/stat" % self.process.pid) as file:
            fields = file.read().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def capture(self, bin_folder, path, *options):
        run([os.path.join(bin_folder, "pcp-capture"), str(self.process.pid), "-o", path, "--kill",
             *options])
        self.process.wait()

    def restore(self, bin_folder, path):
        done = run([os.path.join(bin_folder, "pcp-restore"), "--json", path])
        pid = int(json.loads(done.stdout)["pid"])
        self.pids.append(pid)
        return pid

    def end(self):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        for pid in self.pids:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass


class Folder:
    def __enter__(self):
        self.path = tempfile.mkdtemp(prefix="rrpcp-interop-")
        return self.path

    def __exit__(self, *_):
        shutil.rmtree(self.path, ignore_errors=True)


def main(function):
    try:
        function()
    except Failed as failure:
        print("FAILED:", failure)
        sys.exit(1)
    print("passed")
