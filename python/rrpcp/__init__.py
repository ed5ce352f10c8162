"""Persistent checkpoints: reading, judging and writing them.

    import rrpcp

    with rrpcp.open("clock.pcp") as checkpoint:
        print(checkpoint.header.event, checkpoint.id)
        for task in checkpoint.tasks:
            print(task.tid, task.name)
        print(checkpoint["state.cpu.xsaveFeatures"])
        memory = checkpoint.memory(0)
        print(memory.read(0x400000, 64))

Fields are named as in spec/model.md. Memory comes as bytes, or is read into any writable buffer: a
bytearray, a memoryview, a numpy array. One object may be used by one thread at a time.
"""

import json
import os
from ctypes import (
    addressof,
    byref,
    c_char,
    c_char_p,
    c_int,
    c_int64,
    c_size_t,
    c_uint64,
    c_void_p,
    create_string_buffer,
    sizeof,
    string_at,
)
from typing import Any, Iterator, List, NamedTuple, Optional, Sequence, Tuple, Union

from ._library import LIB, Chunk, Error, Header, Mapping, Process, RawFinding, Task, WriteOptions
from ._library import call as _call
from ._library import made as _made

__all__ = [
    "Checkpoint",
    "Chunk",
    "Draft",
    "Entry",
    "Error",
    "Finding",
    "Header",
    "Mapping",
    "Memory",
    "Node",
    "Process",
    "Report",
    "Runs",
    "Task",
    "Writer",
    "choose",
    "digest",
    "format_version",
    "list_directory",
    "open",
    "validate",
    "version",
]

PathLike = Union[str, bytes, "os.PathLike[str]", "os.PathLike[bytes]"]

_NO_INDEX = c_size_t(-1).value
_BOOL, _INT, _UINT, _TEXT, _DATA, _ENUM, _STRUCT, _LIST = range(1, 9)
_PROFILES = {"default": 0, "raw": 1, "fast": 2, "small": 3}
_LEVELS = ("structure", "checksums", "semantics")
_SEVERITIES = ("info", "warning", "error")
_RUNS = {"zero": 0, "backing": 2, "unknown": 3, "guard": 4}


def version() -> str:
    """Version of the library."""
    return LIB.rrpcp_version().decode()


def format_version() -> str:
    """Version of the format that it writes."""
    return LIB.rrpcp_format_version().decode()


def digest(data: bytes) -> Tuple[int, int]:
    """XXH3-128 of bytes: the high and the low 64 bits."""
    high, low = c_uint64(), c_uint64()
    LIB.rrpcp_digest(data, len(data), byref(high), byref(low))
    return high.value, low.value


def _writable(buffer: Any) -> Tuple[Any, int]:
    """A ctypes object on the memory of a writable, contiguous buffer, and its length in bytes."""
    view = memoryview(buffer).cast("B")
    return (c_char * len(view)).from_buffer(view), len(view)


def _readable(buffer: Any) -> Tuple[Any, int]:
    view = memoryview(buffer).cast("B")
    if view.readonly:
        return create_string_buffer(view.tobytes(), len(view)), len(view)
    return (c_char * len(view)).from_buffer(view), len(view)


