#!/usr/bin/python3
"""Makes seeds for the targets that take parts of files, from the valid golden files.

usage: make_seeds.py GOLDEN_DIR CORPUS_DIR [BIN]
       make_seeds.py GOLDEN_DIR CORPUS_DIR --check

fuzz_manifest gets the manifests of some files without their framing, fuzz_chunk the smallest compressed
chunks. Files are named after the golden file they are from. (Targets that take whole files use the golden
files themselves: fuzz/run.sh.) fuzz_bundle gets the hostile bundles of tests/interop, and with BIN, the folder of
the pcp-* commands, fuzz_core gets cores made of the smaller golden files, whole and cut.

--check says which seeds of manifests and chunks in CORPUS_DIR are not what would be made, and fails then: one
of an earlier version of the golden files is refused before it reaches what it is to test.
"""

import os
import re
import struct
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "tests", "interop"))
import hostile_bundles

MANIFESTS = {"empty", "x86-64-live-raw", "x86-64-at-event", "aarch64-64k-between", "i386-at-event"}
LARGEST_CHUNK = 4096


# Of each machine one, and one with all that is rare. Of several processes each becomes a core.
CORES = ("aarch64-live", "corners", "i386-at-event", "x86-64-at-event")
# Cores of no more than so many bytes: a fuzzer changes small files sooner.
LARGEST_CORE = 64 << 10


def write(corpus, target, name, data):
    os.makedirs(os.path.join(corpus, target), exist_ok=True)
    with open(os.path.join(corpus, target, re.sub("[^a-z0-9]+", "-", name.lower())), "wb") as file:
        file.write(data)


def bundles(corpus):
    for name, (data, _) in hostile_bundles.hostile_bundles().items():
        write(corpus, "fuzz_bundle", name, data)
    write(corpus, "fuzz_bundle", "good", hostile_bundles.good_bundle())
    # Without the compression, which changes of bytes hardly get through.
    x = [hostile_bundles.plain("root/a/b"), hostile_bundles.plain("root/c")]
    entries = [hostile_bundles.entry(name, data) for name, data, _, _ in x]
    write(corpus, "fuzz_bundle", "good-tar", hostile_bundles.zstandard.ZstdDecompressor().decompressobj().decompress(
        hostile_bundles.pack(entries, x)))


def cores(golden, corpus, binary):
    valid = os.path.join(golden, "1.0", "valid")
    with tempfile.TemporaryDirectory() as folder:
        for stem in CORES:
            subprocess.run([os.path.join(binary, "pcp-convert"), "--quiet", "--to", "core",
                            os.path.join(valid, stem + ".pcp"), "-o", os.path.join(folder, stem)], check=True)
        for name in sorted(os.listdir(folder)):
            with open(os.path.join(folder, name), "rb") as file:
                data = file.read()
            if len(data) <= LARGEST_CORE:
                write(corpus, "fuzz_core", name, data)
                write(corpus, "fuzz_core", name + "-cut", data[:len(data) // 2])


def parts(golden, corpus):
    valid = os.path.join(golden, "1.0", "valid")
    for name in sorted(os.listdir(valid)):
        stem, extension = os.path.splitext(name)
        if extension != ".pcp":
            continue
        with open(os.path.join(valid, name), "rb") as file:
            data = file.read()
        footer = data[-160:]
        directory, sections, entry = struct.unpack_from("<QII", footer)
        count, size = struct.unpack_from("<QI", footer, 88)
        places = {}
        for i in range(sections):
            kind, _, offset, length = struct.unpack_from("<IIQQ", data, directory + i * entry)
            places[kind] = (offset, length)
        table, (manifest, length) = places[1][0], places[2]
        if stem in MANIFESTS:
            write(corpus, "fuzz_manifest", stem, data[manifest + 8:manifest + length])
        for i in range(count):
            offset, stored = struct.unpack_from("<QI", data, table + i * size)
            (codec,) = struct.unpack_from("<H", data, table + i * size + 32)
            if codec == 1 and stored <= LARGEST_CHUNK and stem.endswith(("fast", "small", "event")):
                write(corpus, "fuzz_chunk", "%s-%d" % (stem, i), data[offset:offset + stored])


def check(golden, corpus):
    made = 0
    drifted = []
    with tempfile.TemporaryDirectory() as fresh:
        parts(golden, fresh)
        for folder, _, names in os.walk(fresh):
            for name in names:
                path = os.path.relpath(os.path.join(folder, name), fresh)
                made += 1
                with open(os.path.join(folder, name), "rb") as file:
                    expected = file.read()
                try:
                    with open(os.path.join(corpus, path), "rb") as file:
                        if file.read() != expected:
                            drifted.append(path)
                except FileNotFoundError:
                    drifted.append(path)
    for path in sorted(drifted):
        print("not what make_seeds.py makes: fuzz/corpus/" + path)
    print("%d seeds looked at" % made)
    return made != 0 and not drifted


def main(golden, corpus, binary=None):
    if binary == "--check":
        sys.exit(0 if check(golden, corpus) else 1)
    parts(golden, corpus)
    bundles(corpus)
    if binary:
        cores(golden, corpus, binary)


if __name__ == "__main__":
    main(*sys.argv[1:])
