"""The functions of rrpcp.h, as ctypes calls them."""

import ctypes
import os
from ctypes import (
    POINTER,
    Structure,
    byref,
    c_char_p,
    c_int,
    c_int32,
    c_int64,
    c_size_t,
    c_uint8,
    c_uint16,
    c_uint32,
    c_uint64,
    c_void_p,
)
from typing import Any, Optional

SONAME = "librrpcp.so.0"


def _load() -> ctypes.CDLL:
    """The library: RRPCP_LIBRARY, the one installed beside the module, or the system's."""
    given = os.environ.get("RRPCP_LIBRARY")
    if given:
        return ctypes.CDLL(given)
    here = os.path.dirname(os.path.abspath(__file__))
    beside = os.path.join(here, "..", "..", "..", SONAME)
    if os.path.exists(beside):
        return ctypes.CDLL(beside)
    return ctypes.CDLL(SONAME)


class Header(Structure):
    """What header and footer of a file say; rrpcp.h explains each field."""

    _fields_ = [
        ("major", c_uint16),
        ("minor", c_uint16),
        ("position_kind", c_uint16),
        ("machine", c_uint16),
        ("elf_class", c_uint8),
        ("data_encoding", c_uint8),
        ("reserved", c_uint16),
        ("page_size", c_uint32),
        ("chunk_pages", c_uint32),
        ("current_task", c_int32),
        ("event", c_int64),
        ("ticks", c_int64),
        ("mark_event", c_int64),
        ("mark_ticks", c_int64),
        ("instructions", c_uint64),
        ("order", c_uint32),
        ("reserved2", c_uint32),
        ("_trace_uuid", c_uint8 * 16),
        ("_id", c_uint8 * 16),
        ("file_size", c_uint64),
        ("page_count", c_uint64),
        ("chunk_count", c_uint64),
    ]

    @property
    def trace_uuid(self) -> bytes:
        """16 bytes; all zero without a trace."""
        return bytes(self._trace_uuid)

    @property
    def id(self) -> str:
        """The checkpoint id, 32 hexadecimal digits."""
        return bytes(self._id).hex()


class Task(Structure):
    """A thread."""

    _fields_ = [
        ("tid", c_int32),
        ("process", c_uint32),
        ("address_space", c_uint32),
        ("serial", c_uint32),
        ("_name_size", c_uint64),
        ("_name", c_void_p),
    ]

    name: bytes = b""


class Process(Structure):
    """A thread group."""

    _fields_ = [("pid", c_int32), ("serial", c_uint32)]


class Mapping(Structure):
    """A mapping of an address space."""

    _fields_ = [
        ("start", c_uint64),
        ("end", c_uint64),
        ("protection", c_uint32),
        ("flags", c_uint32),
        ("role", c_uint32),
        ("object", c_uint32),
        ("object_offset", c_uint64),
        ("stored_pages", c_uint64),
        ("_name_size", c_uint64),
        ("_name", c_void_p),
    ]

    name: bytes = b""


class Chunk(Structure):
    """An entry of the chunk table."""

    _fields_ = [
        ("offset", c_uint64),
        ("stored_length", c_uint32),
        ("length", c_uint32),
        ("checksum", c_uint64),
        ("stored_checksum", c_uint64),
        ("codec", c_uint32),
        ("reserved", c_uint32),
    ]


class RawFinding(Structure):
    _fields_ = [
        ("code", c_char_p),
        ("message", c_char_p),
        ("hint", c_char_p),
        ("path", c_char_p),
        ("offset", c_uint64),
        ("severity", c_int32),
        ("reserved", c_int32),
    ]


class WriteOptions(Structure):
    _fields_ = [
        ("size", c_size_t),
        ("profile", c_int32),
        ("threads", c_uint32),
        ("seal", c_int32),
        ("validate", c_int32),
    ]


LIB = _load()

_STATUS = c_int32
_ERROR = POINTER(c_void_p)
_OUT = POINTER(c_void_p)

