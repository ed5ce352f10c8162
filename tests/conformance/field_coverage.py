#!/usr/bin/python3
"""Every field of the manifest is set in a valid golden file, every arm and every enumerant occurs.

usage: field_coverage.py LAYOUT GOLDEN_DIR [--selftest]

LAYOUT is the text that `capnp compile -ocapnp` makes of the schemas. Looks at all of
GOLDEN_DIR/*/valid/*.pcp together, and fails for what is not in any of them, naming it. With --selftest it
fails where a field would not be missed.
"""

import os
import sys

import pcp_reader


# What no file of this version can have: it is reserved for a later one, or the struct is absent then.
NEVER = {"ReplayStep.Action.none"}


class Coverage:
    def __init__(self, schemas):
        self.schemas = schemas
        self.seen = set()

    def everything(self):
        """Names of all that should occur: Struct.field, Struct.arm, Enum.value."""
        wanted = set()
        for name, members in self.schemas.structs.items():
            wanted |= {name + "." + field for field in self.names(members)}
        for name, values in self.schemas.enums.items():
            wanted |= {name + "." + value for value in values}
        return wanted - NEVER

    def names(self, members, prefix=""):
        for field in members.fields:
            if isinstance(field.type, pcp_reader.Members):
                if field.name is None:
                    yield from self.names(field.type, prefix)
                else:
                    if field.tag is not None:
                        yield prefix + field.name
                    yield from self.names(field.type, prefix + field.name + ".")
            else:
                yield prefix + field.name

    def look_at_file(self, path):
        with open(path, "rb") as file:
            message = pcp_reader.Checkpoint(file.read(), self.schemas).message
        self.look_at(message, "Manifest", message.read_struct(0))

    def look_at(self, message, struct, body):
        self.look_at_members(message, struct, self.schemas.structs[struct], body, "")

    def look_at_members(self, message, struct, members, body, prefix):
        for field in members.fields:
            if field.name is None:
                tag = message.number(body, "UInt16", field.type.tag_bit)
                for arm in field.type.fields:
                    if arm.tag == tag:
                        if arm.type == "Void" or isinstance(arm.type, pcp_reader.Members):
                            self.seen.add(struct + "." + prefix + arm.name)
                        self.look_at_field(message, struct, arm, body, prefix)
            else:
                self.look_at_field(message, struct, field, body, prefix)

    def look_at_field(self, message, struct, field, body, prefix):
        if isinstance(field.type, pcp_reader.Members):
            self.look_at_members(message, struct, field.type, body, prefix + field.name + ".")
            return
        name = struct + "." + prefix + field.name
        if field.type in pcp_reader.BITS:
            if field.type != "Void" and int(message.number(body, field.type, field.place)) != 0:
                self.seen.add(name)
            return
        is_list = isinstance(field.type, tuple)
        type_ = field.type[1] if is_list else field.type
        full = None if type_ in pcp_reader.BITS or type_ in ("Text", "Data") \
            else self.schemas.find(field.scope, type_)
        if full in self.schemas.enums:
            value = message.number(body, "UInt16", field.place)
            self.seen.add(full + "." + self.schemas.enums[full][value])
            if value:
                self.seen.add(name)
            return
        if field.place >= body[2]:
            return
        word = body[0] + body[1] + field.place
        if message.pointer(word) == 0:
            return
        self.seen.add(name)
        if full is None:
            return
        if not is_list:
            self.look_at(message, full, message.read_struct(word))
            return
        _, count, start, data, pointers = message.read_list(word)
        for i in range(count):
            self.look_at(message, full, (start + i * (data + pointers), data, pointers))


def main(arguments):
    selftest = "--selftest" in arguments
    layout, golden = [item for item in arguments if item != "--selftest"]
    coverage = Coverage(pcp_reader.Schemas(layout))
    for version in sorted(os.listdir(golden)):
        valid = os.path.join(golden, version, "valid")
        for name in sorted(os.listdir(valid)) if os.path.isdir(valid) else []:
            if name.endswith(".pcp"):
                coverage.look_at_file(os.path.join(valid, name))
    wanted = coverage.everything()
    missing = sorted(wanted - coverage.seen)
    if selftest:
        coverage.seen.discard("PageRun.pages")
        return 0 if "PageRun.pages" in wanted - coverage.seen else 1
    for name in missing:
        print("%s: no valid golden file has it" % name)
    print("%d of %d fields, arms and enumerants occur" % (len(wanted) - len(missing), len(wanted)))
    return 1 if missing or not coverage.seen else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
