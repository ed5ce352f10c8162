"""How memory changes over the checkpoints of a directory."""

import hashlib
import os
from typing import Dict, Iterator, List, NamedTuple, Optional, Tuple

from . import Checkpoint, PathLike, list_directory
from . import open as open_checkpoint

# Pages decoded at once.
_PIECE = 256


class Step(NamedTuple):
    """One checkpoint of a series. Pages are those that it holds, or takes over from others: written
    memory, neither zero nor as in a file."""

    path: bytes
    event: int
    page_size: int  # bytes
    resident_pages: int
    changed_pages: int  # that the one before did not have, had elsewhere, or had otherwise
    gone_pages: int  # that only the one before had
    file_size: int  # bytes


# (address space or memory object, page number): digest.
_Pages = Dict[Tuple[str, int], bytes]
# By checkpoint id: the digest of each page of its page stream.
_Streams = Dict[str, List[bytes]]


def _digests(checkpoint: Checkpoint) -> List[bytes]:
    """The digest of each page of the page stream."""
    size = checkpoint.header.page_size
    out: List[bytes] = []
    for first in range(0, checkpoint.header.page_count, _PIECE):
        count = min(_PIECE, checkpoint.header.page_count - first)
        data = memoryview(checkpoint.pages(first, count))
        for page in range(count):
            piece = data[page * size : (page + 1) * size]
            out.append(hashlib.blake2b(piece, digest_size=16).digest())
    return out


def _stream_of_base(checkpoint: Checkpoint, index: int, streams: _Streams) -> List[bytes]:
    """The same of a base, which lies beside the file."""
    name = checkpoint[f"state.bases[{index}].id"].hex()
    if name not in streams:
        for entry in list_directory(os.path.dirname(os.path.realpath(checkpoint.path))):
            if not entry.problem and entry.header.id == name:
                with open_checkpoint(entry.path) as base:
                    streams[name] = _digests(base)
                break
        else:
            raise FileNotFoundError(f"{os.fsdecode(checkpoint.path)}: its base {name} is missing")
    return streams[name]


def stored_pages(checkpoint: Checkpoint, streams: Optional[_Streams] = None) -> _Pages:
    """Every page with contents of its own, by place: ("space 0", page number of the address) or
    ("object 3", page of the object). `streams` keeps what was decoded, for the next checkpoint of
    the series."""
    size = checkpoint.header.page_size
    streams = {} if streams is None else streams
    if checkpoint.id not in streams:
        streams[checkpoint.id] = _digests(checkpoint)
    pages: _Pages = {}

    def add(place: str, page: int, path: str) -> None:
        for run in checkpoint.manifest.to_dict(path):
            count, first = int(run["pages"]), int(run["first"])
            if run["kind"] in ("stream", "base"):
                stream = (
                    streams[checkpoint.id]
                    if run["kind"] == "stream"
                    else _stream_of_base(checkpoint, int(run["source"]), streams)
                )
                for index in range(count):
                    pages[(place, page + index)] = stream[first + index]
            page += count

    for space in range(checkpoint.spaces):
        for index, mapping in enumerate(checkpoint.mappings(space)):
            if mapping.stored_pages:
                path = f"state.addressSpaces[{space}].mappings[{index}].runs"
                add(f"space {space}", mapping.start // size, path)
    for index in range(checkpoint.manifest.count("state.memoryObjects")):
        add(f"object {index}", 0, f"state.memoryObjects[{index}].runs")
    return pages


def series(directory: PathLike) -> Iterator[Step]:
    """The usable checkpoints of a directory, by position, each compared with the one before."""
    before: Optional[_Pages] = None
    streams: _Streams = {}
    for entry in list_directory(directory):
        if entry.problem:
            continue
        with open_checkpoint(entry.path) as checkpoint:
            now = stored_pages(checkpoint, streams)
        earlier = before if before is not None else {}
        yield Step(
            entry.path,
            entry.header.event,
            entry.header.page_size,
            len(now),
            sum(1 for place, digest in now.items() if earlier.get(place) != digest),
            sum(1 for place in earlier if place not in now),
            os.path.getsize(entry.path),
        )
        before = now
