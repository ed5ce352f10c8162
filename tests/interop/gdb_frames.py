"""For gdb's `source`: writes the frames of all threads as one line of JSON."""

import json

import gdb


def start_of(frame):
    """Where the frame's function begins; nothing without debug information."""
    try:
        block = frame.block()
    except RuntimeError:
        return None
    while block is not None and block.function is None:
        block = block.superblock
    return block.start if block is not None else None


def frames(thread):
    thread.switch()
    out = []
    frame = gdb.newest_frame()
    while frame is not None:
        kind = {gdb.INLINE_FRAME: "inline", gdb.TAILCALL_FRAME: "tail call",
                gdb.SIGTRAMP_FRAME: "signal"}.get(frame.type(), "normal")
        out.append({"pc": frame.pc(), "name": frame.name(), "kind": kind, "start": start_of(frame)})
        frame = frame.older()
    return out


print("FRAMES " + json.dumps({t.ptid[1]: frames(t) for t in gdb.selected_inferior().threads()}))
