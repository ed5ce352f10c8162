#!/usr/bin/python3
"""Checks the machine-readable description of the container against the page and the golden files.

usage: check_ksy.py SPEC_DIR GOLDEN_DIR check|selftest

SPEC_DIR/pcp.ksy must have exactly the fields, at the offsets and with the sizes, that the tables of
SPEC_DIR/format.md give for header, chunk table, directory, seal and footer. Then every valid golden file is taken apart as
the description says, and what comes out must be what the expected document beside the file has.

With "selftest", shows that a description with a changed field is noticed. There is no Kaitai Struct compiler in Debian; this reads the part of the language that the file uses.
"""

import json
import os
import re
import struct
import sys

SIZES = {"u1": 1, "u2": 2, "u4": 4, "s4": 4, "u8": 8, "s8": 8}
CODES = {"u1": "<B", "u2": "<H", "u4": "<I", "s4": "<i", "u8": "<Q", "s8": "<q"}
# Titles in format.md whose first table is that of a type.
TITLES = {"Header": "header", "Chunk table": "chunk_entry", "Sections": "section", "Seal": "seal",
          "Footer": "footer"}
# Names of the page that are shortened or told apart in the description and in the documents.
NAMES = {"ELF class": "elf_class"}


def parse(lines):
    """Mappings, lists of mappings and scalars of a YAML text, as far as the description has them."""
    items = []
    for line in lines:
        text = line.rstrip()
        if text and not text.lstrip().startswith("#"):
            indent = len(text) - len(text.lstrip())
            if text.lstrip().startswith("- "):
                items.append((indent, "-"))
                indent, text = indent + 2, text.lstrip()[2:]
            items.append((indent, text.strip()))

    def block(at, indent):
        if items[at][1] == "-":
            out = []
            while at < len(items) and items[at] == (indent, "-"):
                value, at = block(at + 1, indent + 2)
                out.append(value)
            return out, at
        out = {}
        while at < len(items) and items[at][0] == indent and items[at][1] != "-":
            key, _, value = items[at][1].partition(":")
            at += 1
            if value.strip():
                out[key] = value.strip()
            else:
                out[key], at = block(at, items[at][0])
        return out, at

    document, at = block(0, 0)
    if at != len(items):
        sys.exit("pcp.ksy: cannot read the line '%s'" % items[at][1])
    return document


def contents(field):
    return bytes(int(item, 0) for item in field["contents"].strip("[]").split(","))


def size_of(field):
    if "contents" in field:
        return len(contents(field))
    return SIZES[field["type"]] if "type" in field else int(field["size"])


def described(description):
    """{type: [(offset, size, name)]}"""
    out = {}
    for name, type_ in description["types"].items():
        offset, out[name] = 0, []
        for field in type_["seq"]:
            out[name].append((offset, size_of(field), field["id"]))
            offset += size_of(field)
    start = out["footer"][-1][0] + out["footer"][-1][1]
    out["footer"] += [(start + at, size, name) for at, size, name in out.pop("footer_end")]
    return out


def tables(page):
    """The same from the tables of the page."""
    out, type_ = {}, None
    for line in page:
        if line.startswith("#"):
            type_ = TITLES.get(line.strip("# \n"))
        # "32 each" is the size of what a list has.
        row = re.match(r"\| (\d+) \| (\d+)(?: each)? \| ([^|]+) \|", line)
        if row and type_:
            name = row[3].split(",")[0].strip()
            name = NAMES.get(name, name).replace(" ", "_").replace("-", "_")
            if name == "reserved" and type_ == "footer":
                name += "_" + row[1]
            out.setdefault(type_, []).append((int(row[1]), int(row[2]), name))
    return out


class Reader:
    """Takes files apart as the description says."""

    def __init__(self, description):
        self.description = description

    def fields(self, type_, data):
        out, offset = {}, 0
        for field in self.description["types"][type_]["seq"]:
            raw = data[offset:offset + size_of(field)]
            offset += size_of(field)
            if len(raw) != size_of(field):
                sys.exit("%s ends early" % type_)
            if "contents" in field and raw != contents(field):
                sys.exit("%s is not what it must be" % field["id"])
            out[field["id"]] = struct.unpack(CODES[field["type"]], raw)[0] if "type" in field else raw
            if "enum" in field and str(out[field["id"]]) not in \
                    self.description["enums"][field["enum"]]:
                sys.exit("%s has a value without a name" % field["id"])
        return out

    def read(self, data):
        done = {}

        def value(expression):
            match = re.fullmatch(r"_io\.size - (\S+)", expression)
            if match:
                return len(data) - value(match[1])
            if "." in expression:
                instance, field = expression.split(".")
                return done[instance][field]
            return int(expression, 0)

        for name, instance in self.description["instances"].items():
            start = value(instance["pos"])
            length = value(instance["size"]) if "size" in instance else len(data) - start
            if "repeat-expr" in instance:
                done[name] = [self.fields(instance["type"], data[at:at + length]) for at in
                              range(start, start + length * value(instance["repeat-expr"]), length)]
            elif "type" in instance:
                done[name] = self.fields(instance["type"], data[start:start + length])
            else:
                done[name] = data[start:start + length]
        # What the description says of sections by their kind.
        table = next(item for item in done["sections"] if item["kind"] == 1)
        size = done["footer"]["chunk_entry_size"]
        done["chunk_table"] = [self.fields("chunk_entry", data[at:at + size]) for at in
                               range(table["offset"], table["offset"] + table["length"], size)]
        for item in done["sections"]:
            if item["kind"] == 3:
                done["seal"] = self.fields("seal", data[item["offset"]:][:item["length"]])
        return done


