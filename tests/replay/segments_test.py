"""Segments of a recording: listed, rerun side by side, and replayed to compare.

usage: segments_test.py BIN PROGRAMS FORGE CASE
"""

import glob
import json
import os
import shutil
import subprocess
import sys
import tempfile

BIN, PROGRAMS, FORGE, CASE = sys.argv[1:5]
LOOP = "i=0; while [ $i -lt 120 ]; do echo line $i; i=$((i+1)); done"
TREE = "for i in 1 2 3; do (echo child $i; sleep 0.01; seq 40 | sort | tail -1) & done; wait; echo end"
PYTHON = "exec /usr/bin/python3 -S -c 'd = {}\nfor i in range(20000): d[i % 977] = str(i) * 3\n" \
         "for i in range(40): print(i, flush=True); d[i] = [i] * 500'"
# Shared memory with pages of zeros that were written, and much of it, which nobody has mapped from some
# event on; and neighbours that the kernel keeps apart because they were written apart.
UNMAPPED = """exec /usr/bin/python3 -S -c '
import ctypes, mmap
c = ctypes.CDLL(None)
c.mmap.restype = ctypes.c_void_p
a = c.mmap(None, 12288, 0, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS, -1, 0)
for page in (0, 8192, 4096):
    c.mprotect(ctypes.c_void_p(a + page), 4096, 3)
    ctypes.memset(a + page, 1, 1)
f = open("f", "w+b")
f.truncate(24 << 20)
m = mmap.mmap(f.fileno(), 0)
m[:40960] = bytes(40960)
m[20480:20485] = b"bytes"
m[65536:] = b"x" * ((24 << 20) - 65536)
for i in range(200): print(i, flush=True)
m.close()
for i in range(200): print(i, flush=True)'"""
# Computes long between two system calls: checkpoints of time lie between events.
COMPUTES = "exec /usr/bin/python3 -S -c 'x = 1\nfor i in range(1200000): x = (x * 31 + i) % 1000003\nprint(x)'"


def run(tool, *arguments, status=0, **options):
    result = subprocess.run([os.path.join(BIN, tool), *map(str, arguments)], capture_output=True, timeout=280,
                            check=False, text=True, **options)
    if status is not None:
        assert result.returncode == status, (tool, arguments, result.returncode, result.stdout[-2500:],
                                             result.stderr[-1500:])
    return result


