#!/usr/bin/python3
"""Core files made of checkpoints: what gdb, elfutils and others show of them is what gdb shows of the restored
process; what `pcp-inspect bt` shows without restoring is the same; and cores become checkpoints again.

usage: core_test.py BIN SUBJECT FIXTURES PROGRAM

BIN is the folder of the pcp-* commands, SUBJECT the compiled subject.c, FIXTURES the folder of the programs of the
process tests, PROGRAM one of the names of PROGRAMS below, or "all" for those that take long.
"""

import importlib.util
import json
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import time

from interop_support import ALL, Folder, Subject, check, gdb, main, run

HERE = os.path.dirname(os.path.abspath(__file__))
BIN, SUBJECT, FIXTURES, NAME = sys.argv[1:5]
PYTHON = """
import threading, time
def wait(n):
    while True:
        time.sleep(1000 + n)
threads = [threading.Thread(target=wait, args=(i,), daemon=True) for i in range(4)]
[t.start() for t in threads]
print("ready", flush=True)
n = 0
while True:
    n = (n * 31 + 7) % 1000003
"""

# Name: command, what it prints when it is ready, variables for gdb to show.
PROGRAMS = {
    "subject": ([SUBJECT], b"ready", ["global_counter", "global_text", "untouched[8191]"]),
    "python3": (["/usr/bin/python3", "-c", PYTHON], b"ready", []),
    "perl": (["/usr/bin/perl", "-e", '$|=1; my @a = map { $_ * 3 } 1..100000; print "ready\\n"; sleep 1000 while 1'],
             b"ready", []),
    "bash": (["/bin/bash", "-c", "x=1; echo ready; while :; do x=$((x * 3 % 1000003)); done"], b"ready", []),
    "gdb": (["/usr/bin/gdb", "-nx", "-q", "-batch", "-ex", "python import sys", "-ex",
             'python print("ready"); sys.stdout.flush()', "-ex", "python while True: pass"], b"ready", []),
    "sort": (["/bin/bash", "-c", "echo ready; exec sort -n --parallel=4 -S 20M"], b"ready", []),
    "fragmented": ([SUBJECT, "mappings"], b"ready", ["global_counter"]),
    "segments": ([SUBJECT, "holes"], b"ready", ["global_counter"]),
    "large": ([SUBJECT, "sparse"], b"ready", ["global_counter"]),
    "avx512": ([os.path.join(FIXTURES, "fixture-avx512"), "."], None, []),
}
DEFAULT = ["subject", "python3"]
PCP = lambda name: os.path.join(BIN, name)


def gdb_view(arguments, program, variables):
    """What gdb shows of a process or a core, without what depends on how it came by it."""
    commands = ["info sharedlibrary", "info auxv", "thread apply all bt", "thread apply all info registers",
                "thread apply all x/4i $pc", "thread apply all x/8gx $sp"]
    commands += ["thread apply all p/x %s" % register for register in ("$mxcsr", "$xmm0", "$ymm1", "$st0")]
    commands += ["p %s" % name for name in variables]
    if variables:
        commands.append("thread apply all p thread_number")
    parts = gdb(arguments, commands, program)
    view = {}
    for command in commands:
        text = parts.get(command, "")
        # Threads by their ids, not in the order in which gdb met them.
        threads = {}
        current = None
        for line in text.splitlines():
            match = re.match(r'Thread \d+ \((?:Thread 0x[0-9a-f]+ \()?(?:LWP|process) (\d+)', line)
            if match:
                current = int(match.group(1))
                threads[current] = []
            elif line.strip():
                threads.setdefault(current, []).append(line.rstrip())
        view[command] = threads
    return view


def compare_views(core, live):
    for command, expected in live.items():
        found = core[command]
        check(any(expected.values()), "gdb shows nothing of the restored process: %s" % command)
        # What only a live process has.
        for view in (found, expected):
            for lines in view.values():
                lines[:] = [line for line in lines
                            if not re.match(r"\s*(\[Inferior|orig_rax|AT_NULL|.*\(Core was|k[0-7] )", line)
                            and not re.search(r"vsyscall|\bvvar\b|syscall trap", line)]
        # A restore makes a sleep that was interrupted begin anew: another word of the kernel's own.
        for view in (found, expected):
            for lines in view.values():
                lines[:] = [re.sub(r"^(rax +).*-51[46]$", r"\1restart", line) for line in lines]
        if command.startswith("thread apply all bt") or command == "thread apply all x/4i $pc":
            for view in (found, expected):
                for lines in view.values():
                    lines[:] = [re.sub(r"^(=> |   )", "", line) for line in lines]
        check(found == expected, "%s differs:\ncore: %s\nlive: %s" % (command, found, expected))


