"""The commands that make and use checkpoints, end to end.

usage: checkpoints_test.py PCP-RR PROGRAMS CASE
"""

import glob
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time

PCP_RR, PROGRAMS, CASE = sys.argv[1:4]


def run(*arguments, status=0, **options):
    result = subprocess.run([PCP_RR, *map(str, arguments)], capture_output=True, timeout=280, **options)
    if status is not None:
        assert result.returncode == status, (arguments, result.returncode, result.stderr[-2000:])
    return result


def record(directory, script, *options):
    trace = os.path.join(directory, "trace")
    result = run("record", "-o", trace, *options, "--", "sh", "-c", script, cwd=directory)
    return trace, result


def events(trace):
    return int(run("replay", "--place", "-g", 1, trace).stdout.split()[3].rstrip(b","))


def checkpoints(trace):
    return sorted(glob.glob(trace + "/checkpoints/*.pcp"))


def event_of(path):
    return int(os.path.basename(path).split("-")[0])


LOOP = "i=0; while [ $i -lt 300 ]; do echo line $i; i=$((i+1)); done"
TREE = "for i in 1 2 3; do (echo child $i; sleep 0.01; seq 40 | sort | tail -1) & done; wait; echo end"


def goto(directory):
    """-g starts at the newest checkpoint at or before the target; only output after it is shown."""
    trace, result = record(directory, LOOP)
    run("create-checkpoints", "-i", 50, trace)
    made = checkpoints(trace)
    assert len(made) >= 5, made
    last = events(trace)
    for target in (1, 49, event_of(made[1]) - 1, event_of(made[1]), event_of(made[2]) + 3, last, last + 1):
        best = [path for path in made if event_of(path) <= target]
        place = run("replay", "--place", "-g", target, trace).stdout.decode()
        assert place.startswith("event %d of %d" % (target, last)), place
        assert (best[-1] if best and target > 1 else "the start of the trace") in place, (target, place)
        with_points = run("replay", "-a", "-g", target, trace)
        without = run("replay", "-a", "-g", target, "--ignore-pcp", trace)
        assert with_points.stdout == without.stdout
        assert result.stdout.endswith(with_points.stdout)
    assert run("replay", "-a", trace).stdout == result.stdout
    middle = run("replay", "-a", "-g", event_of(made[2]), trace).stdout
    assert 0 < len(middle) < len(result.stdout), len(middle)
    beyond = run("replay", "-a", "-g", last + 2, trace, status=None)
    assert beyond.returncode != 0 and b"has no event" in beyond.stderr, beyond.stderr


