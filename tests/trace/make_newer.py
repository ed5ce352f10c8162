#!/usr/bin/python3
"""make_newer.py FROM TO MINOR INCOMPATIBLE READ_ONLY COMPATIBLE

Copies the event stream of the trace FROM into the directory TO as a later program might have written
it: with another minor version and further feature bits (numbers). Written from spec/trace.md alone.
"""

import struct
import sys

import xxhash


def sealed(data, start, length):
    """Sets the u64 at the end of a structure of `length` bytes to the checksum of what is before."""
    checksum = xxhash.xxh3_64_intdigest(bytes(data[start : start + length - 8]))
    struct.pack_into("<Q", data, start + length - 8, checksum)
    return checksum


def main():
    source, target, minor, incompatible, read_only, compatible = sys.argv[1:]
    with open(source + "/events", "rb") as file:
        data = bytearray(file.read())
    struct.pack_into("<H", data, 10, int(minor, 0))
    for offset, bits in ((16, incompatible), (24, read_only), (32, compatible)):
        (old,) = struct.unpack_from("<Q", data, offset)
        struct.pack_into("<Q", data, offset, old | int(bits, 0))
    stream = sealed(data, 0, 128)
    at = 128
    while data[at : at + 4] == b"\x89PCK":
        struct.pack_into("<Q", data, at + 80, stream)
        sealed(data, at, 96)
        (stored,) = struct.unpack_from("<I", data, at + 8)
        at += 96 + (stored + 7) // 8 * 8
    footer = len(data) - 96
    struct.pack_into("<Q", data, footer + 48, stream)
    struct.pack_into("<Q", data, footer + 80, xxhash.xxh3_64_intdigest(bytes(data[footer : footer + 80])))
    with open(target + "/events", "wb") as file:
        file.write(data)


main()