def frames_of(pid):
    """By thread, the frames that gdb finds in a live process."""
    source = "source " + os.path.join(HERE, "gdb_frames.py")
    text = gdb(["-p", str(pid)], [source])[source]
    line = [line for line in text.splitlines() if line.startswith("FRAMES ")]
    check(line, "gdb says %s" % text)
    return {int(tid): frames for tid, frames in json.loads(line[0][7:]).items()}


def plain_name(name):
    return re.sub(r"(\.(part|constprop|isra|cold|lto_priv)\.?\d*|@.*)+$", "", name or "??")


def compare_unwinding(inspected, by_thread):
    """`pcp-inspect bt` and gdb: the same calls in the same order, inlined ones included."""
    check(sorted(t["tid"] for t in inspected["threads"]) == sorted(by_thread), "not the same threads")
    named = 0
    for thread in inspected["threads"]:
        ours = []
        for frame in thread["frames"]:
            symbol = frame["symbol"]
            ours += [(int(frame["pc"]), name, None) for name in frame["inlined"]]
            ours.append((int(frame["pc"]), symbol["name"] if symbol else "??",
                         int(frame["pc"]) - int(symbol["offset"]) if symbol else None))
        # gdb guesses frames that a tail call has left; they are not on the stack.
        theirs = [frame for frame in by_thread[thread["tid"]] if frame["kind"] != "tail call"]
        both = "thread %d: %s\ngdb: %s" % (thread["tid"], ours, theirs)
        # gdb ends a chain at main or where a thread begins; libdw goes on to the first code of all.
        check(len(ours) >= len(theirs), both)
        for (pc, name, start), frame in zip(ours, theirs):
            check(pc == frame["pc"], both)
            if frame["kind"] == "signal":
                continue
            if plain_name(name) == plain_name(frame["name"]):
                named += 1
            else:
                # One place may have several names, as clone3 and __clone3.
                check(start is not None and start == frame["start"] or frame["start"] is None, both)
    check(named > 0, "no function has the same name as for gdb")
    return named


def pcs(bt):
    return {t["tid"]: [f["pc"] for f in t["frames"]] for t in bt["threads"]}


def same_calls(one, other):
    """The same places, but that a thread whose system call is about to begin again stands before its
    instruction of two bytes: the end of a program interrupts calls."""
    def same(a, b):
        return a[1:] == b[1:] and abs(int(a[0]) - int(b[0])) in (0, 2)
    return one.keys() == other.keys() and all(same(one[tid], other[tid]) for tid in one)


def look_with_others(core, program, bt):
    notes = run(["eu-readelf", "-n", core]).stdout
    for name in ("PRSTATUS", "PRPSINFO", "AUXV", "FILE", "SIGINFO", "FPREGSET"):
        check(name in notes, "eu-readelf shows no %s" % name)
    stack = run(["eu-stack", "--core", core, "--executable", program, "-r"], expected=None).stdout
    shown = {}
    for line in stack.splitlines():
        match = re.match(r"TID (\d+):", line)
        if match:
            current = shown.setdefault(int(match.group(1)), [])
        match = re.match(r"#\d+\s+0x([0-9a-f]+)", line)
        if match:
            current.append(str(int(match.group(1), 16)))
    check(shown == pcs(bt), "eu-stack differs:\n%s\nours: %s" % (stack, pcs(bt)))
    if importlib.util.find_spec("elftools"):
        from elftools.elf.elffile import ELFFile
        with open(core, "rb") as file:
            elf = ELFFile(file)
            kinds = [note["n_type"] for segment in elf.iter_segments()
                     if segment["p_type"] == "PT_NOTE" for note in segment.iter_notes()]
            check(kinds.count("NT_PRSTATUS") == len(bt["threads"]) and "NT_FILE" in kinds,
                  "pyelftools shows %s" % kinds)
    if ALL and shutil.which("lldb"):
        out = run(["lldb", "--no-lldbinit", "-b", "-c", core, program, "-o", "thread list",
                   "-o", "thread backtrace all"], timeout=900).stdout
        tids = [int(tid) for tid in re.findall(r"thread #\d+: tid = (\d+)", out)]
        # Callers as lldb counts them: functions that were compiled into others have frames of their own,
        # at addresses of their own.
        shown = [re.findall(r"frame #\d+: (0x[0-9a-f]+)", part)
                 for part in re.split(r"thread #\d+, ", out)[1:]]
        check(sorted(tids) == sorted(pcs(bt)) and len(shown) == len(tids), "lldb shows %s" % out)
        for tid, frames in zip(tids, shown):
            rest = iter(int(pc, 16) for pc in frames)
            check(all(int(pc) in rest for pc in dict.fromkeys(pcs(bt)[tid])),
                  "lldb shows other calls of %d: %s, not %s" % (tid, frames, pcs(bt)[tid]))
    if ALL and importlib.util.find_spec("drgn"):
        import drgn
        prog = drgn.Program()
        prog.set_core_dump(core)
        for thread in prog.threads():
            trace = prog.stack_trace(thread.tid)
            check(str(trace[0].pc) == pcs(bt)[thread.tid][0], "drgn shows %s" % trace)