def camel(name):
    head, *rest = name.split("_")
    return head + "".join(word.capitalize() for word in rest)


def differences(read, expected, where):
    """Fields of an expected object that the description gives another value."""
    by_key = {camel(name): value for name, value in read.items()}
    for key, value in expected.items():
        if key not in by_key:
            continue
        got = by_key[key].hex() if isinstance(by_key[key], bytes) else by_key[key]
        if key == "checkpointId":
            got = got[:32] if not got[32:].strip("0") else got
        if isinstance(got, int) and isinstance(value, str):
            value = int(value)  # a number of 64 bits
        if got != (value.replace("-", "") if isinstance(got, str) else value):
            yield "%s.%s is %r instead of %r" % (where, key, got, value)


def check(description, spec, golden):
    with open(os.path.join(spec, "format.md"), encoding="utf-8") as file:
        page = tables(file)
    failures = []
    for type_ in TITLES.values():
        ours, theirs = described(description)[type_], page.get(type_, [])
        for row in set(ours) ^ set(theirs):
            failures.append("%s: offset %d, size %d, '%s' is only in %s" %
                            (type_, *row, "pcp.ksy" if row in ours else "format.md"))
    reader, files, compared = Reader(description), 0, 0
    valid = os.path.join(golden, "1.0", "valid")
    for name in sorted(os.listdir(valid)):
        if not name.endswith(".pcp"):
            continue
        files += 1
        with open(os.path.join(valid, name), "rb") as file:
            read = reader.read(file.read())
        with open(os.path.join(valid, name[:-4] + ".json"), encoding="utf-8") as file:
            expected = json.load(file)
        pairs = [(read["header"], expected["header"], "header"),
                 (dict(read["footer"], footer_length=read["footer_end"]["length"]), expected["footer"],
                  "footer")]
        for section in read["sections"]:
            section["section_length"] = section.pop("length")
        pairs += [(section, expected["sections"][i], "sections[%d]" % i)
                  for i, section in enumerate(read["sections"])]
        pairs += [(entry, expected["chunks"][i], "chunks[%d]" % i)
                  for i, entry in enumerate(read["chunk_table"])]
        if len(read["chunk_table"]) != len(expected["chunks"]):
            failures.append(name + ": another number of chunks")
        if len(read["sections"]) != len(expected["sections"]):
            failures.append(name + ": another number of sections")
        for got, want, where in pairs:
            compared += len(set(map(camel, got)) & set(want))
            failures += [name + ": " + text for text in differences(got, want, where)]
    if not files or not compared:
        failures.append("nothing was compared")
    return failures, "%d files, %d values, %d failures" % (files, compared, len(failures))


def self_test(description, spec, golden):
    """Changes each field's name, and swaps neighbours; counts what goes unnoticed."""
    unnoticed = 0
    for type_ in description["types"].values():
        fields = type_["seq"]
        for i, field in enumerate(fields):
            name, field["id"] = field["id"], "other"
            unnoticed += 0 if check_quietly(description, spec, golden) else 1
            field["id"] = name
            if i > 0:
                fields[i - 1], fields[i] = fields[i], fields[i - 1]
                unnoticed += 0 if check_quietly(description, spec, golden) else 1
                fields[i - 1], fields[i] = fields[i], fields[i - 1]
    print("%d changes not noticed" % unnoticed)
    return 1 if unnoticed else 0


def check_quietly(description, spec, golden):
    try:
        return check(description, spec, golden)[0]
    except (SystemExit, KeyError, TypeError, ValueError, OverflowError, struct.error) as problem:
        return [problem]


def main(arguments):
    spec, golden = arguments[:2]
    with open(os.path.join(spec, "pcp.ksy"), encoding="utf-8") as file:
        description = parse(file)
    if arguments[2:] == ["selftest"]:
        return self_test(description, spec, golden)
    failures, summary = check(description, spec, golden)
    print("\n".join([*failures, summary]))
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