# Name, result, arguments. Functions that return a status have an error as their last argument.
for _name, _result, *_arguments in [
    ("version", c_char_p),
    ("format_version", c_char_p),
    ("free", None, c_void_p),
    ("status_name", c_char_p, _STATUS),
    ("error_free", None, c_void_p),
    ("error_status", _STATUS, c_void_p),
    ("error_text", c_char_p, c_void_p),
    ("error_message", c_char_p, c_void_p),
    ("error_file", c_char_p, c_void_p),
    ("error_hint", c_char_p, c_void_p),
    ("error_diagnostic", c_char_p, c_void_p),
    ("error_errno", c_int, c_void_p),
    ("error_offset", c_int, c_void_p, POINTER(c_uint64)),
    ("open", _STATUS, c_char_p, _OUT, _ERROR),
    ("open_fd", _STATUS, c_int, c_char_p, _OUT, _ERROR),
    ("close", None, c_void_p),
    ("get_header", None, c_void_p, POINTER(Header), c_size_t),
    ("list", _STATUS, c_char_p, _OUT, _ERROR),
    ("listing_free", None, c_void_p),
    ("listing_count", c_size_t, c_void_p),
    ("listing_path", c_char_p, c_void_p, c_size_t),
    ("listing_header", None, c_void_p, c_size_t, POINTER(Header), c_size_t),
    ("listing_problem", c_void_p, c_void_p, c_size_t),
    ("listing_choose", c_size_t, c_void_p, c_int64, c_char_p),
    ("manifest", c_void_p, c_void_p),
    ("get_node", _STATUS, c_void_p, c_char_p, _OUT, _ERROR),
    ("node_free", None, c_void_p),
    ("get_kind", _STATUS, c_void_p, c_char_p, POINTER(c_int), _ERROR),
    ("has", _STATUS, c_void_p, c_char_p, POINTER(c_int), _ERROR),
    ("get_u64", _STATUS, c_void_p, c_char_p, POINTER(c_uint64), _ERROR),
    ("get_i64", _STATUS, c_void_p, c_char_p, POINTER(c_int64), _ERROR),
    ("get_bytes", _STATUS, c_void_p, c_char_p, _OUT, POINTER(c_size_t), _ERROR),
    ("get_name", _STATUS, c_void_p, c_char_p, POINTER(c_char_p), _ERROR),
    ("get_count", _STATUS, c_void_p, c_char_p, POINTER(c_size_t), _ERROR),
    ("get_field_name", _STATUS, c_void_p, c_char_p, c_size_t, POINTER(c_char_p), _ERROR),
    ("get_json", _STATUS, c_void_p, c_char_p, _OUT, POINTER(c_size_t), _ERROR),
    ("process_count", c_size_t, c_void_p),
    ("get_process", _STATUS, c_void_p, c_size_t, POINTER(Process), c_size_t, _ERROR),
    ("task_count", c_size_t, c_void_p),
    ("get_task", _STATUS, c_void_p, c_size_t, POINTER(Task), c_size_t, _ERROR),
    ("get_registers", _STATUS, c_void_p, c_size_t, c_uint32, _OUT, POINTER(c_size_t), _ERROR),
    ("space_count", c_size_t, c_void_p),
    ("mapping_count", _STATUS, c_void_p, c_size_t, POINTER(c_size_t), _ERROR),
    ("get_mapping", _STATUS, c_void_p, c_size_t, c_size_t, POINTER(Mapping), c_size_t, _ERROR),
    ("memory_open", _STATUS, c_void_p, c_size_t, c_char_p, c_int, _OUT, _ERROR),
    ("memory_close", None, c_void_p),
    ("memory_read", _STATUS, c_void_p, c_uint64, c_void_p, c_size_t, POINTER(c_size_t), _ERROR),
    ("get_chunk", _STATUS, c_void_p, c_uint64, POINTER(Chunk), c_size_t, _ERROR),
    ("read_pages", _STATUS, c_void_p, c_uint64, c_uint64, c_void_p, _ERROR),
    ("validate", _STATUS, c_char_p, c_int, _OUT, _ERROR),
    ("report_free", None, c_void_p),
    ("report_valid", c_int, c_void_p),
    ("report_count", c_size_t, c_void_p),
    ("report_finding", None, c_void_p, c_size_t, POINTER(RawFinding), c_size_t),
    ("draft_new", _STATUS, _OUT, _ERROR),
    ("draft_copy", _STATUS, c_void_p, _OUT, _ERROR),
    ("draft_free", None, c_void_p),
    ("draft_root", c_void_p, c_void_p),
    ("set_u64", _STATUS, c_void_p, c_char_p, c_uint64, _ERROR),
    ("set_i64", _STATUS, c_void_p, c_char_p, c_int64, _ERROR),
    ("set_bytes", _STATUS, c_void_p, c_char_p, c_char_p, c_size_t, _ERROR),
    ("set_name", _STATUS, c_void_p, c_char_p, c_char_p, _ERROR),
    ("init", _STATUS, c_void_p, c_char_p, _ERROR),
    ("init_list", _STATUS, c_void_p, c_char_p, c_size_t, _ERROR),
    ("set_json", _STATUS, c_void_p, c_char_p, c_char_p, c_size_t, _ERROR),
    ("write_directory", _STATUS, c_char_p, c_void_p, POINTER(WriteOptions), _OUT, _ERROR),
    ("write_file", _STATUS, c_char_p, c_int, c_void_p, POINTER(WriteOptions), _OUT, _ERROR),
    ("write_fd", _STATUS, c_int, c_char_p, c_void_p, POINTER(WriteOptions), _OUT, _ERROR),
    ("writer_free", None, c_void_p),
    ("runs_new", _STATUS, _OUT, _ERROR),
    ("runs_free", None, c_void_p),
    ("runs_add", _STATUS, c_void_p, c_int, c_uint64, _ERROR),
    ("writer_append", _STATUS, c_void_p, c_void_p, c_size_t, c_void_p, _ERROR),
    ("set_runs", _STATUS, c_void_p, c_char_p, c_void_p, _ERROR),
    ("writer_finish", _STATUS, c_void_p, c_char_p, _OUT, _ERROR),
    ("digest", None, c_void_p, c_size_t, POINTER(c_uint64), POINTER(c_uint64)),
]:
    _function = getattr(LIB, "rrpcp_" + _name)
    _function.restype = _result
    _function.argtypes = _arguments


