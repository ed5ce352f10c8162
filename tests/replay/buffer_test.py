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
RSP, RIP, ORIG_RAX = 19, 16, 15  # words of struct user_regs_struct


def run(*words, **options):
    return subprocess.run(words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, check=True,
                          timeout=300, **options).stdout


def works():
    doctor = json.loads(run(PCP_RR, "doctor", "--json"))
    return next(a["works"] for a in doctor["abilities"] if a["name"] == "buffered-calls")


def record(trace, *command, stops=False):
    """The recording's output, and how often the recorder waited for something."""
    words = [PCP_RR, "record", "-q", *(["-n"] if stops else []), "-o", trace, "--", *command]
    with subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE) as process:
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
    """Where each task's events met it, and what it was about to do there."""
    tasks = {}
    for event in json.loads(run(PCP_RR, "dump", "--json", trace))["events"]:
        message = event["message"]
        registers = bytes.fromhex(message["registers"])
        word = [int.from_bytes(registers[8 * n:8 * n + 8], "little") for n in (RIP, RSP, ORIG_RAX)]
        tasks.setdefault(message["task"], []).append((message["which"], *map(hex, word)))
    return list(tasks.values())


def same_events(directory):
    for number, command in enumerate((["ls", "-l", "/usr/share/doc/bash"], [PROGRAM, "50"],
                                      ["sort", "-r", "/etc/passwd"])):
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


def saved_state(directory):
    """XSAVEC needs no stop either, and leads to the same events."""
    command = [os.path.join(FIXTURES, "saved_state")]
    _, with_stops = record(os.path.join(directory, "stops"), *command, stops=True)
    out, without = record(os.path.join(directory, "none"), *command)
    print(f"{with_stops} waits with a stop at each instruction, {without} else")
    print(out.decode())
    if works() and b"no XSAVEC" not in out:
        assert without < with_stops / 3, "XSAVEC is not carried out without a stop"


with tempfile.TemporaryDirectory(prefix="pcp-rr-") as temporary:
    globals()[CASE](temporary)
