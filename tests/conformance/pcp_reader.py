#!/usr/bin/python3
"""A second reader of checkpoint files, written from the spec alone.

usage: pcp_reader.py LAYOUT FILE

Prints the document of spec/inspect-json.md, with contents. LAYOUT is the schemas' text with the
places of all fields, as `capnp compile -ocapnp schema/*.capnp` prints it. Header, sections
and footer are read as spec/format.md says, messages as the Cap'n Proto encoding
specification says; no code is shared with the library. A file that breaks a rule of the container is
refused with the rule's diagnostic code (exit status 1). Needs python3-zstandard, python3-xxhash.
"""

import hashlib
import json
import os
import re
import struct
import sys

import xxhash
import zstandard

BITS = {"Void": 0, "Bool": 1}
for size in (8, 16, 32, 64):
    BITS["Int%d" % size] = BITS["UInt%d" % size] = size


class Refused(Exception):
    """The file breaks a rule; the first argument is the diagnostic code."""


def need(condition, code, message=""):
    if not condition:
        raise Refused(code, message)


# Schemas -----------------------------------------------------------------------------------------

STRUCT = re.compile(r"struct (\w+) @\w+ \{")
ENUM = re.compile(r"enum (\w+) @\w+ \{")
ENUMERANT = re.compile(r"(\w+) @\d+((?: \$(?:import \"[^\"]*\"\.)?\w+\([^)]*\))*);$")
GROUP = re.compile(r"(\w+) :group \{(?:  # union tag = (\d+))?")
UNION = re.compile(r"union \{  # tag bits \[(\d+)")
SLOT = re.compile(r'(\w+) @\d+ :(.*?)(?: = (\S+?))?((?: \$(?:import "[^"]*"\.)?\w+\([^)]*\))*);'
                  r"  # (?:ptr\[(\d+)\]|bits\[(\d+), (\d+)\))(?:, union tag = (\d+))?$")


class Members:
    """Fields of a struct, group or union; a union knows where its tag is."""

    def __init__(self, tag_bit=None):
        self.tag_bit, self.fields = tag_bit, []


class Field:
    """`type` is a type's name, ("List", type), or Members for groups and unnamed unions."""

    def __init__(self, name, type_, place=0, default=0, tag=None, scope=(), marks="", since=0):
        self.since = since  # the minor version that brought it
        self.name, self.type, self.place, self.default = name, type_, place, default
        self.tag, self.scope, self.marks, self.text = tag, scope, marks, "text" in marks.split()


class Schemas:
    """Types by full name, read from the text that `capnp compile -ocapnp` makes of the schemas."""

    def __init__(self, path):
        self.structs, self.enums = {}, {}
        self.enumerants_since = {}  # (enum, enumerant): the minor version, where it is not 0
        scope, open_things = (), []
        with open(path, encoding="utf-8") as file:
            lines = [line.strip() for line in file]
        for line in lines:
            if match := STRUCT.match(line):
                scope += (match[1],)
                thing = self.structs[".".join(scope)] = Members()
            elif match := ENUM.match(line):
                scope += (match[1],)
                thing = self.enums[".".join(scope)] = []
            elif match := GROUP.match(line):
                thing = Members()
                tag = None if match[2] is None else int(match[2])
                open_things[-1].fields.append(Field(match[1], thing, tag=tag))
                scope += ("",)
            elif match := UNION.match(line):
                thing = Members(int(match[1]))
                open_things[-1].fields.append(Field(None, thing))
                scope += ("",)
            elif line == "}":
                scope = scope[:-1]
                open_things.pop()
                continue
            elif match := SLOT.match(line):
                open_things[-1].fields.append(self._slot(match, scope))
                continue
            elif (match := ENUMERANT.match(line)) and isinstance(open_things[-1], list):
                open_things[-1].append(match[1])
                if since := re.search(r"since\((\d+)\)", match[2]):
                    self.enumerants_since[".".join(scope), match[1]] = int(since[1])
                continue
            else:
                if open_things and line and not line.startswith(("const ", "annotation ", "#")):
                    raise ValueError("cannot read the schema: " + line)
                continue
            open_things.append(thing)

    @staticmethod
    def _slot(match, scope):
        name, type_, default, marks, pointer, bit, _, tag = match.groups()
        type_ = re.sub(r'import "[^"]*"\.', "", type_)
        if list_of := re.fullmatch(r"List\((.*)\)", type_):
            type_ = ("List", list_of[1])
        default = {None: 0, "true": 1, "false": 0}.get(default) if default in (None, "true", "false") \
            else int(default, 0)
        return Field(name, type_, int(pointer or bit or 0), default,
                     None if tag is None else int(tag), tuple(part for part in scope if part),
                     " ".join(re.findall(r"(\w+)\(void\)", marks)),
                     int((re.findall(r"since\((\d+)\)", marks) or ["0"])[0]))

    def newer_fields(self, minor):
        """Names of the fields that a later minor version than `minor` brought."""
        def of(members):
            for field in members.fields:
                if isinstance(field.type, Members):
                    yield from of(field.type)
                if field.since > minor:
                    yield field.name
        return {name for members in self.structs.values() for name in of(members)}

    def find(self, scope, name):
        """The full name of the enum or struct that `name` means inside `scope`."""
        for depth in range(len(scope), -1, -1):
            full = ".".join(scope[:depth] + (name,))
            if full in self.structs or full in self.enums:
                return full
        raise ValueError("there is no type " + name)