def record(directory, script, count, *options):
    """A recording with about `count` checkpoints; the number of its events."""
    trace = os.path.join(directory, "trace")
    run("pcp-rr", "record", "-o", trace, "--", "sh", "-c", script, cwd=directory, env=dict(os.environ, P=PROGRAMS))
    last = int(json.loads(run("pcp-rr", "traceinfo", trace).stdout)["events"])
    if count:
        run("pcp-rr", "create-checkpoints", "-i", max(1, last // (count + 1)), *options, trace)
    return trace, last


def checkpoints(trace):
    return sorted(glob.glob(trace + "/checkpoints/*.pcp"))


def segments(trace):
    return json.loads(run("pcp-rr", "segments", "--json", trace).stdout)["segments"]


def replayed(trace, *options, status=0):
    return json.loads(run("pcp-validate", "--trace", trace, "--replay", "--json", *options, status=status).stdout)


def wrong(document):
    """{number of a segment: its errors}"""
    return {int(item["segment"]): [finding for finding in item["findings"] if finding["severity"] == "error"]
            for item in document["segments"] if any(finding["severity"] == "error" for finding in item["findings"])}


def listing(directory):
    """All events, each in one segment; shares of them are reruns of parts."""
    trace, last = record(directory, LOOP, 7)
    found = segments(trace)
    made = checkpoints(trace)
    assert [item["checkpoint"] for item in found] == [None, *made], found
    assert [int(item["segment"]) for item in found] == list(range(1, len(made) + 2))
    assert found[0]["first"] == "1" and int(found[-1]["end"]) == last + 1
    assert all(a["end"] == b["first"] for a, b in zip(found, found[1:]))
    text = run("pcp-rr", "segments", trace).stdout
    assert len(text.splitlines()) == len(found) + 1 and made[3] in text, text
    whole = run("pcp-rr", "rerun", trace).stdout
    for count in (1, 2, 3, len(found), 50):
        parts = [run("pcp-rr", "rerun", "--segment", "%d/%d" % (number, count), trace).stdout
                 for number in range(1, count + 1)]
        assert "".join(parts) == whole, count
        assert count > 3 or all(parts), count
        assert sum(1 for part in parts if part) <= len(found), count
        if count == 3:
            sizes = [part.count("\n") for part in parts]
            assert max(sizes) < 2 * min(sizes), sizes
    for text in ("0/3", "4/3", "1", "1/", "/1", "a/b", "1/1000001", "-1/2", "1/2/3"):
        assert "I/N" in run("pcp-rr", "rerun", "--segment", text, trace, status=2).stderr, text
    run("pcp-rr", "rerun", "--segment", "1/2", "-s", 5, trace, status=2)
    run("pcp-rr", "segments", directory + "/none", status=3)
    # What cannot be used cuts nothing, and is named.
    os.truncate(made[2], os.path.getsize(made[2]) // 2)
    fewer = run("pcp-rr", "segments", "--json", trace)
    assert made[2] in fewer.stderr and len(json.loads(fewer.stdout)["segments"]) == len(found) - 1
    assert run("pcp-rr", "rerun", "--segment", "2/4", trace).stdout in whole
    shutil.rmtree(trace + "/checkpoints")
    assert len(segments(trace)) == 1
    assert run("pcp-rr", "rerun", "--segment", "1/2", trace).stdout + \
        run("pcp-rr", "rerun", "--segment", "2/2", trace).stdout == whole


def agree(directory):
    """Every checkpoint, one or many bases deep, is what a replay comes to."""
    scripts = {"loop": LOOP, "tree": TREE, "python": PYTHON, "threads": 'exec "$P"/producer_consumer',
               "shared": 'exec "$P"/shared_memory', "signals": '"$P"/signals; true', "vfork": 'exec "$P"/vforks'}
    for name, script in scripts.items():
        place = os.path.join(directory, name)
        os.mkdir(place)
        trace, _ = record(place, script, 5)
        document = replayed(trace)
        made = len(checkpoints(trace))
        assert made >= 4, (name, made)
        assert int(document["replayed"]) == made + 1 == len(document["segments"]), document
        assert document["wrong"] == document["unreplayed"] == "0" and document["valid"] == str(made), document
        assert not any(item["findings"] for item in document["segments"]), document["segments"]
    # Made while recording, and of a recording with digests of memory.
    trace = os.path.join(directory, "live")
    run("pcp-rr", "record", "-o", trace, "--checkpoint-interval", 40, "--checksum", 25, "--", "sh", "-c", LOOP)
    assert len(checkpoints(trace)) >= 3
    assert not wrong(replayed(trace))


def unmapped(directory):
    """What nobody has mapped any more, and mappings that could be one, are the same from wherever."""
    trace, last = record(directory, UNMAPPED, 0)
    run("pcp-rr", "create-checkpoints", "-s", last - 300, "-i", 200, trace)
    assert len(checkpoints(trace)) == 2
    assert not wrong(replayed(trace))


def shares(directory):
    """All shares together judge and replay what one command does."""
    trace, _ = record(directory, LOOP, 6)
    whole = replayed(trace)
    parts = [replayed(trace, "--segment", "%d/4" % number) for number in range(1, 5)]
    assert [item["segment"] for part in parts for item in part["segments"]] == \
        [item["segment"] for item in whole["segments"]]
    assert sorted(item["file"] for part in parts for item in part["files"]) == \
        sorted(item["file"] for item in whole["files"]) == checkpoints(trace)
    text = run("pcp-validate", "--trace", trace, "--replay").stdout
    assert "%d segments replayed, 0 wrong, 0 not replayed" % len(whole["segments"]) in text, text
    for arguments in (("--replay",), ("--trace", trace, "--segment", "1/2"),
                      ("--trace", trace, "--replay", "--segment", "3/2"),
                      ("--trace", trace, "--replay", checkpoints(trace)[0]), ("--trace", directory, "--replay")):
        run("pcp-validate", *arguments, status=2)
    # One document, also where a file cannot be read.
    document = json.loads(run("pcp-validate", "--json", checkpoints(trace)[0], directory + "/none", status=2).stdout)
    assert (document["valid"], document["unreadable"], len(document["files"])) == ("1", "1", 2), document


def forged(directory):
    """One thing that is wrong in a checkpoint, with every checksum right, is found and named."""
    trace, _ = record(directory, 'exec "$P"/quiet_sum', 4, "--bases", 0, "--profile", "raw")
    made = checkpoints(trace)
    assert len(made) >= 4, made
    assert not wrong(replayed(trace))
    number = 2  # the segment that leads to the checkpoint
    path = made[number - 1]
    with open(path, "rb") as file:
        right = file.read()
    words = {"memory": "memory", "first-page": "memory", "last-page": "memory", "general": "r12", "extended": "mm7",
             "mask": "signal mask", "calls": "system calls"}
    for what, word in words.items():
        subprocess.run([FORGE, path, what], check=True, stdout=subprocess.DEVNULL)
        # No checksum and no rule of the format tells.
        run("pcp-validate", path)
        found = wrong(replayed(trace, status=1))
        assert number in found, (what, found)
        about = found[number]
        assert all(item["code"] == "pcp-trace.replay-state" for item in about), (what, about)
        assert word in about[0]["message"], (what, about)
        # Where it has an effect later, that is told of the segments behind it, and of no other.
        assert set(found) <= {number, number + 1, number + 2}, (what, sorted(found))
        text = run("pcp-validate", "-q", "--trace", trace, "--replay", status=1).stdout
        assert path in text and "replay-state" in text, text
        alone = [replayed(trace, "--segment", "%d/%d" % (share, len(made) + 1), status=None)
                 for share in range(1, len(made) + 2)]
        assert {key for part in alone for key in wrong(part)} == set(found), what
        with open(path, "wb") as file:
            file.write(right)
    # A checkpoint that is damaged is invalid, whatever a replay says.
    with open(path, "r+b") as file:
        file.seek(len(right) // 2)
        file.write(b"\0\1\2\3" * 100)
    document = replayed(trace, status=1)
    assert document["invalid"] == "1", document
    with open(path, "wb") as file:
        file.write(right)
    assert not wrong(replayed(trace))


def cut(directory):
    """Of a trace that is not whole that is told, however far it can be replayed."""
    trace, _ = record(directory, LOOP, 3)
    stream = trace + "/events"
    size = os.path.getsize(stream)
    with open(stream, "rb") as file:
        right = file.read()
    assert replayed(trace)["traceProblem"] is None
    os.truncate(stream, size - 20)  # as of a recorder that was killed
    document = replayed(trace, status=None)
    assert document["traceProblem"]["code"] and stream in document["traceProblem"]["file"], document
    assert run("pcp-rr", "segments", trace).stderr.startswith("pcp-rr: warning: " + stream)
    with open(stream, "wb") as file:
        file.write(right[:-600] + bytes(byte ^ 0x55 for byte in right[-600:-300]) + right[-300:])
    damaged = run("pcp-validate", "--trace", trace, "--replay", status=None)
    assert damaged.returncode in (1, 2) and stream in damaged.stderr, damaged


def between(directory):
    """Checkpoints between two events are found again, and wrong ones are noticed."""
    trace, _ = record(directory, COMPUTES, 0)
    # How much is computed in so many milliseconds differs from machine to machine.
    for interval in (150, 50, 15, 5):
        shutil.rmtree(trace + "/checkpoints", ignore_errors=True)
        run("pcp-rr", "create-checkpoints", "--interval-ms", interval, "--bases", 0, "--profile", "raw", trace)
        rows = json.loads(run("pcp-inspect", "list", "--json", trace + "/checkpoints").stdout)["checkpoints"]
        inside = [row for row in rows if row["position"]["kind"] == "between"]
        if inside:
            break
    assert inside, rows
    made = checkpoints(trace)
    document = replayed(trace)
    assert len(document["segments"]) == len(made) + 1 and not wrong(document), document
    path = os.path.join(trace, "checkpoints", inside[0]["file"])
    number = 2 + rows.index(inside[0]) # rows are in the order of places, as segments are
    with open(path, "rb") as file:
        right = file.read()
    for what in ("memory", "general"):
        subprocess.run([FORGE, path, what], check=True, stdout=subprocess.DEVNULL)
        document = replayed(trace, status=None)
        found = wrong(document)
        # A place in a loop that was not found again: what is overwritten before the next event is not
        # seen there, and that is said.
        later = any(finding["code"] == "pcp-trace.replay-later"
                    for item in document["segments"] for finding in item["findings"])
        assert found or (what == "general" and later), (what, document)
        assert set(found) <= set(range(number - 1, number + 3)), (what, found)
        with open(path, "wb") as file:
            file.write(right)


CASES = {case.__name__: case for case in (listing, agree, unmapped, shares, forged, cut, between)}

with tempfile.TemporaryDirectory() as folder:
    CASES[CASE](folder)
