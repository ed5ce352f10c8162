#!/usr/bin/env python3
"""What goes wrong around recordings: each gets its own message, and what was recorded replays.

usage: robustness_test.py PCP_RR FIXTURES CASE
"""

import ctypes
import json
import mmap
import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time

PCP_RR, FIXTURES, CASE = sys.argv[1:4]
TIMEOUT = 300


def run(command, directory, **options):
    return subprocess.run(command, cwd=directory, stdin=subprocess.DEVNULL, capture_output=True,
                          timeout=TIMEOUT, check=False, **options)


def check(condition, what, result=None):
    if not condition:
        print("FAILED:", what)
        if result is not None:
            print("status", result.returncode)
            print(result.stdout[-1000:].decode(errors="replace"))
            print(result.stderr[-1000:].decode(errors="replace"))
        sys.exit(1)


def skip(why):
    print("skipped:", why)
    sys.exit(77)


def fixture(name):
    return os.path.join(FIXTURES, name)


def record(directory, *command, **options):
    trace = os.path.join(directory, "trace")
    return trace, run([PCP_RR, "record", "-o", trace, "--", *command], directory, **options)


def alive(pid):
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii") as file:
            return file.read().rsplit(")", 1)[1].split()[0] not in "ZX"
    except OSError:
        return False


