#!/usr/bin/python3
"""Makes seeds for the targets that take parts of files, from the valid golden files.

usage: make_seeds.py GOLDEN_DIR CORPUS_DIR

fuzz_manifest gets the manifests of some files without their framing, fuzz_chunk the smallest compressed
chunks. Files are named after the golden file they are from. (Targets that take whole files use the golden
files themselves: fuzz/run.sh.)
"""

import os
import struct
import sys

MANIFESTS = {"empty", "x86-64-live-raw", "x86-64-at-event", "aarch64-64k-between", "i386-at-event"}
LARGEST_CHUNK = 4096


def main(golden, corpus):
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
            with open(os.path.join(corpus, "fuzz_manifest", stem), "wb") as file:
                file.write(data[manifest + 8:manifest + length])
        for i in range(count):
            offset, stored = struct.unpack_from("<QI", data, table + i * size)
            (codec,) = struct.unpack_from("<H", data, table + i * size + 32)
            if codec == 1 and stored <= LARGEST_CHUNK and stem.endswith(("fast", "small", "event")):
                with open(os.path.join(corpus, "fuzz_chunk", "%s-%d" % (stem, i)), "wb") as file:
                    file.write(data[offset:offset + stored])


if __name__ == "__main__":
    main(*sys.argv[1:])
