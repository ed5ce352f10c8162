#!/usr/bin/python3
"""The page spec/field-offsets.md: where every field of the manifest lies in its struct.

usage: field_offsets.py LAYOUT PAGE --write|--check|--selftest

LAYOUT is the text that `capnp compile -ocapnp` makes of the schemas, in which the compiler says where it
puts each field. --write writes the page, --check fails where the page is another, --selftest fails where
--check would not notice a change.
"""

import re
import sys

import pcp_reader

HEAD = """# Where every field lies

For readers that have no Cap'n Proto compiler: the layout of every struct that a manifest can hold, as the compiler computes it from `schema/*.capnp`. A test compares this page with the schemas; it is made by
`tests/conformance/field_offsets.py`. The places of a released version never change: a later one adds fields behind them, or in bits that are free.

A struct has a section of data, in words of 8 bytes, and a section of pointers, each one word ([Cap'n Proto's encoding](https://capnproto.org/encoding.html)). *Size* is what the schema knows; in a file either section may be shorter
(what is missing is zero, or null) or, in a file of a newer version, longer.

- **At** is for a number its first byte in the data section, and for a Bool also its bit, 0 being the lowest; for everything else `p` and the number of the pointer. Numbers are little-endian, signed ones in two's complement.
- **Default**: the number is stored exclusive-or'ed with it, so a field that is not set (all bits 0) has this value. Where nothing stands it is 0, false or absent.
- **Arm**: the field counts only while the union's tag, 16 bits at the byte that is given, has this number. An arm without a field, of type Void, has a row of its own. `pipe.capacity` is the field `capacity` of the group `pipe`.
- **Marks** are the schema's: *text*, *notNegative*, *required* ([model.md](model.md#conventions)); *since1.1*: what that minor version brought, which is not defined in a file of an earlier one.

An enumeration takes 16 bits.
"""


class Page:
    def __init__(self, layout):
        with open(layout, encoding="utf-8") as file:
            self.text = file.read()
        self.schemas = pcp_reader.Schemas(layout)
        self.sizes = {name: (int(size), int(pointers)) for name, size, pointers in re.findall(
            r"^\s*struct (\w+) @\w+ \{  # (\d+) bytes, (\d+) ptrs", self.text, re.M)}
        self.enums_of = {}
        self.lines = []

    def rows(self, members, prefix="", arm=""):
        for field in members.fields:
            if field.name is None:
                union = field.type
                for member in union.fields:
                    own = "byte %d: %d" % (union.tag_bit // 8, member.tag)
                    yield from self.field_rows(member, prefix, arm + (", " if arm else "") + own)
            else:
                yield from self.field_rows(field, prefix, arm)

    def field_rows(self, field, prefix, arm):
        name = prefix + field.name
        if isinstance(field.type, pcp_reader.Members):
            if not field.type.fields:
                yield name, "group", "", "", arm, ""
            yield from self.rows(field.type, name + ".", arm)
            return
        yield name, self.type_name(field), self.place(field), self.default(field), arm, \
            ", ".join(filter(None, [", ".join(mark for mark in field.marks.split()),
                                    "since1.%d" % field.since if field.since else ""]))

    def type_name(self, field):
        """With the full names of structs and enumerations."""
        is_list = isinstance(field.type, tuple)
        name = field.type[1] if is_list else field.type
        if name not in pcp_reader.BITS and name not in ("Text", "Data"):
            name = self.schemas.find(field.scope, name)
        return "List(%s)" % name if is_list else name

    def is_number(self, field):
        if isinstance(field.type, tuple) or field.type in ("Text", "Data"):
            return False
        return field.type in pcp_reader.BITS or self.schemas.find(field.scope, field.type) \
            in self.schemas.enums

    def place(self, field):
        if field.type == "Void":
            return ""
        if not self.is_number(field):
            return "p%d" % field.place
        if field.type == "Bool":
            return "%d bit %d" % (field.place // 8, field.place % 8)
        return str(field.place // 8)

    @staticmethod
    def default(field):
        return str(field.default) if field.default else ""

    def since(self, enum, value):
        minor = self.schemas.enumerants_since.get((enum, value))
        return " (since1.%d)" % minor if minor else ""

    def make(self):
        lines = [HEAD]
        for name in sorted(self.schemas.structs):
            size, pointers = self.sizes[name.rsplit(".", maxsplit=1)[-1]]
            lines.append("\n## %s\n\nSize: %d words of data, %d pointers.\n" % (name, size // 8, pointers))
            rows = list(self.rows(self.schemas.structs[name]))
            lines.append("| field | type | at | default | arm | marks |\n|---|---|---|---|---|---|")
            for row in rows:
                lines.append("| " + " | ".join("`%s`" % row[0] if i == 0 else cell
                                               for i, cell in enumerate(row)) + " |")
        lines.append("\n## Enumerations\n")
        for name in sorted(self.schemas.enums):
            lines.append("- `%s`: %s" % (name, ", ".join(
                "%d %s%s" % (i, value, self.since(name, value)) for i, value in enumerate(self.schemas.enums[name]))))
        return re.sub(r" +\|", " |", "\n".join(lines)).replace("|  |", "| |") + "\n"


def main(arguments):
    if len(arguments) != 3 or arguments[2] not in ("--write", "--check", "--selftest"):
        print(__doc__, file=sys.stderr)
        return 2
    layout, page, mode = arguments
    text = Page(layout).make()
    if mode == "--write":
        with open(page, "w", encoding="utf-8") as file:
            file.write(text)
        return 0
    with open(page, encoding="utf-8") as file:
        found = file.read()
    if mode == "--selftest":
        changed = found.replace("| 8 |", "| 16 |", 1)
        return 0 if changed not in (found, text) else 1
    if found != text:
        print("%s: it is not what the schemas say; run field_offsets.py … --write" % page)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