def killed_recorder(directory):
    """A recorder that is killed takes the program with it; its trace replays to its last chunk."""
    for size in (40_000, 150_000):
        trace = os.path.join(directory, f"trace-{size}")
        recorder = subprocess.Popen(
            [PCP_RR, "record", "-o", trace, "--", fixture("many_events"), "100000000"],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        events = os.path.join(trace, "events")
        deadline = time.monotonic() + TIMEOUT
        while not (os.path.exists(events) and os.path.getsize(events) > size):
            check(time.monotonic() < deadline, "the recording does not grow")
            time.sleep(0.01)
        with open(f"/proc/{recorder.pid}/task/{recorder.pid}/children", encoding="ascii") as file:
            program = int(file.read().split()[0])
        recorder.kill()
        recorder.wait()
        while alive(program):
            check(time.monotonic() < deadline, "the program outlives its recorder")
            time.sleep(0.01)
        replayed = run([PCP_RR, "replay", "-a", trace], "/")
        check(replayed.returncode == 0, "what was recorded does not replay", replayed)
        check(b"ends before" in replayed.stderr or b"incomplete" in replayed.stderr,
              "nothing says that the recording is cut", replayed)


def full_disk(directory):
    def limit():
        resource.setrlimit(resource.RLIMIT_FSIZE, (3 << 20, 3 << 20))

    trace, result = record(directory, fixture("many_events"), "100000000", preexec_fn=limit)
    check(result.returncode == 5, "the code for no space is 5", result)
    check(b"events" in result.stderr, "the message names the file", result)
    replayed = run([PCP_RR, "replay", "-a", trace], "/")
    check(replayed.returncode == 0, "what was recorded does not replay", replayed)


def full_file_system(directory):
    """The same on a small file system that is really full, in a mount namespace of its own."""
    if "RRPCP_OWN_MOUNTS" not in os.environ:
        own = ["unshare", "--mount"] if os.geteuid() == 0 else ["unshare", "--user", "--map-root-user", "--mount"]
        place = os.path.join(directory, "mounted")
        os.mkdir(place)
        mount = f"mount -t tmpfs -o size=64m none {place}"
        if run([*own, "sh", "-c", mount], directory).returncode != 0:
            skip("a file system cannot be mounted")
        inside = run([*own, "sh", "-c", f'{mount} && exec "$@"', "sh", sys.executable, __file__,
                      *sys.argv[1:]], place, env={**os.environ, "RRPCP_OWN_MOUNTS": place})
        print(inside.stdout.decode(errors="replace"), end="")
        check(inside.returncode == 0, "inside of the namespace", inside)
        check(not os.listdir(place), "the file system is seen outside")
        return
    place = os.environ["RRPCP_OWN_MOUNTS"]
    trace = os.path.join(place, "trace")
    whole = os.statvfs(place)
    _, small = record(place, fixture("many_events"), "1")
    check(small.returncode == 0, "recording a short run", small)
    room = (whole.f_bavail - os.statvfs(place).f_bavail) * whole.f_frsize + (1 << 20)
    shutil.rmtree(trace)
    with open(os.path.join(place, "filler"), "wb") as filler:  # leaves 1 MiB for events
        now = os.statvfs(place)  # what was removed need not be free already
        filler.write(bytes(now.f_bavail * now.f_frsize - room))
    result = run([PCP_RR, "record", "-o", trace, "--", fixture("many_events"), "100000000"], place)
    check(result.returncode == 5, "the code for no space is 5", result)
    check(b"/trace/events" in result.stderr and result.stderr.count(b"\n") == 1,
          "one line names the file", result)
    free = os.statvfs(place)
    check(free.f_bavail * free.f_frsize < 1 << 20, "the file system is not full")
    replayed = run([PCP_RR, "replay", "-a", trace], "/")
    check(replayed.returncode == 0, "what was recorded does not replay", replayed)
    check(b"ends before" in replayed.stderr, "nothing says that the recording is cut", replayed)
    statistics = json.loads(run([PCP_RR, "dump", "-s", "--json", trace], "/").stdout)
    check(int(statistics["events"]) > 1000, f"only {statistics['events']} events are left")
    # Checkpoints do not fit either: none is left half, and the trace is as good as before.
    full = run([PCP_RR, "create-checkpoints", "-i", "1000", trace], "/")
    check(full.returncode == 5 and full.stderr.count(b"\n") <= 2, "no space for a checkpoint", full)
    again = run([PCP_RR, "replay", "-a", trace], "/")
    check(again.returncode == 0 and again.stdout == replayed.stdout, "replaying again", again)
    # With nothing free there is no beginning, and nothing is left of it.
    try:
        with open(os.path.join(place, "rest"), "wb", buffering=0) as rest:
            while rest.write(bytes(4096)):
                pass
    except OSError:
        pass
    second = os.path.join(place, "second")
    result = run([PCP_RR, "record", "-o", second, "--", "/bin/echo", "hello"], place)
    check(result.returncode == 5 and result.stdout == b"", "no space for a beginning", result)
    check(not os.path.exists(second), "an empty trace is left behind")
    print(f"{statistics['events']} events in {statistics['storedBytes']} bytes replay from a full "
          "file system")


def unprivileged(directory):
    """Nothing needs privileges; a directory without permission is told of."""
    command = os.path.join(directory, "pcp-rr")
    shutil.copy(PCP_RR, command)
    program = os.path.join(directory, "producer_consumer")
    shutil.copy(fixture("producer_consumer"), program)
    os.chmod(directory, 0o755)
    own = os.path.join(directory, "own")
    os.mkdir(own)
    closed = os.path.join(directory, "closed")
    os.mkdir(closed, 0o700)
    user = {}
    if os.geteuid() == 0:
        os.chown(own, 65534, 65534)
        user = {"user": 65534, "group": 65534, "extra_groups": []}
    else:
        os.chmod(closed, 0)
    result = run([command, "record", "-o", "closed/trace", "--", "/bin/true"], directory, **user)
    check(result.returncode == 4, "the code for no permission is 4", result)
    check(b"closed" in result.stderr, "the message names the directory", result)
    for words in (["/bin/ls", "/"], [program]):
        trace = os.path.join(own, os.path.basename(words[0]))
        result = run([command, "record", "-o", trace, "--", *words], own, **user)
        check(result.returncode == 0, "recording without privileges", result)
        replayed = run([command, "replay", "-a", trace], own, **user)
        check(replayed.returncode == 0 and replayed.stdout == result.stdout,
              "replaying without privileges", replayed)
    # What the recorder had to give up for a filter, the program is not to see.
    program = os.path.join(directory, "buffered_calls")
    shutil.copy(fixture("buffered_calls"), program)
    alone = subprocess.run([program, "privileges"], cwd=own, capture_output=True, check=False, **user)
    result = run([command, "record", "-o", os.path.join(own, "privileges"), "--", program,
                  "privileges"], own, **user)
    check(result.returncode == 0 and result.stdout == alone.stdout, "attributes as without a recorder",
          result)


def filtered_exec(directory):
    """Without privileges, a filter can keep the recorder from preparing a program: one line."""
    program = os.path.join(directory, "filters")
    shutil.copy(fixture("filters"), program)
    command = os.path.join(directory, "pcp-rr")
    shutil.copy(PCP_RR, command)
    os.chmod(directory, 0o755)
    own = os.path.join(directory, "own")
    os.mkdir(own)
    user = {}
    if os.geteuid() == 0:
        os.chown(own, 65534, 65534)
        user = {"user": 65534, "group": 65534, "extra_groups": []}
    trace = os.path.join(own, "trace")
    alone = run([program], own, **user)
    result = run([command, "record", "-o", trace, "--", program], own, **user)
    replayed = run([command, "replay", "-a", trace], own, **user)
    check(replayed.stdout == result.stdout and replayed.stdout, "what was recorded does not replay", replayed)
    if result.returncode == alone.returncode:
        # Where the processor traps nothing, there is nothing that the recorder has to prepare.
        check(result.stdout == alone.stdout and replayed.returncode == result.returncode, "as alone", result)
        return
    check(result.returncode == 6, "the code for what cannot be recorded is 6", result)
    check(b"a filter of seccomp(2) keeps the recorder" in result.stderr and
          result.stderr.count(b"\n") == 1, "one line", result)
    check(replayed.returncode == 0, "what was recorded does not replay", replayed)


def no_program(directory):
    trace, result = record(directory, os.path.join(directory, "missing"))
    check(result.returncode == 3 and b"missing" in result.stderr, "no such program", result)
    check(not os.path.exists(trace), "an empty trace is left behind")
    with open(os.path.join(directory, "data"), "w", encoding="ascii") as file:
        file.write("no program\n")
    trace, result = record(directory, os.path.join(directory, "data"))
    check(result.returncode == 4, "not executable", result)
    os.mkdir(trace)
    with open(os.path.join(trace, "something"), "w", encoding="ascii") as file:
        file.write("mine\n")
    trace, result = record(directory, "/bin/true")
    check(result.returncode == 9, "the directory is in use", result)
    check(os.listdir(trace) == ["something"], "a foreign directory was touched")


def found_program(directory):
    """A program is found, and its interpreter, as execvp(3) finds them."""
    folders = [os.path.join(directory, name) for name in ("denied", "second")]
    for folder, text, mode in zip(folders, ("exit 1\n", "echo $0: $*\n"), (0o644, 0o755)):
        os.mkdir(folder)
        with open(os.path.join(folder, "words"), "w", encoding="ascii") as file:
            file.write(text)
        os.chmod(file.name, mode)
    path = ":".join([os.path.join(directory, "missing"), *folders, os.environ["PATH"]])
    for shown, words, expected in (
            (path, ["words", "a b", "c"], f"{folders[1]}/words: a b c\n"),
            (path, ["./words", "d"], "./words: d\n"),
            (":" + path, ["words"], "words:\n"),
            (path, ["echo", "e"], "e\n")):
        trace, result = record(folders[1], *words, env={**os.environ, "PATH": shown})
        check(result.returncode == 0 and result.stdout.decode() == expected, words, result)
        replayed = run([PCP_RR, "replay", "-a", trace], directory)
        check(replayed.returncode == 0 and replayed.stdout == result.stdout, words, replayed)
        shutil.rmtree(trace)
    _, result = record(directory, "words", env={**os.environ, "PATH": folders[0]})
    check(result.returncode == 4 and b"words" in result.stderr, "denied", result)
    _, result = record(directory, "words", env={**os.environ, "PATH": "/missing:" + directory})
    check(result.returncode == 3 and b"words" in result.stderr, "not found", result)


def behind_end(directory):
    """What another process's mapping has written behind the end of a file, in its last page."""
    with open("/dev/shm/" + os.path.basename(directory), "w+b") as file:  # no disk, and nobody clears it
        os.unlink(file.name)
        file.write(b"2" * 2600)
        file.flush()
        libc = ctypes.CDLL(None, use_errno=True)
        libc.mmap.restype = ctypes.c_void_p
        address = libc.mmap(None, ctypes.c_size_t(4096), mmap.PROT_READ | mmap.PROT_WRITE, mmap.MAP_SHARED,
                            file.fileno(), ctypes.c_long(0))
        ctypes.memmove(address + 2700, b"7" * 1396, 1396)
        path = f"/proc/{os.getpid()}/fd/{file.fileno()}"
        for options in ([], ["-n"]):
            trace = os.path.join(directory, "trace")
            result = run([PCP_RR, "record", *options, "-o", trace, "--", fixture("behind_end"), path], directory)
            check(result.returncode == 0 and result.stdout.count(b" 50 0 55 55 55 55") == 4, "shown", result)
            replayed = run([PCP_RR, "replay", "-a", trace], directory)
            check(replayed.returncode == 0 and replayed.stdout == result.stdout, "replayed", replayed)
            shutil.rmtree(trace)


def changed_files(directory):
    """Replays use the trace's own files, whatever became of the originals; and check them."""
    program = os.path.join(directory, "program")
    shutil.copy(fixture("producer_consumer"), program)
    trace, result = record(directory, program)
    check(result.returncode == 0, "recording", result)
    shutil.copy("/bin/true", program)  # other bytes in the same file
    replayed = run([PCP_RR, "replay", "-a", trace], "/")
    check(replayed.returncode == 0 and replayed.stdout == result.stdout,
          "a changed executable matters", replayed)
    files = os.path.join(trace, "files")
    libc = [name for name in os.listdir(files) if "libc.so" in name][0]
    path = os.path.join(files, libc)
    with open(path, "rb") as file:
        content = bytearray(file.read())
    os.unlink(path)  # it may be a link to the original
    content[len(content) // 2] ^= 1
    with open(path, "wb") as file:
        file.write(content)
    replayed = run([PCP_RR, "replay", "-a", trace], "/")
    check(replayed.returncode == 7, "the code for a changed file is 7", replayed)
    check(libc.encode() in replayed.stderr, "the message names the file", replayed)
    os.unlink(path)
    replayed = run([PCP_RR, "replay", "-a", trace], "/")
    check(replayed.returncode == 7, "the code for a missing file is 7", replayed)
    check(libc.encode() in replayed.stderr, "the message names the file", replayed)


def other_mounts(directory):
    """A program that lies in a mount namespace of its own, where we see another under its name."""
    own = ["unshare", "--mount"] if os.geteuid() == 0 else [
        "unshare", "--user", "--map-root-user", "--mount"]
    place = os.path.join(directory, "place")
    os.mkdir(place)
    program = os.path.join(place, "program")
    shutil.copy("/bin/false", program)
    mount = f"mount -t tmpfs none {place}"
    if run([*own, "sh", "-c", mount], directory).returncode != 0:
        skip("a file system cannot be mounted")
    trace, result = record(directory, *own, "sh", "-c",
                           f"{mount} && cp /bin/echo {program} && {program} the other one")
    check(result.returncode == 0 and result.stdout == b"the other one\n", "recording", result)
    replayed = run([PCP_RR, "replay", "-a", trace], "/")
    check(replayed.returncode == 0 and replayed.stdout == result.stdout, "replaying", replayed)


def killed_program(directory):
    """A process that somebody kills, wherever it stands, is recorded as killed; others go on."""
    for attempt in range(12):
        trace = os.path.join(directory, f"trace-{attempt}")
        script = f"{fixture('many_events')} 100000000 & echo $!; wait $!; echo ended $?"
        with subprocess.Popen([PCP_RR, "record", "-o", trace, "--", "bash", "-c", script],
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE) as recorder:
            first = recorder.stdout.readline()
            time.sleep(0.02 + 0.007 * attempt)
            os.kill(int(first), signal.SIGKILL)
            rest, errors = recorder.communicate(timeout=TIMEOUT)
        check(recorder.returncode == 0 and rest == b"ended 137\n",
              f"attempt {attempt}: status {recorder.returncode}, {rest}, {errors}")
        replayed = run([PCP_RR, "replay", "-a", trace], "/")
        check(replayed.returncode == 0 and replayed.stdout == first + rest, "replaying", replayed)
    print("12 killed at different places")


UNSUPPORTED = {  # what the program is told
    "io_uring_setup": "Function not implemented",
    "io_uring_enter": "Function not implemented",
    "io_uring_register": "Function not implemented",
    "io_setup": "Function not implemented",
    "userfaultfd": "Function not implemented",
    "perf_event_open": "Function not implemented",
    "remap_file_pages": "Function not implemented",
    "modify_ldt": "Function not implemented",
    "memfd_secret": "Function not implemented",
    "map_shadow_stack": "Function not implemented",
    "x32": "Function not implemented",
    "ptrace": "Operation not permitted",
    "iopl": "Operation not permitted",
    "ioperm": "Operation not permitted",
    "MADV_HWPOISON": "Operation not permitted",
    "CPUID": "No such device",
    "vDSO": "Invalid argument",
    "tagged addresses": "Invalid argument",
    "shadow stacks": "Invalid argument",
    "dispatching": "Invalid argument",
}


def unsupported(directory):
    """What cannot be recorded is named, and the program is told what a kernel without it says."""
    trace, result = record(directory, fixture("unsupported"))
    check(result.returncode == 0, "recording", result)
    told = dict(line.split(": ", 1) for line in result.stdout.decode().splitlines())
    if "/dev/userfaultfd" in told:
        UNSUPPORTED["/dev/userfaultfd"] = "Inappropriate ioctl for device"
    check(told == {name: f"-1 {words}" for name, words in UNSUPPORTED.items()},
          f"the program was told {told}", result)
    lines = result.stderr.decode().splitlines()
    for name in UNSUPPORTED:
        word = name.removeprefix("/dev/") if not name.startswith("io_uring") else "io_uring"
        naming = [line for line in lines if word in line]
        check(len(naming) == 1 and naming[0].startswith("pcp-rr: ") and "not supported" in naming[0],
              f"{word} is not named in one line", result)
    known = UNSUPPORTED.keys() - {"io_uring_enter", "io_uring_register", "/dev/userfaultfd"}
    check(len(lines) == len(known), f"{len(known)} things make {len(lines)} lines", result)
    replayed = run([PCP_RR, "replay", "-a", trace], "/")
    check(replayed.returncode == 0 and replayed.stdout == result.stdout, "replaying", replayed)
    print(f"{len(UNSUPPORTED)} unsupported things, {len(lines)} lines")


def passing(directory):
    """Data that would reach the output without passing through memory passes through it."""
    alone = run([fixture("passing")], directory)
    check(alone.returncode == 0 and b"sendfile refused" not in alone.stderr,
          "sendfile(2) cannot write to a pipe here", alone)
    trace, result = record(directory, fixture("passing"))
    check(result.returncode == 0 and result.stdout == alone.stdout, "recording", result)
    check(result.stderr.count(b"refused: Invalid argument") == 5, "not all are refused", result)
    replayed = run([PCP_RR, "replay", "-a", trace], "/")
    check(replayed.returncode == 0 and replayed.stdout == alone.stdout, "replaying", replayed)


def devices(directory):
    """Mappings that the kernel changes by itself are refused; each is named."""
    alone = run([fixture("devices")], directory)
    can = [line.split(": ")[0] for line in alone.stdout.decode().splitlines()
           if line.endswith(": mapped")]
    print("mapped without a recorder:", ", ".join(can))
    check("/dev/zero" in can, "not even /dev/zero can be mapped", alone)
    trace, result = record(directory, fixture("devices"))
    check(result.returncode == 0, "recording", result)
    told = dict(line.split(": ", 1) for line in result.stdout.decode().splitlines())
    for name in can:
        words = "mapped" if name == "/dev/zero" else "No such device"
        check(told[name] == words, f"{name} was: {told[name]}", result)
    lines = result.stderr.decode().splitlines()
    check(len(lines) >= len(can) - 1, "not every mapping is named", result)
    check(all("mapping a device (" in line for line in lines), "other lines", result)
    replayed = run([PCP_RR, "replay", "-a", trace], "/")
    check(replayed.returncode == 0 and replayed.stdout == result.stdout, "replaying", replayed)
    if len(can) < 2:
        skip("no device can be mapped here")


# Both say something by calls of 32 bits and end with status 3.
CODE_32 = """
  .globl _start
_start:
  movl $4, %eax
  movl $1, %ebx
  movl $text, %ecx
  movl $5, %edx
  int $0x80
  movl $1, %eax
  movl $3, %ebx
  int $0x80
  .section .rodata
text: .ascii "words"
"""


def assembled(directory, name, *bits):
    """CODE_32 as a program; `bits` are options of as and ld."""
    source = os.path.join(directory, name + ".s")
    with open(source, "w", encoding="ascii") as file:
        file.write(CODE_32)
    program = os.path.join(directory, name)
    subprocess.run(["as", bits[0], "-o", program + ".o", source], check=True)
    subprocess.run(["ld", "-m", bits[1], "-o", program, program + ".o"], check=True)
    return program


def calls_of_32_bits(directory):
    """A program of 32 bits is refused, and one of 64 that makes calls of 32; both in one line."""
    for name, bits, words in (
            ("program32", ("--32", "elf_i386"), b"32-bit programs cannot be recorded"),
            ("calls32", ("--64", "elf_x86_64"), b"32-bit system calls (int $0x80)")):
        program = assembled(directory, name, *bits)
        try:
            alone = run([program], directory).returncode
        except OSError:
            alone = None
        if alone != 3:
            skip("this kernel has no calls of 32 bits")
        for index, command in enumerate(([program], ["sh", "-c", f"echo before; {program}; true"])):
            trace = os.path.join(directory, f"{name}-{index}")
            result = run([PCP_RR, "record", "-o", trace, "--", *command], directory)
            check(result.returncode == 6, "the code for what cannot be recorded is 6", result)
            check(words in result.stderr and result.stderr.count(b"\n") == 1, "one line", result)
            check(b"words" not in result.stdout, "the call was made", result)
            if index == 1:  # what came before replays
                replayed = run([PCP_RR, "replay", "-a", trace], "/")
                check(replayed.returncode == 0 and replayed.stdout == b"before\n",
                      "what was recorded does not replay", replayed)


def signals_pass(directory):
    """SIGTERM for the recorder ends the program, whose end is the recorder's own."""
    trace = os.path.join(directory, "trace")
    with subprocess.Popen(
            [PCP_RR, "record", "-o", trace, "--", "sh", "-c", "echo ready; exec sleep 1000"],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE) as recorder:
        check(recorder.stdout.readline() == b"ready\n", "the program does not start")
        recorder.send_signal(signal.SIGTERM)
        check(recorder.wait(TIMEOUT) == -signal.SIGTERM, "the signal is not passed on")
    replayed = run([PCP_RR, "replay", "-a", trace], "/")
    check(replayed.returncode == 128 + signal.SIGTERM and replayed.stdout == b"ready\n",
          "the replay ends otherwise", replayed)


def peak_memory(pid):
    with open(f"/proc/{pid}/status", encoding="ascii") as file:
        return next(int(line.split()[1]) << 10 for line in file if line.startswith("VmHWM"))


def preempted_memory(directory):
    """A preemption has all memory of the task; neither recorder nor replay holds it in its own."""
    size, bound = 192 << 20, 128 << 20
    trace = os.path.join(directory, "trace")
    with subprocess.Popen(
            [PCP_RR, "record", "-o", trace, "--", fixture("big_spinner"), str(size)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE) as recorder:
        first = recorder.stdout.readline()
        check(first.startswith(b"spun"), f"the program said {first}")
        while_recording = peak_memory(recorder.pid)
        recorder.stdin.close()  # for which the program waits
        rest = recorder.stdout.read()
        check(recorder.wait(TIMEOUT) == 0, "recording")
    dumped = run([PCP_RR, "dump", "--json", trace], "/")
    preemptions = [int(event["dataLength"]) for event in json.loads(dumped.stdout)["events"]
                   if event["message"]["which"] == "preemption"]
    check(len(preemptions) >= 2, f"preemptions: {preemptions}")
    check(preemptions[0] >= size, f"the first preemption lacks memory: {preemptions}")
    check(max(preemptions[1:]) < 1 << 20, f"later ones have what did not change: {preemptions}")
    with subprocess.Popen([PCP_RR, "replay", "-a", trace], stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE) as replay:
        check(replay.stdout.readline() == first, "the replay says something else")
        while_replaying = peak_memory(replay.pid)  # it waits for the pipe to be read
        check(replay.stdout.read() == rest, "the replay says something else")
        check(replay.wait(TIMEOUT) == 0, "replaying")
    print(f"preemptions with {preemptions} bytes; peak memory {while_recording >> 20} MiB while "
          f"recording, {while_replaying >> 20} MiB while replaying")
    check(while_recording < bound, f"the recorder used {while_recording} bytes")
    check(while_replaying < bound, f"the replay used {while_replaying} bytes")


CASES = [killed_recorder, full_disk, full_file_system, unprivileged, filtered_exec, no_program,
         found_program, behind_end, changed_files, other_mounts, killed_program, unsupported, passing, devices,
         calls_of_32_bits, signals_pass, preempted_memory]
with tempfile.TemporaryDirectory(prefix="pcp-rr-") as temporary:
    {case.__name__: case for case in CASES}[CASE](temporary)
print(CASE, "passed")