class Error(Exception):
    """What failed, with the parts that rrpcp.h describes."""

    def __init__(self, handle: int) -> None:
        self.status: int = LIB.rrpcp_error_status(handle)
        self.name: str = LIB.rrpcp_status_name(self.status).decode()
        self.message: str = LIB.rrpcp_error_message(handle).decode(errors="replace")
        self.file: bytes = LIB.rrpcp_error_file(handle)
        self.hint: str = LIB.rrpcp_error_hint(handle).decode(errors="replace")
        self.diagnostic: str = LIB.rrpcp_error_diagnostic(handle).decode()
        self.errno: int = LIB.rrpcp_error_errno(handle)
        offset = c_uint64()
        known = LIB.rrpcp_error_offset(handle, byref(offset))
        self.offset: Optional[int] = offset.value if known else None
        super().__init__(LIB.rrpcp_error_text(handle).decode(errors="replace"))


def call(name: str, *arguments: Any) -> None:
    """Calls a function that returns a status; raises Error where it fails."""
    error = c_void_p()
    if getattr(LIB, "rrpcp_" + name)(*arguments, byref(error)) != 0:
        try:
            raise Error(error.value or 0)
        finally:
            LIB.rrpcp_error_free(error)


def made(name: str, *arguments: Any) -> int:
    """The handle that a function makes."""
    handle = c_void_p()
    call(name, *arguments, byref(handle))
    assert handle.value is not None
    return handle.value