def import_and_compare(core, folder, name, bt):
    """A core as a checkpoint: valid, with the same calls, and not restorable."""
    path = os.path.join(folder, name + ".pcp")
    result = json.loads(run([PCP("pcp-convert"), "--json", "--from", "core", core, "-o", path]).stdout)
    run([PCP("pcp-validate"), path])
    again = json.loads(run([PCP("pcp-inspect"), "--json", "bt", path]).stdout)
    check(same_calls(pcs(again), pcs(bt)), "%s: other calls:\n%s\n%s" % (name, pcs(again), pcs(bt)))
    refused = run([PCP("pcp-restore"), path], expected=6)
    check("looking at only" in refused.stderr, refused.stderr)
    return path, result


def compare_memory(first, second):
    """What the first checkpoint stores or has in files, the second must have too, byte by byte."""
    maps = json.loads(run([PCP("pcp-inspect"), "--json", "maps", first]).stdout)
    compared = 0
    for space in maps["addressSpaces"]:
        for mapping in space["mappings"][:400]:
            start, length = int(mapping["start"]), int(mapping["end"]) - int(mapping["start"])
            if length > 64 << 20:
                continue
            both = [subprocess.run([PCP("pcp-inspect"), "mem", "--raw", str(start), str(length), path],
                                   stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=False).stdout
                    for path in (first, second)]
            check(both[0] == both[1], "memory at 0x%x differs" % start)
            compared += len(both[0])
    check(compared > 1 << 20, "hardly any memory was compared")


def one(name):
    command, ready, variables = PROGRAMS[name]
    if name == "avx512" and " avx512f " not in open("/proc/cpuinfo").read():
        print("this processor has no AVX-512: not tried")
        return
    stdin = "/dev/zero" if name == "sort" else os.devnull
    with Folder() as folder:
        subject = Subject(command, folder, ready, stdin, work=0.3 if ready is None else 0.0)
        try:
            program = os.readlink("/proc/%d/exe" % subject.process.pid)
            checkpoint, core = os.path.join(folder, "x.pcp"), os.path.join(folder, "made")
            subject.capture(BIN, checkpoint)
            bt = json.loads(run([PCP("pcp-inspect"), "--json", "bt", checkpoint]).stdout)
            result = json.loads(run([PCP("pcp-convert"), "--json", "--to", "core", checkpoint, "-o", core]).stdout)
            made = result["cores"][0]
            check(not made["remarks"], str(made["remarks"]))
            if name in ("fragmented", "segments"):
                least = 60000 if name == "fragmented" else 65534
                check(int(made["segments"]) > least, "only %s segments" % made["segments"])
            if name == "large":
                check(int(made["storedBytes"]) < 64 << 20, "the core is not sparse: %s" % made)
            live_pid = subject.restore(BIN, checkpoint)
            live = gdb_view(["-p", str(live_pid)], None, variables)
            compare_views(gdb_view([core], program, variables), live)
            named = compare_unwinding(bt, frames_of(live_pid))
            look_with_others(core, program, bt)
            imported, _ = import_and_compare(core, folder, "ours", bt)
            if name == "subject":
                compare_memory(checkpoint, imported)
            # Our core of that checkpoint is the same core.
            run([PCP("pcp-convert"), "--to", "core", imported, "-o", core + "2"])
            compare_views(gdb_view([core + "2"], program, variables),
                          gdb_view([core], program, variables))
            if name == "subject":
                whole = os.path.join(folder, "whole")
                run([PCP("pcp-convert"), "--to", "core", "--file-pages", "all", checkpoint, "-o", whole])
                run([PCP("pcp-convert"), "--to", "core", "--file-pages", "none", checkpoint, "-o", core + "3"])
                check(os.stat(whole).st_size > os.stat(core).st_size > os.stat(core + "3").st_size,
                      "the pages of files make no difference")
                path, imported_whole = import_and_compare(whole, folder, "whole", bt)
                compare_memory(checkpoint, path)
            # gdb's own core.
            run(["gdb", "-nx", "-batch", "-p", str(live_pid), "-ex", "generate-core-file %s.gdb" % core])
            import_and_compare(core + ".gdb", folder, "gcore", bt)
            if name == "subject":
                kernel_core(live_pid, folder, bt)
            print("%s: %d threads, %d names as gdb has them" % (name, len(bt["threads"]), named))
        finally:
            subject.end()


