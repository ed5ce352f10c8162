"""Series of checkpoints from the command line: what they cost, and what becomes of them.

usage: series_test.py BIN CASE
"""

import glob
import json
import os
import signal
import subprocess
import sys
import tempfile
import time

BIN, CASE = sys.argv[1:3]
PROGRAM = "exec /usr/bin/python3 -S -c 'd = {}\nfor i in range(40000): d[i % 977] = str(i) * 3\nprint(len(d))\n" \
          "for i in range(60): print(i, flush=True); d[i] = [i] * 2000'"


def run(tool, *arguments, status=0):
    result = subprocess.run([os.path.join(BIN, tool), *map(str, arguments)], capture_output=True, timeout=280,
                            check=False, text=True)
    if status is not None:
        assert result.returncode == status, (tool, arguments, result.returncode, result.stdout[-1500:],
                                             result.stderr[-1500:])
    return result


def record(directory, count, *options):
    """A recording with about `count` checkpoints; the events at which it has some."""
    trace = os.path.join(directory, "trace")
    run("pcp-rr", "record", "-o", trace, "--", "sh", "-c", PROGRAM)
    last = int(run("pcp-rr", "replay", "--place", "-g", 1, trace).stdout.split()[3].rstrip(","))
    run("pcp-rr", "create-checkpoints", "-i", max(1, last // count), *options, trace)
    return trace, last


def listed(trace, status=0):
    return json.loads(run("pcp-inspect", "list", "--json", trace + "/checkpoints", status=status).stdout)["checkpoints"]


def chains(directory):
    """Checkpoints store what changed; list, validate and replay know the chain."""
    trace, last = record(directory, 14)
    rows = listed(trace)
    full = [row for row in rows if not row["bases"]]
    rest = [row for row in rows if row["bases"]]
    assert full and len(rest) > len(full), [len(row["bases"]) for row in rows]
    assert max(len(row["bases"]) for row in rows) <= 8
    ids = {row["checkpointId"] for row in rows}
    for row in rest:
        assert set(row["bases"]) <= ids and row["checkpointId"] not in row["bases"], row
        assert int(row["inheritedBytes"]) > 0 and row["version"]["minor"] == 1, row
    assert all(int(row["inheritedBytes"]) == 0 and row["version"]["minor"] == 0 for row in full)
    run("pcp-validate", "--trace", trace)
    whole = run("pcp-rr", "rerun", "--ignore-pcp", trace).stdout.splitlines()
    for row in rest[::3]:
        start = int(row["position"]["event"]) + 1
        assert run("pcp-rr", "rerun", "-s", start, trace).stdout.splitlines() == whole[start - 1:], start
    other = os.path.join(directory, "other")
    os.mkdir(other)
    os.rename(trace + "/checkpoints", other + "/series")
    run("pcp-rr", "create-checkpoints", "-i", max(1, last // 14), "--bases", 0, trace)
    alone = listed(trace)
    assert not any(row["bases"] for row in alone)
    size = sum(int(row["size"]) for row in rows)
    full_size = sum(int(row["size"]) for row in alone)
    print("%d checkpoints: %d bytes as a series, %d each on its own (%.0f %%)" % (
        len(rows), size, full_size, 100 * size / full_size))
    assert size < full_size


def base_removed(directory):
    """A base that is removed by hand is named by whoever needs it, and replays go on from another."""
    trace, last = record(directory, 6)
    rows = listed(trace)
    base = next(row for row in rows if not row["bases"])
    children = [row for row in rows if base["checkpointId"] in row["bases"]]
    assert children
    os.remove(os.path.join(trace, "checkpoints", base["file"]))
    for row in listed(trace, status=1):
        broken = row["checkpointId"] in {child["checkpointId"] for child in children}
        assert (row["problem"] is not None) == broken, row
        assert not broken or base["checkpointId"] in row["problem"]["message"], row
    path = os.path.join(trace, "checkpoints", children[-1]["file"])
    found = run("pcp-validate", "--json", path, status=1).stdout
    assert "base.missing" in found and base["checkpointId"] in found, found
    run("pcp-inspect", "info", path)
    target = int(children[-1]["position"]["event"]) + 1
    after = run("pcp-rr", "replay", "-a", "-g", target, trace)
    assert after.stdout == run("pcp-rr", "replay", "-a", "-g", target, "--ignore-pcp", trace).stdout
    assert base["checkpointId"] in after.stderr and path in after.stderr, after.stderr


def flatten(directory):
    """A flattened checkpoint needs no other file and says the same."""
    trace, _ = record(directory, 6)
    row = listed(trace)[-1]
    assert row["bases"]
    path = os.path.join(trace, "checkpoints", row["file"])
    out = os.path.join(directory, "flat")
    made = json.loads(run("pcp-upgrade", "--json", "--flatten", "-o", out, path).stdout)["checkpoints"][0]
    assert made["state"] == "flattened", made
    assert not json.loads(run("pcp-inspect", "info", "--json", made["target"]).stdout)["bases"]
    run("pcp-validate", made["target"])
    run("pcp-inspect", "diff", path, made["target"])
    contents = [json.loads(run("pcp-inspect", "--json", "--contents", file).stdout)["contents"]
                for file in (path, made["target"])]
    assert contents[0] == contents[1]
    refused = run("pcp-upgrade", "--to", "1.0", "-o", out, path, status=1)
    assert "flatten" in refused.stdout + refused.stderr, refused
    for file in glob.glob(trace + "/checkpoints/*.pcp"):
        os.remove(file)
    os.rename(made["target"], os.path.join(trace, "checkpoints", os.path.basename(made["target"])))
    target = int(row["position"]["event"]) + 1
    place = run("pcp-rr", "replay", "--place", "-g", target, trace)
    assert os.path.basename(made["target"]) in place.stdout and not place.stderr, place


def prune(directory):
    """pcp-prune beside a replay and a writer leaves what can be read, also where it is killed."""
    trace, last = record(directory, 20)
    before = listed(trace)
    spacing = last // 5
    dry = json.loads(run("pcp-prune", "--json", "--dry-run", "--spacing", spacing, trace).stdout)
    assert int(dry["removed"]) > 0 and len(listed(trace)) == len(before)
    fates = {item["fate"] for item in dry["checkpoints"]}
    assert fates <= {"kept", "needed", "removed"}, fates
    for delay in (0, 0.002, 0.005, 0.01):
        job = subprocess.Popen([os.path.join(BIN, "pcp-prune"), "-q", "--spacing", str(spacing), trace])
        time.sleep(delay)
        job.send_signal(signal.SIGKILL)
        job.wait()
        assert all(row["problem"] is None for row in listed(trace))
    writer = subprocess.Popen([os.path.join(BIN, "pcp-rr"), "create-checkpoints", "-q", "-i", str(max(1, last // 30)),
                               trace], stderr=subprocess.PIPE, text=True)
    for _ in range(10):
        run("pcp-prune", "-q", "--spacing", spacing, trace)
        assert all(row["problem"] is None for row in listed(trace))
    _, errors = writer.communicate(timeout=280)
    assert writer.returncode == 0, errors
    run("pcp-prune", "--spacing", spacing, trace)
    rows = listed(trace)
    assert all(row["problem"] is None for row in rows)
    run("pcp-validate", "--trace", trace)
    small = run("pcp-prune", "--json", "--max-size", 1, trace)
    assert not json.loads(small.stdout)["kept"].strip("0") and not listed(trace), small


with tempfile.TemporaryDirectory() as temporary:
    globals()[CASE](temporary)
print("%s: passed" % CASE)
