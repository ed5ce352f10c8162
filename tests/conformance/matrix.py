#!/usr/bin/python3
"""Every reader of the project on every golden file, valid and invalid: the conformance matrix.

usage: matrix.py LAYOUT BIN GOLDEN_DIR PACKAGES_DIR [--check|--write|--selftest]

LAYOUT is as for pcp_reader.py, BIN the folder of the pcp-* commands; into PACKAGES_DIR come the packages of the readers
that run under Node. Prints the table. With --write it is put into README.md beside this file; with --check README.md must
say of every reader that can run here what comes out, and nothing may be wrong; one that cannot run is named.
--selftest shows that --check notices a changed cell.

The readers: the library (`pcp-inspect --json --contents` and `pcp-validate`), the Python reader of the spec (pcp_reader.py),
the JavaScript one (javascript/), and the parser that the Kaitai Struct compiler makes of spec/pcp.ksy (kaitai/), which knows
the container alone.
"""

import functools
import json
import os
import subprocess
import sys

import pcp_reader
from compare_readers import KNOWN_SINCE, difference

HERE = os.path.dirname(os.path.abspath(__file__))
BEGIN, END = "<!-- written by matrix.py -->\n", "<!-- up to here -->\n"
# Cells. Of a valid file: the document as expected, or its container alone.
DOCUMENT, CONTAINER = "same", "container same"
# Of an invalid one: exactly the expected codes; refused, with one of them where the reader has codes, or with another one
# that follows from what is wrong; read, because the reader does not look at what is wrong.
CODES, REFUSED, OTHERWISE, READ = "all codes", "refused", "refused otherwise", "not looked at"
WRONG = "WRONG"
CELLS = (DOCUMENT, CONTAINER, CODES, REFUSED, OTHERWISE, READ)


class CannotRun(Exception):
    """Says what is missing."""


class Golden:
    """A golden file and what must be said of it."""

    def __init__(self, root, version, kind, name):
        self.version, self.kind = version, kind
        self.path = os.path.join(root, version, kind, name + ".pcp")
        self.name = "%s/%s/%s" % (version, kind, name)
        with open(self.path[:-4] + ".json", encoding="utf-8") as file:
            self.expected = json.load(file)
        self.valid = kind == "valid"
        self.codes = [] if self.valid or (version, name) in KNOWN_SINCE else sorted(self.expected["codes"])


def goldens(root):
    found = []
    for version in sorted(item for item in os.listdir(root) if item[0].isdigit()):
        for kind in ("valid", "invalid"):
            folder = os.path.join(root, version, kind)
            # A file without a document beside it is a base of others.
            found += [Golden(root, version, kind, name[:-4]) for name in sorted(os.listdir(folder))
                      if name.endswith(".pcp") and os.path.exists(os.path.join(folder, name[:-4] + ".json"))]
    return found


def wrong(golden, what):
    print("%s: %s" % (golden.name, what), file=sys.stderr)
    return WRONG


def by_library(files, layout, binary, _):
    """{name: cell}"""
    out = {}
    valid, invalid = [[item for item in files if item.valid == kind] for kind in (True, False)]
    for golden in valid:
        done = subprocess.run([os.path.join(binary, "pcp-inspect"), "--json", "--contents", golden.path],
                              capture_output=True, check=False)
        out[golden.name] = compare(golden, json.loads(done.stdout), layout, DOCUMENT)
    done = subprocess.run([os.path.join(binary, "pcp-validate"), "--json", *(item.path for item in invalid)],
                          capture_output=True, check=False)
    for golden, report in zip(invalid, json.loads(done.stdout)["files"], strict=True):
        codes = sorted({item["code"] for item in report.get("findings", [])})
        out[golden.name] = CODES if codes == golden.codes else wrong(golden, "pcp-validate says %s" % codes)
    return out


def by_python(files, layout, *_):
    out = {}
    schemas = pcp_reader.Schemas(layout)
    for golden in files:
        with open(golden.path, "rb") as file:
            content = file.read()
        try:
            document = pcp_reader.Checkpoint(content, schemas, os.path.dirname(golden.path)).document()
        except pcp_reader.Refused as refused:
            if golden.valid or not golden.codes:
                out[golden.name] = wrong(golden, "pcp_reader.py refuses it: %s" % (refused.args,))
            else:
                out[golden.name] = REFUSED if refused.args[0] in golden.codes else OTHERWISE
            continue
        out[golden.name] = compare(golden, document, layout, DOCUMENT) if golden.valid else READ
    return out


def node(folder, packages):
    """Where the reader of `folder` can be run."""
    place = os.path.join(packages, folder)
    done = subprocess.run([os.path.join(HERE, "node-packages.sh"), os.path.join(HERE, folder), place],
                          capture_output=True, text=True, check=False)
    if done.returncode == 77:
        raise CannotRun(done.stdout.strip().splitlines()[-1])
    if done.returncode != 0:
        sys.exit(done.stdout + done.stderr)
    return place


def by_javascript(files, _, __, packages):
    place = node("javascript", packages)
    out = {item.name: DOCUMENT if item.valid else CODES for item in files}
    for version in sorted({item.version for item in files}):
        folder = os.path.dirname(os.path.dirname(next(item.path for item in files if item.version == version)))
        done = subprocess.run(["node", "reader.mjs", "check", folder], cwd=place, capture_output=True, text=True,
                              check=False)
        own = [item for item in files if item.version == version]
        for line in done.stdout.splitlines():
            if line.startswith("FAIL "):
                name = version + "/" + line.split()[1].split(".pcp")[0]
                out[name] = wrong(next(item for item in own if item.name == name), "reader.mjs: " + line)
        counted = sum(int(word) for word in done.stdout.splitlines()[-1].split() if word.isdigit())
        if counted != len(own):
            sys.exit("reader.mjs looked at %d of %d files of %s" % (counted, len(own), version))
    return out


