#!/usr/bin/env python3
"""Calls that are recorded without a stop.

usage: buffer_test.py PCP_RR FIXTURES CASE
"""

import json
import os
import subprocess
import sys
import tempfile

PCP_RR, FIXTURES, CASE = sys.argv[1:4]
PROGRAM = os.path.join(FIXTURES, "buffered_calls")
MAPPER = os.path.join(FIXTURES, "small_mappings")
RSP, RIP, ORIG_RAX = 19, 16, 15  # words of struct user_regs_struct
RT_SIGRETURN, WAIT4, GETRANDOM = 15, 61, 318


def run(*words, **options):
    return subprocess.run(words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, check=True,
                          timeout=300, **options).stdout


def works():
    doctor = json.loads(run(PCP_RR, "doctor", "--json"))
    return next(a["works"] for a in doctor["abilities"] if a["name"] == "buffered-calls")


def record(trace, *command, stops=False, options=(), environment=None):
    """The recording's output, and how often the recorder waited for something."""
    words = [PCP_RR, "record", "-q", *options, *(["-n"] if stops else []), "-o", trace, "--", *command]
    with subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, env=environment,
                          cwd=os.path.dirname(trace)) as process:
        out = process.stdout.read()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0, (words, process.returncode)
    assert run(PCP_RR, "replay", "-a", trace) == out, "the replay differs"
    return out, usage.ru_nvcsw


def fewer_stops(directory):
    _, with_stops = record(os.path.join(directory, "stops"), PROGRAM, "2000", stops=True)
    _, without = record(os.path.join(directory, "none"), PROGRAM, "2000")
    print(f"{with_stops} waits with a stop at each call, {without} else")
    if works():
        assert without < with_stops / 5, "calls are not made without a stop"
    else:
        print("every call stops on this machine: " + str(without))


def way_through(trace):
    """Where each task's events met it, and what it was about to do there. Whether a call has to wait,
    where a child's end finds its parent, and how many random numbers a name takes (mkdtemp(3) throws
    some away), is not the same in every run."""
    tasks = {}
    for event in json.loads(run(PCP_RR, "dump", "--json", trace))["events"]:
        message = event["message"]
        registers = bytes.fromhex(message["registers"])
        word = [int.from_bytes(registers[8 * n:8 * n + 8], "little") for n in (RIP, RSP, ORIG_RAX)]
        kind = message["which"].replace("systemCallBegun", "systemCall")
        if kind not in ("systemCallFinished", "signal") and word[2] not in (RT_SIGRETURN, WAIT4, GETRANDOM):
            tasks.setdefault(message["task"], []).append((kind, *map(hex, word)))
    return list(tasks.values())


def same_events(directory):
    for number, command in enumerate((["ls", "-l", "/usr/share/doc/bash"], [PROGRAM, "50"],
                                      [MAPPER], ["sort", "-r", "/etc/passwd"],
                                      [os.path.join(FIXTURES, "identification"), "plain"])):
        ways = []
        for stops in (True, False):
            trace = os.path.join(directory, f"{number}-{stops}")
            record(trace, *command, stops=stops)
            ways.append(way_through(trace))
        for one, other in zip(*ways, strict=True):
            for place, (left, right) in enumerate(zip(one, other)):
                assert left == right, (command, place, left, right)
            assert len(one) == len(other), (command, len(one), len(other))
        print(f"{command[0]}: the same {sum(map(len, ways[0]))} events")


def large_stack(directory):
    """Where the stack may grow to where the recorder's area would be, there is none."""
    for limit in ("-s 8192", "-s unlimited"):
        out, _ = record(os.path.join(directory, limit), "sh", "-c",
                        f"ulimit {limit} 2> /dev/null; exec {PROGRAM} code")
        assert out == run(PROGRAM, "code"), out


def as_built(directory):
    alone = run(PROGRAM, "code")
    out, _ = record(os.path.join(directory, "trace"), PROGRAM, "code")
    assert out == alone, (alone, out)
    print(out.decode())