class Node:
    """A struct of a manifest. `node["tasks[3].rr.name"]` reads a field, and of a Draft
    `node["tasks[3].tid"] = 7` sets one.

    Numbers and booleans are int, enums and `which` the name (str, or the int of one that this
    release does not know), Text is str, Data bytes, a struct a Node, a list a list of these. A
    struct that is absent is None."""

    def __init__(self, handle: int, owner: Any, owned: bool) -> None:
        self._handle = handle
        self._owner = owner  # keeps alive what the handle points into
        self._owned = owned

    def __del__(self) -> None:
        if self._owned:
            LIB.rrpcp_node_free(self._handle)

    def kind(self, path: str) -> int:
        """The number of RRPCP_KIND_* of a field."""
        kind = c_int()
        _call("get_kind", self._handle, path.encode(), byref(kind))
        return kind.value

    def has(self, path: str) -> bool:
        """Whether the field is there: a pointer that is not null, an arm that is set."""
        present = c_int()
        _call("has", self._handle, path.encode(), byref(present))
        return present.value != 0

    def count(self, path: str) -> int:
        """Entries of a list."""
        count = c_size_t()
        _call("get_count", self._handle, path.encode(), byref(count))
        return count.value

    def fields(self, path: str = "") -> List[str]:
        """Names of the fields of a struct."""
        names: List[str] = []
        while True:
            name = c_char_p()
            _call("get_field_name", self._handle, path.encode(), len(names), byref(name))
            if name.value is None:
                return names
            names.append(name.value.decode())

    def to_json(self, path: str = "") -> str:
        """A struct or list in the form of spec/inspect-json.md."""
        text, size = c_void_p(), c_size_t()
        _call("get_json", self._handle, path.encode(), byref(text), byref(size))
        try:
            return string_at(text, size.value).decode()
        finally:
            LIB.rrpcp_free(text)

    def to_dict(self, path: str = "") -> Any:
        """The same as dict or list."""
        return json.loads(self.to_json(path))

    def _int(self, path: bytes, kind: int) -> int:
        value: Any = c_int64() if kind == _INT else c_uint64()
        _call("get_i64" if kind == _INT else "get_u64", self._handle, path, byref(value))
        return value.value

    def __getitem__(self, path: str) -> Any:
        name = path.encode()
        kind = self.kind(path)
        if kind in (_INT, _UINT):
            return self._int(name, kind)
        if kind == _BOOL:
            return self._int(name, kind) != 0
        if kind == _ENUM:
            text = c_char_p()
            _call("get_name", self._handle, name, byref(text))
            return text.value.decode() if text.value is not None else self._int(name, kind)
        if kind in (_TEXT, _DATA):
            data, size = c_void_p(), c_size_t()
            _call("get_bytes", self._handle, name, byref(data), byref(size))
            raw = string_at(data, size.value) if data.value else b""
            return raw.decode() if kind == _TEXT else raw
        if kind == _STRUCT:
            if path and not self.has(path):
                return None
            return Node(_made("get_node", self._handle, name), self, True)
        if kind == _LIST:
            return [self[f"{path}[{i}]"] for i in range(self.count(path))]
        return None

    def __setitem__(self, path: str, value: Any) -> None:
        name = path.encode()
        if isinstance(value, (bool, int)):
            signed = value < 0
            _call("set_i64" if signed else "set_u64", self._handle, name, int(value))
        elif isinstance(value, str):
            if self.kind(path) == _ENUM:
                _call("set_name", self._handle, name, value.encode())
            else:
                data = value.encode()
                _call("set_bytes", self._handle, name, data, len(data))
        elif isinstance(value, (bytes, bytearray, memoryview)):
            raw = bytes(value)
            _call("set_bytes", self._handle, name, raw, len(raw))
        elif isinstance(value, dict):
            text = json.dumps(value).encode()
            _call("set_json", self._handle, name, text, len(text))
        else:
            raise TypeError(f"a field cannot be set to a {type(value).__name__}")

    def init(self, path: str) -> "Node":
        """Makes a struct anew, or sets an arm; the struct as a node where it is one."""
        _call("init", self._handle, path.encode())
        return Node(_made("get_node", self._handle, path.encode()), self, True)

    def set_arm(self, path: str) -> None:
        """Sets an arm of a union that has no value."""
        _call("init", self._handle, path.encode())

    def init_list(self, path: str, count: int) -> None:
        """Makes a list of `count` entries."""
        _call("init_list", self._handle, path.encode(), count)

    def set_runs(self, path: str, runs: "Runs") -> None:
        """Sets a list of runs, and empties `runs`."""
        _call("set_runs", self._handle, path.encode(), runs._handle)


class Memory:
    """Memory of an address space, by address."""

    def __init__(self, handle: int, owner: "Checkpoint") -> None:
        self._handle = handle
        self._owner = owner

    def __del__(self) -> None:
        LIB.rrpcp_memory_close(self._handle)

    def readinto(self, address: int, buffer: Any) -> int:
        """Fills a writable buffer from `address`; how many bytes could be read: fewer than it has
        where the range meets an address without contents."""
        target, size = _writable(buffer)
        done = c_size_t()
        _call("memory_read", self._handle, address, addressof(target), size, byref(done))
        return done.value

    def read(self, address: int, size: int) -> bytes:
        """Up to `size` bytes at `address`."""
        buffer = bytearray(size)
        done = self.readinto(address, buffer) if size else 0
        return bytes(buffer[:done])