def kernel_core(pid, folder, bt):
    """The kernel's core of the restored process, where it writes cores into the working directory."""
    with open("/proc/sys/kernel/core_pattern") as file:
        pattern = file.read().strip()
    if pattern != "core":
        print("the kernel writes cores elsewhere (%s): not tried" % pattern)
        return
    resource.prlimit(pid, resource.RLIMIT_CORE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    os.kill(pid, signal.SIGSEGV)
    os.kill(pid, signal.SIGCONT)
    cores = []
    for _ in range(600):
        cores = [name for name in ("core", "core.%d" % pid) if os.path.exists(os.path.join(folder, name))]
        if cores and not os.path.exists("/proc/%d/exe" % pid):
            break
        time.sleep(0.1)
    check(cores, "the kernel wrote no core")
    # It says which signal it was.
    path, _ = import_and_compare(os.path.join(folder, cores[0]), folder, "kernel", bt)
    document = json.loads(run([PCP("pcp-inspect"), "--json", path]).stdout)
    state = document["manifest"]["state"]
    check(state["inspectOnly"] and state["session"]["lastSignal"]["signal"] == 11, str(state["session"]))


def checkpoints_of_rr():
    """Checkpoints that rr wrote, of several processes and of several threads."""
    golden = os.path.join(HERE, "..", "golden", "rr-2025")
    for name, several in (("tiny_fork", True), ("tiny_threads", False)):
        with Folder() as folder:
            run(["tar", "-I", "zstd --long=27", "-xf", os.path.join(golden, name + ".tar.zst"), "-C", folder])
            trace = os.path.join(folder, name, "trace")
            run([PCP("pcp-upgrade"), "--in-place", trace])
            files = sorted(os.path.join(trace, "pcp", f) for f in os.listdir(os.path.join(trace, "pcp")))
            check(files, "no checkpoints in %s" % trace)
            most_processes = most_threads = 0
            for path in files:
                core = os.path.join(folder, "core")
                made = json.loads(run([PCP("pcp-convert"), "--json", "--to", "core", "--trace", trace, path, "-o",
                                       core]).stdout)["cores"]
                tasks = {t["tid"]: t for t in json.loads(
                    run([PCP("pcp-inspect"), "--json", "regs", "--no-names", path]).stdout)["tasks"]}
                most_processes = max(most_processes, len(made))
                seen = {}
                for one_core in made:
                    most_threads = max(most_threads, int(one_core["threads"]))
                    shown = gdb(["-c", one_core["file"]], ["thread apply all p/d $pc", "thread apply all p/d $sp",
                                                            "thread apply all x/2gx $sp"])
                    for register, command in (("rip", "thread apply all p/d $pc"), ("rsp", "thread apply all p/d $sp")):
                        for tid, value in re.findall(r"(?:LWP|process) (\d+)\)+:\n\$\d+ = (\d+)", shown[command]):
                            seen.setdefault(int(tid), {})[register] = value
                    check("Cannot access" not in shown["thread apply all x/2gx $sp"], str(shown))
                check(sorted(seen) == sorted(tasks), "%s: gdb shows threads %s, not %s" % (path, seen, list(tasks)))
                for tid, values in seen.items():
                    registers = next(s for s in tasks[tid]["sets"] if s["name"] == "NT_PRSTATUS")["registers"]
                    check(values == {name: registers[name] for name in ("rip", "rsp")},
                          "%s: thread %d: %s" % (path, tid, values))
            check(most_processes > 1 if several else most_threads > 1, "%s has only one" % name)


def main_one():
    if NAME == "rr":
        checkpoints_of_rr()
        return
    if NAME == "all":
        for name in PROGRAMS:
            if name not in DEFAULT:
                one(name)
    else:
        one(NAME)


if NAME == "all" and not ALL:
    print("only with RRPCP_ALL=1")
    sys.exit(77)
main(main_one)
