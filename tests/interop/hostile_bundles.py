"""Bundles as nobody should make them, and one as it should be: for the test, and as seeds of the fuzz target."""

import hashlib
import io
import json
import tarfile

import zstandard


def compress(data):
    return zstandard.ZstdCompressor().compress(data)



def entry(name, data=b"", kind="file", **more):
    out = {"kind": kind, "name": name, "size": str(len(data)), "mode": str(0o644), "modified": "0",
           "sha256": hashlib.sha256(data).hexdigest()}
    out.update(more)
    return out


def pack(entries, members, manifest=None, document="org.rrpcp.bundle", version=1):
    """A bundle of a manifest and tar members: (name, data, type, linkname)."""
    if manifest is None:
        manifest = json.dumps({"document": document, "version": version, "entries": entries, "remarks": []}).encode()
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for name, data, kind, link in [("manifest.json", manifest, tarfile.REGTYPE, "")] + members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            info.type = kind
            info.linkname = link
            tar.addfile(info, io.BytesIO(data))
    return compress(stream.getvalue())


def plain(name, data=b"x"):
    return name, data, tarfile.REGTYPE, ""


def tarfile_of(members):
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as tar:
        for name, data, kind, link in members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return stream.getvalue()


def hostile_bundles():
    """{name: (bytes, what the refusal says)}"""
    x = b"x"
    link = ("root/etc/a", b"", tarfile.SYMTYPE, "/etc/passwd")
    hard = ("root/etc/a", b"", tarfile.LNKTYPE, "/etc/passwd")
    device = ("root/dev/a", b"", tarfile.CHRTYPE, "")
    fifo = ("root/a", b"", tarfile.FIFOTYPE, "")
    nothing = entry("root/etc/a")
    zeros = bytes(8 << 20)
    return {
        "escape": (pack([entry("root/../../a", x)], [plain("root/../../a")]), "leads elsewhere"),
        "escape, encoded": (pack([entry("root/%2e%2e/a", x)], [plain("root/%2e%2e/a")]), "leads elsewhere"),
        "absolute": (pack([entry("/root/a", x)], [plain("/root/a")]), "leads elsewhere"),
        "double slash": (pack([entry("root//etc/a", x)], [plain("root//etc/a")]), "leads elsewhere"),
        "other folder": (pack([entry("home/a", x)], [plain("home/a")]), "leads elsewhere"),
        "NUL": (pack([entry("root/a%00b", x)], [plain("root/a%00b")]), "leads elsewhere"),
        "nested checkpoint": (pack([entry("checkpoints/a/b", x, "checkpoint")], [plain("checkpoints/a/b")]),
                              "does not belong"),
        "symbolic link": (pack([nothing], [link]), "is a link"),
        "hard link": (pack([nothing], [hard]), "is a link"),
        "device": (pack([entry("root/dev/a")], [device]), "is a link, a device"),
        "fifo": (pack([entry("root/a")], [fifo]), "is a link, a device"),
        "below a file": (pack([entry("root/a", x), entry("root/a/b", x)], [plain("root/a"), plain("root/a/b")]),
                         "below a file"),
        "twice": (pack([entry("root/a", x)] * 2, [plain("root/a")] * 2), "twice"),
        "set-id": (pack([entry("root/a", x, mode=str(0o4755))], [plain("root/a")]), "a mode"),
        "more than said": (pack([entry("root/a", x)], [plain("root/a"), plain("root/b")]), "more than its manifest"),
        "less than said": (pack([entry("root/a", x), entry("root/b", x)], [plain("root/a")]), "ends before"),
        "other order": (pack([entry("root/a", x), entry("root/b", x)], [plain("root/b"), plain("root/a")]),
                        "something else"),
        "digest": (pack([entry("root/a", b"y")], [plain("root/a")]), "digest differs"),
        "longer": (pack([entry("root/a", x)], [plain("root/a", b"xx")]), "not as long"),
        "bomb by the manifest": (pack([entry("root/a", x, size=str(1 << 50))], [plain("root/a")]), "would become"),
        "bomb against the manifest": (pack([entry("root/a", x)], [plain("root/a", zeros)]), "not as long"),
        "sum": (pack([entry("root/a", x, size=str(2**64 - 1)), entry("root/b", x, size="5")], []), "make no sense"),
        "count": (pack([entry("root/%d" % i, x) for i in range(3)], []), "ends before"),
        "number": (pack([entry("root/a", x, size="-1")], [plain("root/a")]), "where a number belongs"),
        "no list": (pack(None, [], manifest=b'{"document": "org.rrpcp.bundle", "version": 1}'), "lacks"),
        "deep": (pack(None, [], manifest=b"[" * 2000000), "no bundle"),
        "not JSON": (pack(None, [], manifest=b"\xff\xfe"), "no bundle"),
        "other document": (pack([], [], document="x"), "no bundle"),
        "newer": (pack([], [], version=2), "version"),
        "no manifest": (compress(tarfile_of([plain("root/a")])), "no bundle"),
        "layers": (compress(compress(pack([entry("root/a", x)], [plain("root/a")]))), "no bundle"),
        "empty": (b"", "no bundle"),
        "cut": (pack([entry("root/a", zeros)], [plain("root/a", zeros)])[:200], ""),
    }


def good_bundle():
    x, zeros = b"x", bytes(8 << 20)
    return pack([entry("root/a/b", x), entry("root/c", zeros)], [plain("root/a/b"), plain("root/c", zeros)])