class Checkpoint:
    """An open checkpoint. Use it in a `with`, or close() it."""

    def __init__(self, handle: int, path: bytes = b"") -> None:
        self._handle = handle
        self.path = path  # as it was opened
        self.header = Header()
        LIB.rrpcp_get_header(handle, byref(self.header), sizeof(Header))
        self.manifest = Node(LIB.rrpcp_manifest(handle), self, False)

    def __enter__(self) -> "Checkpoint":
        return self

    def __exit__(self, *_: Any) -> None:
        self.close()

    def __del__(self) -> None:
        self.close()

    def close(self) -> None:
        """Closes the file. Nothing that came from it may be used afterwards."""
        handle, self._handle = self._handle, 0
        if handle:
            LIB.rrpcp_close(handle)

    @property
    def id(self) -> str:
        """The checkpoint id, 32 hexadecimal digits."""
        return self.header.id

    def __getitem__(self, path: str) -> Any:
        """A field, as Node does it: `checkpoint["state.tasks[0].tid"]`."""
        return self.manifest[path]

    @property
    def processes(self) -> List[Process]:
        out = []
        for index in range(LIB.rrpcp_process_count(self._handle)):
            process = Process()
            _call("get_process", self._handle, index, byref(process), sizeof(process))
            out.append(process)
        return out

    @property
    def tasks(self) -> List[Task]:
        out = []
        for index in range(LIB.rrpcp_task_count(self._handle)):
            task = Task()
            _call("get_task", self._handle, index, byref(task), sizeof(task))
            task.name = string_at(task._name, task._name_size) if task._name_size else b""
            out.append(task)
        return out

    @property
    def spaces(self) -> int:
        """How many address spaces there are."""
        return LIB.rrpcp_space_count(self._handle)

    def mappings(self, space: int = 0) -> List[Mapping]:
        """The mappings of an address space, by address."""
        count = c_size_t()
        _call("mapping_count", self._handle, space, byref(count))
        out = []
        for index in range(count.value):
            mapping = Mapping()
            _call("get_mapping", self._handle, space, index, byref(mapping), sizeof(mapping))
            mapping.name = string_at(mapping._name, mapping._name_size) if mapping._name_size else b""
            out.append(mapping)
        return out

    def registers(self, task: int, note_type: int = 1) -> Optional[bytes]:
        """A register set of a task by its ELF note type (1 NT_PRSTATUS), or None."""
        data, size = c_void_p(), c_size_t()
        _call("get_registers", self._handle, task, note_type, byref(data), byref(size))
        return string_at(data, size.value) if data.value else None

    def memory(
        self, space: int = 0, trace: Optional[PathLike] = None, verify: bool = True
    ) -> Memory:
        """Memory of an address space. `trace` is the directory for files of the trace; `verify`:
        backing files are compared with their digests before they are used."""
        directory = os.fsencode(trace) if trace is not None else None
        return Memory(_made("memory_open", self._handle, space, directory, int(verify)), self)

    def chunk(self, index: int) -> Chunk:
        """An entry of the chunk table."""
        chunk = Chunk()
        _call("get_chunk", self._handle, index, byref(chunk), sizeof(chunk))
        return chunk

    def pages(self, first: int, count: int) -> bytearray:
        """Pages of the page stream, decoded and verified."""
        buffer = bytearray(count * self.header.page_size)
        if count:
            target, _ = _writable(buffer)
            _call("read_pages", self._handle, first, count, addressof(target))
        return buffer

    def runs(self, path: str) -> Iterator[Tuple[str, int, int]]:
        """(kind, pages, first page of the stream) of each run of a list of runs."""
        for run in self.manifest.to_dict(path):
            yield run["kind"], int(run["pages"]), int(run["first"])


def open(path: PathLike) -> Checkpoint:  # pylint: disable=redefined-builtin
    """Opens a checkpoint; reads no page data."""
    return Checkpoint(_made("open", os.fsencode(path)), os.fsencode(path))


class Entry(NamedTuple):
    """A checkpoint of a directory."""

    path: bytes
    header: Header
    problem: Optional[str]  # why it cannot be used


def list_directory(directory: PathLike) -> List[Entry]:
    """The checkpoints of a directory, by position. Reads headers and footers alone."""
    listing = _made("list", os.fsencode(directory))
    try:
        out = []
        for index in range(LIB.rrpcp_listing_count(listing)):
            header = Header()
            LIB.rrpcp_listing_header(listing, index, byref(header), sizeof(header))
            problem = LIB.rrpcp_listing_problem(listing, index)
            text = LIB.rrpcp_error_text(problem).decode(errors="replace") if problem else None
            out.append(Entry(LIB.rrpcp_listing_path(listing, index), header, text))
        return out
    finally:
        LIB.rrpcp_listing_free(listing)


