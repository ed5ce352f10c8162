#!/usr/bin/python3
"""Cores of hostile origin, and cores of every golden checkpoint.

usage: hostile_core_test.py BIN GOLDEN

Each valid golden file of a machine that is known becomes a core and a checkpoint again with the same registers;
that core is then cut, and changed, everywhere.
"""

import json
import os
import random
import struct
import subprocess
import sys

from interop_support import ALL, Folder, check, main, run

BIN, GOLDEN = sys.argv[1:3]
PCP = lambda name: os.path.join(BIN, name)
PHDR = struct.Struct("<IIQQQQQQ")


def registers(path):
    out = {}
    for task in json.loads(run([PCP("pcp-inspect"), "--json", "regs", "--no-names", path]).stdout)["tasks"]:
        for item in task["sets"]:
            data = bytearray.fromhex(item["data"])
            if item["name"] == "NT_X86_XSTATE":
                data[464:472] = bytes(8)  # a core says there what the processor has
            out[task["tid"], item["noteType"]] = bytes(data)
    return out


def goldens(folder):
    """Makes cores of all golden files; the path of a small one is returned."""
    small = None
    known = 0
    for name in sorted(os.listdir(os.path.join(GOLDEN, "valid"))):
        if not name.endswith(".pcp"):
            continue
        path, core = os.path.join(GOLDEN, "valid", name), os.path.join(folder, name + ".core")
        done = run([PCP("pcp-convert"), "--json", "--to", "core", path, "-o", core], expected=None)
        check(done.returncode in (0, 2), "%s: %s" % (name, done.stderr))
        if done.returncode == 2:
            check(done.stderr.count("\n") == 1, done.stderr)  # refused in one line
            continue
        found = {}
        cores = json.loads(done.stdout)["cores"]
        for made in cores:
            check("CORE" in run(["eu-readelf", "-h", made["file"]]).stdout, "no core: %s" % made)
            again = made["file"] + ".pcp"
            run([PCP("pcp-convert"), "--from", "core", "--ignore-files", made["file"], "-o", again])
            run([PCP("pcp-validate"), again])
            found.update(registers(again))
            if name == "x86-64-live-raw.pcp" and small is None:
                small = made["file"]
        expected = registers(path)
        missing = {key for key in expected if expected[key] != found.get(key, expected[key] if key[1] == 2 else None)}
        check(not missing, "%s: registers differ: %s" % (name, missing))
        known += 1
    check(known >= 5 and small, "hardly any golden file became a core")
    return small


class Core:
    """A small core that is taken apart and put together otherwise."""

    def __init__(self, path):
        with open(path, "rb") as file:
            self.data = bytearray(file.read())
        self.table, = struct.unpack_from("<Q", self.data, 32)
        self.count, = struct.unpack_from("<H", self.data, 56)

    def segment(self, index):
        return list(PHDR.unpack_from(self.data, self.table + index * PHDR.size))

    def set_segment(self, index, values):
        PHDR.pack_into(self.data, self.table + index * PHDR.size, *values)

    def loads(self):
        return [i for i in range(self.count) if self.segment(i)[0] == 1]


def refused(folder, name, data, word, limit=None):
    """pcp-convert ends with 2 and one line that has `word`; never by a signal."""
    path = os.path.join(folder, "hostile")
    with open(path, "wb") as file:
        file.write(data)
        if limit:
            file.truncate(limit)
    done = run([PCP("pcp-convert"), "--from", "core", path, "-o", path + ".pcp"], expected=None, timeout=120)
    check(done.returncode == 2 and word in done.stderr and not os.path.exists(path + ".pcp"),
          "%s: %d %s" % (name, done.returncode, done.stderr))


def crafted(folder, small):
    core = Core(small)
    loads = core.loads()
    stored = [i for i in loads if core.segment(i)[5] != 0]
    check(len(stored) >= 2, "the core has too few segments")

    def changed(change):
        other = Core(small)
        change(other)
        return other.data

    def overlap(other):
        first = other.segment(loads[0])
        second = other.segment(loads[1])
        second[3] = first[3]
        other.set_segment(loads[1], second)

    def share(other):
        size = len(other.data)
        for i in loads:
            values = other.segment(i)
            values[2], values[5] = 0, size
            values[6] = max(values[6], size)
            values[3] = 1 << 40 | i << 32
            other.set_segment(i, values)

    def beyond(other):
        values = other.segment(loads[-1])
        values[6] = (1 << 64) - 4096
        other.set_segment(loads[-1], values)

    def odd(other):
        values = other.segment(loads[0])
        values[3] += 1
        other.set_segment(loads[0], values)

    refused(folder, "overlap", changed(overlap), "overlap")
    refused(folder, "shared bytes", changed(share), "share bytes")
    refused(folder, "beyond all memory", changed(beyond), "beyond the end")
    refused(folder, "within a page", changed(odd), "does not begin at a page")
    refused(folder, "no core", changed(lambda o: o.data.__setitem__(slice(16, 18), b"\2\0")), "no core")
    refused(folder, "machine", changed(lambda o: o.data.__setitem__(slice(18, 20), b"\x77\x77")), "machine")
    refused(folder, "big-endian", changed(lambda o: o.data.__setitem__(5, 2)), "big-endian")
    refused(folder, "count", changed(lambda o: struct.pack_into("<H", o.data, 56, 0xfffe)), "program headers")
    refused(folder, "far table", changed(lambda o: struct.pack_into("<Q", o.data, 32, 1 << 63)), "program headers")

    def extended(other):
        struct.pack_into("<H", other.data, 56, 0xffff)
        struct.pack_into("<Q", other.data, 40, 64)  # a program header as section header: any number

    done = changed(extended)
    path = os.path.join(folder, "extended")
    with open(path, "wb") as file:
        file.write(done)
    check(run([PCP("pcp-convert"), "--from", "core", path, "-o", path + ".pcp"], expected=None).returncode == 2,
          "a number of segments from anywhere was believed")

    def huge_notes(other):
        for i in range(other.count):
            values = other.segment(i)
            if values[0] == 4:
                values[2], values[5] = 0, 1 << 62
                other.set_segment(i, values)

    refused(folder, "notes", changed(huge_notes), "notes", limit=3 << 30)


def damaged(folder, small):
    """Cut and changed at random: valid checkpoints or refusals, never anything else."""
    with open(small, "rb") as file:
        data = file.read()
    generator = random.Random(20261130)
    path = os.path.join(folder, "damaged")
    head = len(data) if len(data) < 16384 else 16384
    for turn in range(400 if ALL else 60):
        other = bytearray(data)
        if turn % 3 == 0:
            del other[generator.randrange(len(other)):]
        else:
            for _ in range(generator.choice((1, 2, 8))):
                other[generator.randrange(head)] = generator.choice((0, 1, 0x7f, 0x80, 0xff, generator.randrange(256)))
        with open(path, "wb") as file:
            file.write(other)
        done = subprocess.run([PCP("pcp-convert"), "--from", "core", path, "-o", path + ".pcp"],
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=False, timeout=120)
        check(done.returncode in (0, 2), "turn %d: %d %s" % (turn, done.returncode, done.stderr))
        if done.returncode == 0:
            run([PCP("pcp-validate"), path + ".pcp"])
            bt = run([PCP("pcp-inspect"), "bt", path + ".pcp"], expected=None)
            check(bt.returncode in (0, 2), "turn %d: bt: %s" % (turn, bt.stderr))


def test():
    with Folder() as folder:
        small = goldens(folder)
        crafted(folder, small)
        damaged(folder, small)


main(test)
