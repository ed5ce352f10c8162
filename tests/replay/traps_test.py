#!/usr/bin/env python3
"""Instructions that no replay can foresee, however they are caught: programs that execute them
replay with the recorded output, from the start and from a checkpoint.

usage: traps_test.py PCP_RR FIXTURES WAY CASE

WAY is how the recorder catches them (RRPCP_TRAPS): replace, processor, or both. A replay is not
told. With "same" both are compared: the trace is the same. Exits with 77 where the machine lacks the
program, or the processor traps nothing.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile

PCP_RR, FIXTURES, WAY, CASE = sys.argv[1:5]
TIMEOUT = 900

HASHES = """
import hashlib, os, ssl, time, uuid
data = os.urandom(100_000)
for name in sorted(hashlib.algorithms_guaranteed):
    made = hashlib.new(name, data)
    print(name, made.hexdigest(16) if name.startswith("shake") else made.hexdigest())
print(ssl.RAND_bytes(16).hex(), uuid.uuid4(), time.perf_counter_ns())
"""

NODE = """
const crypto = require("crypto");
console.log(crypto.randomBytes(16).toString("hex"), process.hrtime.bigint(), Math.random());
let sum = 0;
for (let i = 0; i < 300000; ++i) sum = (sum * 31 + i) % 1000003;
console.log(sum, crypto.createHash("sha256").update(String(sum)).digest("hex"));
setTimeout(() => console.log("later", Date.now() > 0), 10);
"""

# name: command; "@" for one of the fixtures, ":" for a file with these contents
CASES = {
    "echo": ["/bin/echo", "hello"],
    "clocks": ["@clocks"],
    "instructions": ["@instructions"],
    "instructions_static": ["@instructions_static"],
    "masked_faults": ["@masked_faults"],
    "made_code": ["@made_code"],
    "hashes": ["python3", ":hashes.py"],
    "openssl": ["openssl", "rand", "-hex", "32"],
    "node": ["node", ":random.js"],
    "valgrind": ["valgrind", "-q", "ls", "/usr"], # reads code, and executes what it makes of it
    "java": ["java", "-XX:+UseSerialGC", "--list-modules"],
}
FILES = {"hashes.py": HASHES, "random.js": NODE}


def run(command, directory, way=None):
    environment = {name: value for name, value in os.environ.items() if name != "RRPCP_TRAPS"}
    if way in ("replace", "processor"):
        environment["RRPCP_TRAPS"] = way
    return subprocess.run(command, cwd=directory, stdin=subprocess.DEVNULL, capture_output=True,
                          timeout=TIMEOUT, env=environment, check=False)


def fail(what, result):
    print(f"FAILED: {what}: status {result.returncode}\n{result.stdout.decode(errors='replace')}\n"
          f"{result.stderr.decode(errors='replace')}")
    sys.exit(1)


def skip(why):
    print(f"skipped: {why}")
    sys.exit(77)


RIP, ORIG_RAX = 16, 15  # words of struct user_regs_struct


def way_through(trace):
    """Where each task's events met it, and what it was about to do there."""
    tasks = {}
    for event in json.loads(run([PCP_RR, "dump", "--json", trace], "/").stdout)["events"]:
        message = event["message"]
        registers = bytes.fromhex(message["registers"])
        if not registers:
            continue  # an exec, or what happens to a task where it stands
        word = [int.from_bytes(registers[8 * n:8 * n + 8], "little") for n in (RIP, ORIG_RAX)]
        what = message["trap"] if message["which"] == "trap" else word[1]
        tasks.setdefault(message["task"], []).append((hex(word[0]), what))
    return list(tasks.values())


def require_same(directory, command):
    ways = {}
    for way in ("replace", "processor"):
        trace = os.path.join(directory, way)
        recorded = run([PCP_RR, "record", "-o", trace, "--", *command], directory, way)
        if recorded.returncode != 0:
            fail("recording", recorded)
        ways[way] = way_through(trace)
    one, other = ways.values()
    if len(one) != len(other):
        fail(f"{len(one)} and {len(other)} tasks", recorded)
    for left, right in zip(one, other):
        for number, (mine, theirs) in enumerate(zip(left, right)):
            if mine != theirs:
                fail(f"event {number} of a task: replaced {mine}, by the processor {theirs}", recorded)
        if len(left) != len(right):
            fail(f"{len(left)} and {len(right)} events of a task", recorded)
    print(f"{CASE}: the same {sum(map(len, one))} events of {len(one)} tasks either way")


def require_processor():
    doctor = json.loads(run([PCP_RR, "doctor", "--json"], "/").stdout)
    works = {ability["name"]: ability["works"] for ability in doctor["abilities"]}
    if not works["rdtsc-trap"]:
        refused = run([PCP_RR, "record", "-o", "/nonexistent/trace", "--", "/bin/true"], "/",
                      "processor")
        if refused.returncode == 0:
            fail("a recording that could not be right was not refused", refused)
        skip("this processor does not trap RDTSC")


def main():
    words = CASES[CASE]
    if not words[0].startswith("@") and shutil.which(words[0]) is None:
        skip(f"there is no {words[0]}")
    if CASE == "java" and os.environ.get("RRPCP_ALL") != "1":
        skip("it takes long; tests/run.sh --all asks for it")
    if WAY in ("processor", "same"):
        require_processor()
    with tempfile.TemporaryDirectory(prefix="pcp-rr-") as directory:
        for name, text in FILES.items():
            with open(os.path.join(directory, name), "w", encoding="ascii") as out:
                out.write(text)
        command = [os.path.join(FIXTURES, word[1:]) if word.startswith("@") else word.lstrip(":")
                   for word in words]
        if WAY == "same":
            require_same(directory, command)
            return
        trace = os.path.join(directory, "trace")
        recorded = run([PCP_RR, "record", "-o", trace, "--", *command], directory, WAY)
        if recorded.returncode != 0 or not recorded.stdout:
            fail("recording", recorded)
        replayed = run([PCP_RR, "replay", "-a", trace], "/")
        if replayed.returncode != 0 or replayed.stdout != recorded.stdout:
            fail("replaying", replayed)
        dump = run([PCP_RR, "dump", trace], "/").stdout.decode(errors="replace").splitlines()
        traps = sum("trapped" in line for line in dump)
        if traps == 0:
            fail("no instruction was caught", recorded)
        target = max(2, len(dump) * 2 // 3)
        made = run([PCP_RR, "create-checkpoints", "-q", "-i", str(target // 2), "-e", str(target),
                    trace], "/")
        late = run([PCP_RR, "replay", "-a", "-g", str(target), trace], "/")
        if made.returncode != 0 or late.returncode != 0 or b"checkpoint" in late.stderr:
            fail("from a checkpoint", late)
        if not recorded.stdout.endswith(late.stdout):
            fail("the output from a checkpoint differs", late)
        print(f"{CASE}, {WAY}: {len(dump)} events, {traps} instructions caught, two replays the "
              f"same; {recorded.stderr.decode(errors='replace')}")


main()