# Messages ----------------------------------------------------------------------------------------

class Message:
    """One segment; pointers are followed only to places inside it."""

    def __init__(self, data, schemas):
        self.data, self.schemas = data, schemas

    def words(self, word, count):
        need(0 <= word and word + count <= len(self.data) // 8, "manifest.layout")

    def pointer(self, word):
        self.words(word, 1)
        return struct.unpack_from("<Q", self.data, 8 * word)[0]

    @staticmethod
    def target(word, value):
        offset = (value & 0xffffffff) >> 2
        return word + 1 + (offset - (1 << 30) if offset >= 1 << 29 else offset)

    def read_struct(self, word):
        """The struct that the pointer at `word` refers to: (first word, words of data, pointers)."""
        value = self.pointer(word)
        if value == 0:
            return None
        need(value & 3 == 0, "manifest.message")
        body = (self.target(word, value), value >> 32 & 0xffff, value >> 48)
        self.words(body[0], body[1] + body[2])
        return body

    def read_list(self, word):
        """(element code, count, first word, words of data, pointers) or None."""
        value = self.pointer(word)
        if value == 0:
            return None
        need(value & 3 == 1, "manifest.message")
        start, code, count = self.target(word, value), value >> 32 & 7, value >> 35
        if code == 7:
            self.words(start, 1 + count)
            tag = self.pointer(start)
            return 7, (tag & 0xffffffff) >> 2, start + 1, tag >> 32 & 0xffff, tag >> 48
        self.words(start, (count * (0, 1, 8, 16, 32, 64, 64)[code] + 63) // 64)
        return code, count, start, 0, 0

    def number(self, body, type_, bit, default=0):
        """A number `bit` bits into a struct's data section as a document shows it; absent words are
        zero."""
        width = BITS[type_]
        value = 0
        if width and bit + width <= 64 * body[1]:
            raw = int.from_bytes(self.data[8 * body[0] + bit // 8:][:max(width // 8, 1)], "little")
            value = raw >> (bit % 8) & 1 if width == 1 else raw
        value ^= default & ((1 << width) - 1)
        if type_ == "Bool":
            return bool(value)
        if type_.startswith("Int") and value >> (width - 1):
            value -= 1 << width
        return str(value) if width == 64 else value

    def struct_json(self, members, body):
        out = {}
        for field in members.fields:
            if field.name is not None:
                out[field.name] = self.field_json(field, body)
                continue
            tag = self.number(body, "UInt16", field.type.tag_bit)
            arms = {arm.tag: arm for arm in field.type.fields}
            out["which"] = arms[tag].name if tag in arms else tag
            if tag in arms and arms[tag].type != "Void":
                out[arms[tag].name] = self.field_json(arms[tag], body)
        return out

    def field_json(self, field, body):
        type_ = field.type
        if isinstance(type_, Members):
            return self.struct_json(type_, body)
        if type_ in BITS:
            return self.number(body, type_, field.place, field.default)
        if not isinstance(type_, tuple) and type_ not in ("Text", "Data"):
            full = self.schemas.find(field.scope, type_)
            if full in self.schemas.enums:
                value, names = self.number(body, "UInt16", field.place), self.schemas.enums[full]
                return names[value] if value < len(names) else value
        word = body[0] + body[1] + field.place if field.place < body[2] else None
        return self.pointer_json(field, type_, word)

    def pointer_json(self, field, type_, word):
        if type_ in ("Text", "Data"):
            return self.bytes_json(type_, b"" if word is None else self.bytes_of(type_, word),
                                   field.text)
        if isinstance(type_, tuple):
            return [] if word is None else self.list_json(field, type_[1], word)
        body = None if word is None else self.read_struct(word)
        if body is None:
            return None
        return self.struct_json(self.schemas.structs[self.schemas.find(field.scope, type_)], body)

    def bytes_of(self, type_, word):
        found = self.read_list(word)
        if found is None:
            return b""
        need(found[0] == 2, "manifest.message")
        data = bytes(self.data[8 * found[2]:][:found[1]])
        if type_ == "Text":
            need(data.endswith(b"\0"), "manifest.message")
            data = data[:-1]
        return data

    @staticmethod
    def bytes_json(type_, data, is_text):
        if type_ == "Data" and not is_text:
            return data.hex()
        try:
            return data.decode("utf-8")
        except UnicodeDecodeError:
            return {"bytes": data.hex()}

    def list_json(self, field, element, word):
        found = self.read_list(word)
        if found is None:
            return []
        code, count, start, data, pointers = found
        if element in BITS:
            need(code == {1: 1, 8: 2, 16: 3, 32: 4, 64: 5}[BITS[element]], "manifest.message")
            body = (start, (count * BITS[element] + 63) // 64, 0)
            return [self.number(body, element, i * BITS[element]) for i in range(count)]
        if element in ("Text", "Data"):
            need(code == 6, "manifest.message")
            return [self.pointer_json(field, element, start + i) for i in range(count)]
        need(code == 7, "manifest.message")
        members = self.schemas.structs[self.schemas.find(field.scope, element)]
        step = data + pointers
        return [self.struct_json(members, (start + i * step, data, pointers)) for i in range(count)]


def canonical_struct(message, body, pointer):
    """The struct that pointer `pointer` of `body` refers to as a message of its own in canonical form.
    The message is canonical already: its objects lie in pre-order, so the struct and all that it
    refers to are a row of words, up to what the next pointer of `body` refers to."""
    at = body[0] + body[1] + pointer
    first = message.read_struct(at)
    value = message.pointer(at)
    rest = [body[0] + body[1] + i for i in range(pointer + 1, body[2])]
    # A struct without data and pointers takes no words.
    ends = [message.target(word, message.pointer(word)) for word in rest if message.pointer(word) >> 32]
    end = min(ends, default=len(message.data) // 8)
    return struct.pack("<Q", value >> 32 << 32) + bytes(message.data[8 * first[0]:8 * end])


# The container -----------------------------------------------------------------------------------

# Fields of header, footer and chunk table that have 64 bits.
WIDE = set("incompatibleFeatures readOnlyCompatibleFeatures compatibleFeatures event ticks markEvent "
           "markTicks instructions checksum directoryOffset sectionLength chunkCount pageCount fileLength offset "
           "storedChecksum".split())


def with_strings(fields):
    """As a document shows them: numbers of 64 bits are strings."""
    return {name: str(value) if name in WIDE else value for name, value in fields.items()}


def xxh3_64(data):
    return xxhash.xxh3_64_intdigest(data)


def digest(data):
    """Digest algorithm 1: XXH3-128, then zeros."""
    return xxhash.xxh3_128_hexdigest(data) + 32 * "0"


def align(offset, to):
    return -(-offset // to) * to


class Checkpoint:
    """`directory`: where its bases lie (spec/series.md)."""

    def __init__(self, data, schemas, directory=None):
        self.data, self.schemas, self.directory = data, schemas, directory
        self.bases = {}
        self.header = self._header()
        self.footer = self._footer()
        self.sections = self._sections()
        self.chunks = self._chunks()
        self.stream = b"".join(self._decode(chunk) for chunk in self.chunks)
        self.manifest = self._manifest(schemas)
        if 3 in self.of_kind:
            self._seal()

    def _header(self):
        data = self.data
        need(data[:8] == b"\x89PCP\r\n\x1a\n"[:len(data)], "header.magic")
        need(len(data) >= 256, "header.truncated")
        values = struct.unpack_from("<HHIQQQ16sqqqIHHIIqQiBBH", data, 8)
        names = ("major minor length incompatibleFeatures readOnlyCompatibleFeatures "
                 "compatibleFeatures traceUuid event ticks markEvent order positionKind machine "
                 "pageSize chunkPages markTicks instructions currentTask elfClass dataEncoding "
                 "digestAlgorithm").split()
        header = dict(zip(names, values))
        header["traceUuid"] = header["traceUuid"].hex()
        header["checksum"], = struct.unpack_from("<Q", data, 248)
        need(header["checksum"] == xxh3_64(data[:248]), "header.checksum")
        need(header["major"] == 1, "header.version")
        need(header["incompatibleFeatures"] & ~3 == 0, "header.incompatible-feature")
        need(header.pop("length") == 256, "header.length")
        self.reserved_in_use = (header["readOnlyCompatibleFeatures"] != 0
                                or header["compatibleFeatures"] != 0)
        self.fully_known = header["minor"] <= 1 and not self.reserved_in_use
        need(header["digestAlgorithm"] == 1, "header.digest-algorithm")
        page = header["pageSize"]
        need(4096 <= page <= 1 << 21 and page & (page - 1) == 0, "header.page-size")
        need(1 <= header["chunkPages"] <= 4096 and header["chunkPages"] * page <= 1 << 24,
             "header.chunk-pages")
        need(header["positionKind"] <= 3 or not self.fully_known, "header.position-kind")
        need(0 <= header["event"] <= header["markEvent"], "header.event")
        need(header["machine"] != 0, "header.machine")
        need(self.reserved_in_use or not any(data[120:248]), "header.reserved")
        return header

    def _entry_size(self, size, known, code):
        need(known <= size <= 4096 and size % 8 == 0 and (size == known or not self.fully_known), code)

    def _footer(self):
        data = self.data
        need(len(data) >= 256 + 160 and data[-8:] == b"\x89PCPEND\n", "footer.missing")
        length, version, reserved, checksum = struct.unpack_from("<IHHQ", data, len(data) - 24)
        need(160 <= length <= min(4096, len(data) - 256) and length % 8 == 0, "footer.checksum")
        start = len(data) - length
        foot = data[start:]
        need(checksum == xxh3_64(foot[:-16]), "footer.checksum")
        need(version == 1, "footer.version")
        values = struct.unpack_from("<QII32s32sQQI4xQQ", foot, 0)
        names = ("directoryOffset sectionCount sectionEntrySize directoryDigest checkpointId "
                 "pageCount chunkCount chunkEntrySize headerChecksum fileLength").split()
        footer = dict(zip(names, values))
        footer["footerLength"] = length
        footer["directoryDigest"] = footer["directoryDigest"].hex()
        footer["checkpointId"] = footer["checkpointId"][:16].hex()
        need(footer["fileLength"] == len(data), "footer.file-length")
        need(footer.pop("headerChecksum") == self.header["checksum"], "footer.header-checksum")
        need(length == 160 or not self.fully_known, "footer.length")
        need(footer["pageCount"] * self.header["pageSize"] < 1 << 63, "footer.page-count")
        need(footer["chunkCount"] == -(-footer["pageCount"] // self.header["chunkPages"]),
             "footer.chunk-count")
        self._entry_size(footer["chunkEntrySize"], 40, "footer.chunk-entry-size")
        self._entry_size(footer["sectionEntrySize"], 64, "footer.section-entry-size")
        offset = footer["directoryOffset"]
        need(1 <= footer["sectionCount"] <= 1024 and offset >= 256 and offset % 8 == 0
             and offset + footer["sectionCount"] * footer["sectionEntrySize"] == start,
             "footer.directory")
        need(self.reserved_in_use or not (reserved or any(foot[100:104] + foot[120:136])),
             "footer.reserved")
        return footer

    def _sections(self):
        footer = self.footer
        size, start = footer["sectionEntrySize"], footer["directoryOffset"]
        directory = self.data[start:start + footer["sectionCount"] * size]
        need(digest(directory) == footer["directoryDigest"], "directory.digest")
        sections, end = [], 0
        self.of_kind = {}
        for i in range(footer["sectionCount"]):
            values = struct.unpack_from("<IIQQ8s32s", directory, i * size)
            section = dict(zip("kind flags offset sectionLength reserved digest".split(), values))
            need(section["kind"] != 0, "section.kind")
            expected = {1: 1, 2: 1, 3: 2}.get(section["kind"])
            need(section["flags"] == expected if expected is not None
                 else section["flags"] <= 3 or not self.fully_known, "section.flags")
            need(expected is not None or not section["flags"] & 1, "section.must-understand")
            need(self.reserved_in_use or not any(section.pop("reserved")), "section.reserved")
            section.pop("reserved", None)
            section["digest"] = section["digest"].hex()
            offset = section["offset"]
            need(offset % 8 == 0 and (offset >= 256 if i == 0 else offset == align(end, 8))
                 and offset + section["sectionLength"] <= start, "section.offset")
            need(i == 0 or not any(self.data[end:offset]), "page-data.padding")
            end = offset + section["sectionLength"]
            need(expected is None or section["kind"] not in self.of_kind, "section.duplicate")
            self.of_kind[section["kind"]] = section
            sections.append(section)
        need(align(end, 8) == start, "section.offset")
        need(not any(self.data[end:start]), "page-data.padding")
        need(1 in self.of_kind and 2 in self.of_kind, "section.missing")
        need(self.of_kind[1]["sectionLength"] == footer["chunkCount"] * footer["chunkEntrySize"],
             "section.length")
        length = self.of_kind[2]["sectionLength"]
        need(16 <= length <= (1 << 32) + 8 and length % 8 == 0, "section.length")
        for section in sections:
            if section["kind"] not in (1, 2):
                need(digest(self._bytes(section)) == section["digest"], "section.digest")
        return sections

    def _bytes(self, section):
        return self.data[section["offset"]:section["offset"] + section["sectionLength"]]

    def _chunks(self):
        footer, page = self.footer, self.header["pageSize"]
        table = self._bytes(self.of_kind[1])
        need(digest(table) == self.of_kind[1]["digest"], "chunk-table.digest")
        chunks, end = [], 256
        for i in range(footer["chunkCount"]):
            values = struct.unpack_from("<QIIQQH", table, i * footer["chunkEntrySize"])
            chunk = dict(zip(("offset", "storedLength", "length", "checksum", "storedChecksum",
                              "codec"), values))
            need(chunk["codec"] in (0, 1), "chunk.codec")
            pages = min(self.header["chunkPages"],
                        footer["pageCount"] - i * self.header["chunkPages"])
            need(chunk["length"] == pages * page, "chunk.length")
            if chunk["codec"] == 0:
                need(chunk["storedLength"] == chunk["length"]
                     and chunk["storedChecksum"] == chunk["checksum"], "chunk.stored-length")
                need(chunk["offset"] % page == 0 and 0 <= chunk["offset"] - end < 1 << 21,
                     "chunk.offset")
            else:
                need(0 < chunk["storedLength"] < chunk["length"], "chunk.stored-length")
                need(chunk["offset"] == end, "chunk.offset")
            need(not any(self.data[end:chunk["offset"]]), "page-data.padding")
            rest = table[i * footer["chunkEntrySize"] + 34:i * footer["chunkEntrySize"] + 40]
            need(self.reserved_in_use or not any(rest), "chunk.reserved")
            end = chunk["offset"] + chunk["storedLength"]
            chunks.append(chunk)
        first = self.sections[0]["offset"]
        need(align(end, 8) == first, "section.offset")
        need(not any(self.data[end:first]), "page-data.padding")
        return chunks

    def _decode(self, chunk):
        data = self.data[chunk["offset"]:chunk["offset"] + chunk["storedLength"]]
        need(xxh3_64(data) == chunk["storedChecksum"], "chunk.stored-checksum")
        if chunk["codec"] == 1:
            need(self.header["incompatibleFeatures"] & 1, "header.feature-unset")
            try:
                need(zstandard.frame_content_size(data) == chunk["length"], "chunk.decode")
                data = zstandard.ZstdDecompressor(max_window_size=1 << 24).decompress(data)
            except zstandard.ZstdError as error:
                raise Refused("chunk.decode", str(error)) from error
        need(len(data) == chunk["length"], "chunk.decode")
        need(xxh3_64(data) == chunk["checksum"], "chunk.checksum")
        return data

    def _manifest(self, schemas):
        data = self._bytes(self.of_kind[2])
        need(digest(data) == self.of_kind[2]["digest"], "manifest.digest")
        segments, words = struct.unpack_from("<II", data, 0)
        need(segments == 0 and 8 * words == len(data) - 8, "manifest.layout")
        self.message = Message(memoryview(data)[8:], schemas)
        root = self.message.read_struct(0)
        need(root is not None, "manifest.message")
        return self.message.struct_json(schemas.structs["Manifest"], root)

    def _seal(self):
        seal = self._bytes(self.of_kind[3])
        need(len(seal) >= 4, "seal.form")
        if struct.unpack_from("<I", seal, 0)[0] != 1:
            return
        need(len(seal) == 40 + 32 * len(self.chunks) and not any(seal[4:8]), "seal.form")
        at = 0
        for i, chunk in enumerate(self.chunks):
            pages = self.stream[at:at + chunk["length"]]
            need(hashlib.sha256(pages).digest() == seal[40 + 32 * i:][:32], "seal.chunk")
            at += chunk["length"]

    def base(self, index):
        """The base of that number, found beside the file and compared (spec/series.md)."""
        listed = self.manifest["state"]["bases"]
        need(self.header["incompatibleFeatures"] & 2 and len(listed) <= 64 and index < len(listed),
             "run.base")
        if index not in self.bases:
            reference, found = listed[index], []
            need(len(reference["id"]) == 32, "base.id")
            for name in sorted(os.listdir(self.directory)) if self.directory else []:
                if name.endswith(".pcp") and not name.startswith("."):
                    with open(os.path.join(self.directory, name), "rb") as file:
                        data = file.read()
                    length = int.from_bytes(data[-24:-20], "little")
                    at = len(data) - length + 48
                    if 160 <= length <= len(data) and data[at:at + 16].hex() == reference["id"]:
                        found.append(Checkpoint(data, self.schemas))
            need(found, "base.missing", reference["id"])
            for base in found:
                need(base.header["traceUuid"] == self.header["traceUuid"]
                     and base.header["pageSize"] == self.header["pageSize"]
                     and base.header["chunkPages"] == reference["chunkPages"]
                     and base.footer["pageCount"] == int(reference["pageCount"])
                     and base.header["event"] == int(reference["event"]), "base.unusable")
                need(base.content_id() == reference["id"], "base.unusable")
                if reference["seal"]:
                    need(3 in base.of_kind and hashlib.sha256(
                        base._bytes(base.of_kind[3])).hexdigest() == reference["seal"], "base.unusable")
                need(base.stream == found[0].stream, "base.ambiguous")
            self.bases[index] = found[0]
        return self.bases[index]

    def content_id(self):
        """The id of the content: of the state's canonical form and the chunks' checksums."""
        state = canonical_struct(self.message, self.message.read_struct(0), 0)
        sums = b"".join(struct.pack("<Q", chunk["checksum"]) for chunk in self.chunks)
        return xxhash.xxh3_128_hexdigest(state + sums)

    def own_pages(self, runs):
        """Number and digest of the stored pages that are not zero (spec, "Contents")."""
        page, hashed, count, at = self.header["pageSize"], xxhash.xxh3_128(), 0, 0
        for run in runs:
            if run["kind"] in ("stream", "base"):
                own = run["kind"] == "stream"
                stream = self.stream if own else self.base(run["source"]).stream
                for i in range(int(run["pages"])):
                    data = stream[(int(run["first"]) + i) * page:][:page]
                    need(len(data) == page, "run.stream" if own else "run.base")
                    if any(data):
                        hashed.update(struct.pack("<Q", at + i))
                        hashed.update(data)
                        count += 1
            at += int(run["pages"])
        return {"storedPages": str(count), "digest": hashed.hexdigest()}

    def document(self):
        state = self.manifest["state"]
        spaces = [{"mappings": [dict(start=mapping["start"],
                                     **self.own_pages(mapping["runs"]))
                                for mapping in space["mappings"]]}
                  for space in state["addressSpaces"]]
        objects = [self.own_pages(item["runs"])
                   for item in state["memoryObjects"]]
        return {"document": "org.rrpcp.checkpoint", "documentVersion": 1,
                "header": with_strings(self.header), "footer": with_strings(self.footer),
                "sections": [with_strings(section) for section in self.sections],
                "chunks": [with_strings(chunk) for chunk in self.chunks], "manifest": self.manifest,
                "contents": {"addressSpaces": spaces, "memoryObjects": objects}}


def main(arguments):
    if len(arguments) != 2:
        print(__doc__, file=sys.stderr)
        return 2
    layout, path = arguments
    try:
        with open(path, "rb") as file:
            document = Checkpoint(file.read(), Schemas(layout),
                                  os.path.dirname(os.path.realpath(path))).document()
    except Refused as refused:
        print("%s: refused [%s] %s" % ((path,) + (refused.args + ("",))[:2]), file=sys.stderr)
        return 1
    print(json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
