#!/usr/bin/python3
"""Compares what readers say of the valid golden files with what is expected.

usage: compare_readers.py LAYOUT PCP_INSPECT GOLDEN_DIR [--write]

Each GOLDEN_DIR/*/valid/NAME.pcp has NAME.json beside it: the document of spec/inspect-json.md. Both the
Python reader beside this file and `PCP_INSPECT --json --contents` must make exactly it. And every
invalid file that damage in the container makes unreadable must be refused by both. --write makes the
expected documents that are missing, where the two readers agree.
"""

import json
import os
import subprocess
import sys

import pcp_reader

HERE = os.path.dirname(os.path.abspath(__file__))
# Codes at level "structure" or "checksums" that do not keep a reader from reading the file.
HARMLESS = {"header.newer-minor", "header.read-only-feature", "header.compatible-feature",
            "header.manifest-mismatch", "footer.page-count", "manifest.canonical",
            "footer.magic", "footer.checkpoint-id", "section.unknown", "seal.algorithm", "seal.state"}


def read(command):
    done = subprocess.run(command, capture_output=True, check=False)
    return json.loads(done.stdout) if done.returncode == 0 else None


# Codes of released files that say "newer than this reader": what they are about is known since.
KNOWN_SINCE = {("1.0", "header.newer-minor"), ("1.0", "header.incompatible-feature")}


def difference(expected, actual, place="document", newer=frozenset()):
    """The first place where `actual` is not what `expected` says, or None. `newer`: fields that the
    version of `expected` does not have (spec/inspect-json.md, "Comparing documents")."""
    if isinstance(expected, dict) and isinstance(actual, dict):
        more = sorted(set(actual) - set(expected) - newer)
        if more:
            return place + "." + more[0] + " is not expected"
        for key, value in expected.items():
            if key not in actual:
                return place + "." + key + " is missing"
            found = difference(value, actual[key], place + "." + key, newer)
            if found:
                return found
        return None
    if isinstance(expected, list) and isinstance(actual, list) and len(expected) == len(actual):
        for i, value in enumerate(expected):
            found = difference(value, actual[i], "%s[%d]" % (place, i), newer)
            if found:
                return found
        return None
    if expected == actual and isinstance(expected, type(actual)):
        return None
    return "%s is %.60r instead of %.60r" % (place, actual, expected)


def main(arguments):
    write = "--write" in arguments
    layout, inspect, golden = [item for item in arguments if item != "--write"]
    failures = files = 0
    for version in sorted(os.listdir(golden)):
        valid = os.path.join(golden, version, "valid")
        if not os.path.isdir(valid):
            continue
        newer = pcp_reader.Schemas(layout).newer_fields(int(version.split(".")[1]))
        for name in sorted(os.listdir(valid)):
            path = os.path.join(valid, name)
            if not name.endswith(".pcp"):
                continue
            files += 1
            documents = {
                "pcp_reader.py": read(["/usr/bin/python3", os.path.join(HERE, "pcp_reader.py"),
                                       layout, path]),
                "pcp-inspect": read([inspect, "--json", "--contents", path]),
            }
            beside = path[:-4] + ".json"
            if write and not os.path.exists(beside) \
                    and documents["pcp_reader.py"] == documents["pcp-inspect"] is not None:
                with open(beside, "w", encoding="utf-8") as file:
                    json.dump(documents["pcp-inspect"], file, sort_keys=True, ensure_ascii=False,
                              separators=(",", ":"))
                    file.write("\n")
            with open(beside, encoding="utf-8") as file:
                expected = json.load(file)
            for reader, document in documents.items():
                found = difference(expected, document, newer=newer)
                if found:
                    failures += 1
                    print("%s: %s: %s" % (path, reader, found))
        invalid = os.path.join(golden, version, "invalid")
        for name in sorted(os.listdir(invalid)):
            code, extension = os.path.splitext(name)
            part = code.split(".")[0]
            if extension != ".pcp" or code in HARMLESS or (version, code) in KNOWN_SINCE or part not in (
                    "header", "footer", "directory", "section", "seal", "chunk-table", "chunk", "page-data"):
                continue
            path = os.path.join(invalid, name)
            if read(["/usr/bin/python3", os.path.join(HERE, "pcp_reader.py"), layout, path]):
                failures += 1
                print("%s: pcp_reader.py does not refuse it" % path)
            files += 1
    print("%d files, %d failures" % (files, failures))
    return 1 if failures or not files else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