def small_mappings(directory):
    """Small files are opened, looked at, mapped and unmapped without a stop, and not kept."""
    _, few = record(os.path.join(directory, "few"), MAPPER, "10")
    _, with_stops = record(os.path.join(directory, "stops"), MAPPER, "510", stops=True)
    trace = os.path.join(directory, "none")
    _, without = record(trace, MAPPER, "510")
    kept = [name for name in os.listdir(os.path.join(trace, "files")) if "many" in name]
    print(f"{with_stops - few} waits more with a stop at each call, {without - few} else; {kept}")
    if works():
        assert without - few < (with_stops - few) / 10, "calls are not made without a stop"
        assert len(kept) < 5, kept  # (a full buffer may have one stop here)


def known_files(directory):
    """What is known of program files makes no difference, whatever has happened to it."""
    cache = os.path.join(directory, "cache", "pcp-rr")
    environment = {**os.environ, "XDG_CACHE_HOME": os.path.dirname(cache)}
    ways = []

    def look(name, options=()):
        trace = os.path.join(directory, name)
        record(trace, "ls", "-l", "/usr/share/doc/bash", options=options, environment=environment)
        ways.append(way_through(trace))
        return sorted(os.listdir(cache)) if os.path.exists(cache) else []

    assert look("without", ["--no-cache"]) == []
    names = look("first")
    assert [name for name in names if name.endswith("-code")], names
    times = {name: os.stat(os.path.join(cache, name)).st_mtime_ns for name in names}
    assert os.stat(cache).st_mode & 0o777 == 0o700
    assert look("known") == names
    for name in names:
        path = os.path.join(cache, name)
        assert os.stat(path).st_mode & 0o777 == 0o600
        assert os.stat(path).st_mtime_ns == times[name], "was written though it was there"
        with open(path, "r+b") as file:
            file.seek(-9, os.SEEK_END)
            byte = file.read(1)
            file.seek(-9, os.SEEK_END)
            file.write(bytes([byte[0] ^ 1]))
    assert look("damaged") == names
    os.chmod(cache, 0o777)
    before = {name: os.stat(os.path.join(cache, name)).st_ino for name in names}
    for name in names:
        os.truncate(os.path.join(cache, name), 0)
    assert look("open to all") == names
    assert before == {name: os.stat(os.path.join(cache, name)).st_ino for name in names}
    os.chmod(cache, 0o700)
    assert look("empty") == names
    assert min(os.path.getsize(os.path.join(cache, name)) for name in names) > 0
    # (The environment is on the stack: it is the same for all but in the trace's own name.)
    for way in ways[1:]:
        assert [[place[0] for place in task] for task in way] == [
            [place[0] for place in task] for task in ways[0]], "other events"
        assert way == ways[1], "other places"
    print(f"the same {sum(map(len, ways[0]))} events {len(ways)} times, {names}")


def saved_state(directory):
    """XSAVEC needs no stop either, and leads to the same events."""
    command = [os.path.join(FIXTURES, "saved_state")]
    _, with_stops = record(os.path.join(directory, "stops"), *command, stops=True)
    out, without = record(os.path.join(directory, "none"), *command)
    print(f"{with_stops} waits with a stop at each instruction, {without} else")
    print(out.decode())
    if works() and b"no XSAVEC" not in out:
        assert without < with_stops / 3, "XSAVEC is not carried out without a stop"


def identification(directory):
    """CPUID needs none where what is asked is set to a constant before it."""
    command = [os.path.join(FIXTURES, "identification"), "plain"]
    _, with_stops = record(os.path.join(directory, "stops"), *command, stops=True)
    out, without = record(os.path.join(directory, "none"), *command)
    print(f"{with_stops} waits with a stop at each instruction, {without} else")
    if works() and cpuid_is_replaced():
        assert without < with_stops * 0.7, "CPUID is not carried out without a stop"


def cpuid_is_replaced():
    doctor = json.loads(run(PCP_RR, "doctor", "--json"))
    return not next(a["works"] for a in doctor["abilities"] if a["name"] == "cpuid-trap")


with tempfile.TemporaryDirectory(prefix="pcp-rr-") as temporary:
    globals()[CASE](temporary)