def choose(directory: PathLike, event: int, trace_uuid: Optional[bytes] = None) -> Optional[bytes]:
    """Path of the last usable checkpoint at or before `event`, of one trace or of any."""
    if trace_uuid is not None and len(trace_uuid) != 16:
        raise ValueError("a trace's uuid has 16 bytes")
    listing = _made("list", os.fsencode(directory))
    try:
        index = LIB.rrpcp_listing_choose(listing, event, trace_uuid)
        return None if index == _NO_INDEX else LIB.rrpcp_listing_path(listing, index)
    finally:
        LIB.rrpcp_listing_free(listing)


class Finding(NamedTuple):
    """One thing that a validation found."""

    code: str
    severity: str  # "info", "warning", "error"
    message: str
    hint: str
    path: str  # in the manifest; "" none
    offset: Optional[int]  # byte of the file


class Report(NamedTuple):
    """What a validation found."""

    valid: bool
    findings: Sequence[Finding]


def validate(path: PathLike, level: str = "semantics") -> Report:
    """Everything that is wrong with a file, up to a level: "structure", "checksums", "semantics"."""
    report = _made("validate", os.fsencode(path), _LEVELS.index(level))
    try:
        findings = []
        for index in range(LIB.rrpcp_report_count(report)):
            raw = RawFinding()
            LIB.rrpcp_report_finding(report, index, byref(raw), sizeof(raw))
            findings.append(
                Finding(
                    raw.code.decode(),
                    _SEVERITIES[raw.severity],
                    raw.message.decode(errors="replace"),
                    raw.hint.decode(),
                    raw.path.decode(),
                    None if raw.offset == c_uint64(-1).value else raw.offset,
                )
            )
        return Report(LIB.rrpcp_report_valid(report) != 0, findings)
    finally:
        LIB.rrpcp_report_free(report)


class Runs:
    """Where the bytes of a mapping or object are."""

    def __init__(self) -> None:
        self._handle = _made("runs_new")

    def __del__(self) -> None:
        LIB.rrpcp_runs_free(self._handle)

    def add(self, kind: str, pages: int) -> None:
        """Appends pages of a kind that stores nothing: "zero", "backing", "unknown", "guard"."""
        _call("runs_add", self._handle, _RUNS[kind], pages)


class Draft:
    """A manifest in the making."""

    def __init__(self, like: Optional[Checkpoint] = None) -> None:
        self._handle = (
            _made("draft_new") if like is None else _made("draft_copy", like._handle)
        )
        self.manifest = Node(LIB.rrpcp_draft_root(self._handle), self, False)

    def __del__(self) -> None:
        LIB.rrpcp_draft_free(self._handle)

    def __getitem__(self, path: str) -> Any:
        return self.manifest[path]

    def __setitem__(self, path: str, value: Any) -> None:
        self.manifest[path] = value


class Writer:
    """A checkpoint being written: into a directory under the name that its position gives it, or as
    a file. The draft says beforehand what the header needs (rrpcp.h). Not finished, nothing is left
    behind."""

    def __init__(
        self,
        draft: Draft,
        directory: Optional[PathLike] = None,
        file: Optional[PathLike] = None,
        replace: bool = False,
        profile: str = "default",
        threads: int = 0,
        seal: bool = False,
        validate: bool = True,  # pylint: disable=redefined-outer-name
    ) -> None:
        self._handle = 0
        self._draft = draft
        options = WriteOptions(
            sizeof(WriteOptions), _PROFILES[profile], threads, int(seal), int(validate)
        )
        if (directory is None) == (file is None):
            raise ValueError("say either directory or file")
        if directory is not None:
            self._handle = _made(
                "write_directory", os.fsencode(directory), draft._handle, byref(options)
            )
        elif file is not None:
            self._handle = _made(
                "write_file", os.fsencode(file), int(replace), draft._handle, byref(options)
            )

    def __del__(self) -> None:
        if self._handle:
            LIB.rrpcp_writer_free(self._handle)

    def append(self, pages: Any, runs: Runs) -> None:
        """Stores a whole number of pages from any buffer, and appends to `runs` where they are."""
        data, size = _readable(pages)
        _call("writer_append", self._handle, addressof(data), size, runs._handle)

    def finish(self) -> Tuple[str, bytes]:
        """Writes the manifest and publishes the file; its checkpoint id and its path."""
        checkpoint_id = create_string_buffer(16)
        path = c_void_p()
        _call("writer_finish", self._handle, checkpoint_id, byref(path))
        try:
            return checkpoint_id.raw.hex(), string_at(path)
        finally:
            LIB.rrpcp_free(path)

