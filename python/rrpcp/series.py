"""How memory changes over the checkpoints of a directory."""

import hashlib
import os
from typing import Dict, Iterator, NamedTuple, Optional, Tuple

from . import Checkpoint, PathLike, list_directory
from . import open as open_checkpoint

# Pages decoded at once.
_PIECE = 256


class Step(NamedTuple):
    """One checkpoint of a series. Pages are those that the checkpoint itself holds: written memory,
    neither zero nor as in a file."""

    path: bytes
    event: int
    page_size: int  # bytes
    resident_pages: int
    changed_pages: int  # that the one before did not have, had elsewhere, or had otherwise
    gone_pages: int  # that only the one before had
    file_size: int  # bytes


# (address space or memory object, page number): digest.
_Pages = Dict[Tuple[str, int], bytes]


def _digests(checkpoint: Checkpoint) -> Dict[int, bytes]:
    """The digest of each page of the page stream."""
    size = checkpoint.header.page_size
    out: Dict[int, bytes] = {}
    for first in range(0, checkpoint.header.page_count, _PIECE):
        count = min(_PIECE, checkpoint.header.page_count - first)
        data = memoryview(checkpoint.pages(first, count))
        for page in range(count):
            piece = data[page * size : (page + 1) * size]
            out[first + page] = hashlib.blake2b(piece, digest_size=16).digest()
    return out


def stored_pages(checkpoint: Checkpoint) -> _Pages:
    """Every page with contents of its own, by place: ("space 0", page number of the address) or
    ("object 3", page of the object)."""
    size = checkpoint.header.page_size
    stream = _digests(checkpoint)
    pages: _Pages = {}

    def add(place: str, page: int, path: str) -> None:
        for kind, count, first in checkpoint.runs(path):
            if kind == "stream":
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
    for entry in list_directory(directory):
        if entry.problem:
            continue
        with open_checkpoint(entry.path) as checkpoint:
            now = stored_pages(checkpoint)
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