def by_kaitai(files, _, __, packages):
    place = node("kaitai", packages)
    description = os.path.join(HERE, "..", "..", "spec", "pcp.ksy")
    done = subprocess.run(["node", "read.mjs", os.path.abspath(description), *(item.path for item in files)], cwd=place,
                          capture_output=True, text=True, check=False)
    if done.returncode != 0:
        sys.exit(done.stderr)
    out = {}
    for golden, line in zip(files, done.stdout.splitlines(), strict=True):
        result = json.loads(line)
        if not golden.valid:
            out[golden.name] = REFUSED if "refused" in result else READ
        elif "refused" in result:
            out[golden.name] = wrong(golden, "the parser made of pcp.ksy refuses it: " + result["refused"])
        else:
            found = container_difference(golden.expected, result["document"])
            out[golden.name] = wrong(golden, "the parser made of pcp.ksy: " + found) if found else CONTAINER
    return out


def container_difference(expected, document):
    """The parser shows integers as text and the bytes of the file; what the document has is compared."""
    pairs = [("header", expected["header"], document["header"]), ("footer", expected["footer"], document["footer"])]
    for name in ("sections", "chunks"):
        if len(expected[name]) != len(document[name]):
            return "%d %s instead of %d" % (len(document[name]), name, len(expected[name]))
        pairs += [("%s[%d]" % (name, i), *both) for i, both in enumerate(zip(expected[name], document[name]))]
    for place, want, got in pairs:
        for key, value in want.items():
            if got.get(key) != str(value):
                return "%s.%s is %s instead of %s" % (place, key, got.get(key), value)
    return None


@functools.lru_cache
def newer_fields(layout, version):
    return pcp_reader.Schemas(layout).newer_fields(int(version.split(".")[1]))


def compare(golden, document, layout, cell):
    newer = newer_fields(layout, golden.version)
    found = difference(golden.expected, document, newer=newer)
    return wrong(golden, found) if found else cell


READERS = {"library (C++)": by_library, "pcp_reader.py": by_python, "javascript": by_javascript,
           "pcp.ksy (Kaitai)": by_kaitai}


def table(files, cells):
    """The page's lines from {reader: {name: cell}}."""
    head = ["| %s | %s |" % ("golden file", " | ".join(READERS)), "|---" * (len(READERS) + 1) + "|"]
    rows = ["| %s | %s |" % (item.name, " | ".join(cells[reader][item.name] for reader in READERS)) for item in files]
    summary = []
    for kind in ("valid", "invalid"):
        own = [item for item in files if item.kind == kind]
        for cell in CELLS + (WRONG,):
            counts = [sum(cells[reader][item.name] == cell for item in own) for reader in READERS]
            if any(counts):
                summary.append("| %s: %s | %s |" % (kind, cell, " | ".join(map(str, counts))))
    head_of_summary = [head[0].replace("golden file", "%d files" % len(files)), head[1]]
    return "\n".join(head_of_summary + summary + ["", *head, *rows, ""])


def page():
    path = os.path.join(HERE, "README.md")
    with open(path, encoding="utf-8") as file:
        before, rest = file.read().split(BEGIN)
    return path, before, *rest.split(END)


def stated(text):
    """{reader: {name: cell}} of the page."""
    out = {reader: {} for reader in READERS}
    for line in text.splitlines():
        fields = [item.strip() for item in line.strip("|\n").split("|")]
        if "/" in fields[0] and len(fields) == len(READERS) + 1:
            for reader, cell in zip(READERS, fields[1:]):
                out[reader][fields[0]] = cell
    return out


def problems(text, cells):
    """What the page does not say as it is."""
    found = []
    said = stated(text)
    for reader, own in cells.items():
        for name in sorted(set(own) | set(said[reader])):
            if own.get(name) != said[reader].get(name):
                found.append("%s: %s: the page says %s, it is %s: matrix.py --write" % (
                    name, reader, said[reader].get(name), own.get(name)))
        found += ["%s: %s is wrong" % (name, reader) for name, cell in own.items() if cell == WRONG]
    return found


def main(arguments):
    mode = arguments.pop() if arguments[-1].startswith("--") else ""
    layout, binary, golden, packages = map(os.path.abspath, arguments)
    files = goldens(golden)
    cells = {}
    for reader, look in READERS.items():
        if mode == "--selftest" and look is not by_python:
            continue  # one is enough
        try:
            cells[reader] = look(files, layout, binary, packages)
        except CannotRun as why:
            print("%s cannot run here: %s" % (reader, why))
    if mode in ("--check", "--selftest"):
        path, _, text, _ = page()
        found = problems(text, cells)
        if mode == "--selftest":
            one = next(line for line in text.splitlines() if line.startswith("| 1.0/"))
            changed = [text.replace(one, one.replace(DOCUMENT, READ)), text.replace(one + "\n", "")]
            found = ["a changed line of the page is not noticed"] * any(not problems(item, cells) for item in changed)
        print("\n".join(found))
        print("%d files, %d readers, %d problems in %s" % (len(files), len(cells), len(found), path))
        return 1 if found or not cells else 0
    if len(cells) != len(READERS):
        return 77
    text = table(files, cells)
    print(text)
    if mode == "--write":
        path, before, _, after = page()
        with open(path, "w", encoding="utf-8") as file:
            file.write(before + BEGIN + "\n" + text + "\n" + END + after)
    return 1 if WRONG in text else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