def rerun(directory):
    """rerun prints the same bytes with and without checkpoints, over the whole recording."""
    for number, script in enumerate((LOOP, TREE)):
        place = os.path.join(directory, str(number))
        os.mkdir(place)
        trace, _ = record(place, script)
        last = events(trace)
        whole = run("rerun", trace).stdout
        assert whole.count(b"\n") == last, (whole.count(b"\n"), last)
        run("create-checkpoints", "-i", max(1, last // 7), trace)
        made = checkpoints(trace)
        assert len(made) >= 5, made
        assert run("rerun", trace).stdout == whole
        for path in made[1::2]:
            start = event_of(path) + 1
            for more in ((), ("-r", "event,tid,ticks,rip,flags,ymm_x16,mxcsr"), ("--raw", "-r", "event,gp_x16,xmm_x16")):
                a = run("rerun", "-s", start, *more, trace).stdout
                b = run("rerun", "-s", start, *more, "--ignore-pcp", trace).stdout
                assert a == b and a, (path, more)
            steps = ("-s", start, "-e", start + 3, "--singlestep", "event,icount,rip,gp_x16")
            assert run("rerun", *steps, trace).stdout == run("rerun", *steps, "--ignore-pcp", trace).stdout, path
        tail = b"".join(line + b"\n" for line in whole.splitlines()[event_of(made[-1]):])
        assert run("rerun", "-s", event_of(made[-1]) + 1, trace).stdout == tail


def on_fork(directory):
    """-f starts before the process first ran."""
    trace, _ = record(directory, TREE)
    run("create-checkpoints", "-i", 20, trace)
    pids = {int(line.split()[0]) for line in run("ps", trace).stdout.decode().splitlines()[1:]}
    assert len(pids) >= 4, pids
    for pid in sorted(pids):
        text = run("replay", "--place", "-f", pid, trace).stdout.decode()
        assert " of process %d:" % pid not in text, text
    missing = run("replay", "--place", "-f", 4194304, trace, status=None)
    assert missing.returncode != 0 and b"no process 4194304" in missing.stderr


def bad_checkpoints(directory):
    """Bad checkpoints are passed over with a warning that names them."""
    trace, result = record(directory, LOOP)
    other = os.path.join(directory, "other")
    os.mkdir(other)
    foreign, _ = record(other, LOOP)
    run("create-checkpoints", "-i", 50, foreign)
    run("create-checkpoints", "-i", 50, trace)
    made = checkpoints(trace)
    target = event_of(made[4]) + 1
    expected = run("replay", "-a", "-g", target, trace).stdout
    # From newest to oldest: a hole in the page data, cut, empty, another trace's, a newer format.
    size = os.path.getsize(made[4])
    with open(made[4], "r+b") as file:
        file.seek(size // 3)
        bytes_there = file.read(64)
        file.seek(size // 3)
        file.write(bytes(b ^ 0x55 for b in bytes_there))
    os.truncate(made[3], os.path.getsize(made[3]) // 2)
    os.truncate(made[2], 0)
    shutil.copy(checkpoints(foreign)[1], made[1])
    with open(made[0], "r+b") as file:
        file.seek(8)
        file.write(b"\x02\x00")
    after = run("replay", "-a", "-g", target, trace)
    assert after.stdout == expected
    warnings = after.stderr.decode()
    for path in made[:5]:
        assert path in warnings, (path, warnings)
    assert run("replay", "-a", "-g", target, "--ignore-pcp", trace).stderr == b""
    assert run("replay", "-a", trace).stdout == result.stdout
    os.chmod(trace + "/checkpoints", 0o755)
    shutil.rmtree(trace + "/checkpoints")
    open(trace + "/checkpoints", "w").close()
    assert run("replay", "-a", "-g", target, trace).stdout == expected


def two_creators(directory):
    """Two at once both succeed, beside a replay; existing checkpoints are kept."""
    trace, result = record(directory, LOOP)
    run("create-checkpoints", "-i", 100, trace)
    before = {path: os.stat(path).st_ino for path in checkpoints(trace)}
    jobs = [subprocess.Popen([PCP_RR, "create-checkpoints", "-i", str(step), trace], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
            for step in (30, 30, 45)]
    assert run("replay", "-a", trace).stdout == result.stdout
    for job in jobs:
        output, errors = job.communicate(timeout=280)
        assert job.returncode == 0, errors
        assert errors == b"", errors
    for path, inode in before.items():
        assert os.stat(path).st_ino == inode
    made = checkpoints(trace)
    assert len({event_of(path) for path in made}) == len(made), made  # the same place, the same file
    for path in made:
        assert run("replay", "--place", "-g", event_of(path), trace).stdout.split(b"from ")[1].startswith(path.encode()), path


def while_recording(directory):
    """record --checkpoint-interval makes checkpoints that replays use."""
    trace, result = record(directory, LOOP, "--checkpoint-interval", "40")
    assert result.stderr == b"", result.stderr
    made = checkpoints(trace)
    assert [event_of(path) for path in made] == list(range(40, events(trace) + 1, 40))[:len(made)] and len(made) >= 5, made
    place = run("replay", "--place", "-g", event_of(made[-1]), trace).stdout.decode()
    assert made[-1] in place
    for path in made:
        tail = run("replay", "-a", "-g", event_of(path), trace).stdout
        assert result.stdout.endswith(tail)


def between_events(directory):
    """A program that computes long gets checkpoints between two events."""
    loop = "perl -e '$| = 1; print 1; my $x = 0; $x += $_ % 7 for 1..{}; print $x'"
    start = time.monotonic()
    subprocess.run(["sh", "-c", loop.format(2_000_000)], stdout=subprocess.DEVNULL, check=True)
    long = int(2_000_000 * max(1.0, 1.0 / (time.monotonic() - start)))  # a second at least, on this machine
    trace, result = record(directory, "exec " + loop.format(long))
    run("create-checkpoints", "--interval-ms", 100, trace)
    made = checkpoints(trace)
    events_made = [event_of(path) for path in made]
    assert len(set(events_made)) < len(events_made), events_made
    last = events(trace)
    longest = max(set(events_made), key=events_made.count)
    place = run("replay", "--place", "-g", longest + 1, trace).stdout.decode()
    assert "/%020d-" % longest in place, place
    assert run("replay", "-a", "-g", longest + 1, trace).stdout == run("replay", "-a", "-g", longest + 1, "--ignore-pcp", trace).stdout
    at = run("replay", "--place", "-g", longest, trace).stdout.decode()
    assert place.split("from ")[1].splitlines()[0] != at.split("from ")[1].splitlines()[0], at
    assert run("rerun", "-s", longest + 1, trace).stdout == run("rerun", "-s", longest + 1, "--ignore-pcp", trace).stdout
    assert run("replay", "-a", trace).stdout == result.stdout


def ranges(directory):
    """-s and -e bound where checkpoints are made; nonsense is refused."""
    trace, _ = record(directory, LOOP)
    made = json.loads(run("create-checkpoints", "--json", "-i", 20, "-s", 100, "-e", 170, trace).stdout)
    assert [event_of(path) for path in checkpoints(trace)] == [100, 120, 140, 160]
    # Integers of 64 bits are strings in every document.
    size = sum(os.path.getsize(path) for path in checkpoints(trace))
    assert made == {"checkpoints": "4", "between": "0", "incremental": "3", "bytes": str(size), "event": made["event"]}, made
    assert isinstance(made["event"], str) and 160 <= int(made["event"]) <= 170, made
    for bad in (["-i", 0], ["-i", 5, "--interval-ms", 5], [], ["-i", 5, "-s", 10 ** 9], ["-i", 5, "-s", 90, "-e", 80]):
        result = run("create-checkpoints", *bad, trace, status=None)
        assert result.returncode != 0 and result.stderr, bad


def moved_trace(directory):
    """Checkpoints go with their trace; a copy does not need the original."""
    trace, _ = record(directory, LOOP)
    run("create-checkpoints", "-i", 50, trace)
    target = event_of(checkpoints(trace)[-1])
    expected = run("replay", "-a", "-g", target, trace).stdout
    moved = os.path.join(directory, "else", "where")
    os.mkdir(os.path.dirname(moved))
    os.rename(trace, moved)
    result = run("replay", "-a", "-g", target, moved)
    assert result.stdout == expected and result.stderr == b"", result.stderr
    assert checkpoints(moved)[-1] in run("replay", "--place", "-g", target, moved).stdout.decode()


with tempfile.TemporaryDirectory() as temporary:
    globals()[CASE](temporary)
print("%s: passed" % CASE)
