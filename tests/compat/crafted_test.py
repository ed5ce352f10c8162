#!/usr/bin/env python3
"""crafted_test.py BIN GOLDEN SCHEMAS NAME: a crafted golden of rr's older generations (32-bit programs,
AArch64) is upgraded to a valid checkpoint that says what the messages say, by the decoder of the Cap'n
Proto tools, and is written back equal, which empty fields are there included."""

import json
import os
import shutil
import struct
import subprocess
import sys
import tempfile
from pathlib import Path

BIN, GOLDEN, SCHEMAS, NAME = Path(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3]), sys.argv[4]
GENERATION = NAME.split("/")[0]
AARCH64 = "aarch64" in NAME
NEWEST = GENERATION == "rr-2025"


def run(*command):
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{command}: {done.returncode}\n{done.stdout}{done.stderr}"
    return done.stdout


def decode(schema, root, file):
    done = subprocess.run(["capnp", "convert", "packed:json", "-I/usr/include", str(SCHEMAS / schema), root],
                          stdin=open(file, "rb"), capture_output=True, check=True)
    return json.loads(done.stdout)


def plain(value):
    """Without what only one generation has, and without the directory of page files."""
    if isinstance(value, dict):
        return {key: (bytes(entry).rsplit(b"/", 1)[-1] if key == "contentsPath" else plain(entry))
                for key, entry in value.items() if key not in ("arch", "skipMonitoringMappedFd")}
    if isinstance(value, list):
        return [plain(entry) for entry in value]
    return value


def main():
    with tempfile.TemporaryDirectory() as directory:
        subprocess.run(f"zstd -dcq --long=27 '{GOLDEN / NAME}.tar.zst' | tar -x -C '{directory}'",
                       shell=True, check=True)
        trace = Path(directory) / NAME.split("/")[1] / "trace"
        if NEWEST:
            info = decode("rr_2025.capnp", "CheckpointInfo", trace / "checkpoint-77/metadata")
            old = info["cloneCompletion"]
        else:
            schema = GENERATION.replace("-", "_") + ".capnp"
            index = decode(schema, "PersistentCheckpoints", trace / "checkpoints")
            info = index["checkpoints"][0]
            old = decode(schema, "CloneCompletionInfo", trace / f"checkpoint-{info['id']}")
        run(BIN / "pcp-upgrade", "--in-place", trace)
        (file,) = (trace / "pcp").glob("*.pcp")
        run(BIN / "pcp-validate", "--quiet", file)
        state = json.loads(run(BIN / "pcp-inspect", "--json", file))["manifest"]["state"]

        native = 183 if AARCH64 else 62 if NEWEST else 3
        assert state["machine"] == native, state["machine"]
        machine = state["addressSpaces"][0]["machine"] or native
        assert machine == (183 if AARCH64 else 3), machine
        assert len(state["tasks"]) == 2
        tasks = [old["addressSpaces"][0]["cloneLeaderState"]] + old["addressSpaces"][0]["memberState"]
        for task, before in zip(state["tasks"], tasks):
            sets = {entry["noteType"]: bytes.fromhex(entry["data"]) for entry in task["registers"]}
            registers, extra = bytes(before["regs"]["raw"]), bytes(before["extraRegs"]["raw"])
            if AARCH64:
                assert sets[1] == registers[:272] and len(registers) == 288
                assert sets[2] == extra[:528]
                assert sets[0x404] == registers[280:284]  # NT_ARM_SYSTEM_CALL
                assert sets[0x72720001] == registers[272:]
                assert (sets.get(0x401) == extra[528:]) if NEWEST else 0x401 not in sets
                assert len(extra) == (536 if NEWEST else 528)
                assert sorted(sets) == sorted({1, 2, 0x404, 0x72720001} | ({0x401} if NEWEST else set()))
            else:
                assert sets == {1: registers, 0x202: extra}
                assert len(registers) == 68
                (area,) = task["threadAreas"]
                raw = struct.unpack("<4I", bytes(before["threadAreas"][0]))
                assert [area["entryNumber"], area["baseAddress"], area["limit"]] == list(raw[:3])
                assert area["segment32Bit"] and area["limitInPages"] and area["useable"]
            assert task["name"] == "x86_64-linux-gn" and task["rr"]["name"] == "x86_64-linux-gnu-gcc-12"
            assert int(task["rr"]["tlsRegister"]) == int(before["tlsRegister"])
        assert state["session"]["rr"]["hasPointerAuthentication"] == (AARCH64 and NEWEST)
        assert state["session"]["rr"]["hasTpidr"] == (AARCH64 and NEWEST)
        kinds = [m["kind"] for m in state["fileTables"][0]["rr"]["monitors"]]
        assert kinds == ["stdio", "procFd", "mmapped", "pidFd", "preserve"], kinds
        if not AARCH64:
            assert state["addressSpaces"][0]["auxv"] == [{"type": "6", "value": "4096"}]
            assert state["cpu"]["xsaveLayout"] == [{"number": 2, "offset": 576, "size": 256}]
        shown = run(BIN / "pcp-inspect", "trace", trace)
        assert ("version 3 or newer" in shown) == NEWEST, shown
        run(BIN / "pcp-inspect", "regs", file)

        # Written back: all that rr-2025 has.
        copy = Path(directory) / "copy"
        shutil.copytree(trace, copy, ignore=lambda _, names: [n for n in names if n.startswith(("checkpoint", "pcp"))])
        run(BIN / "pcp-convert", "--to", "rr-2025", file, copy)
        again = decode("rr_2025.capnp", "CheckpointInfo", copy / "checkpoint-77/metadata")
        assert plain(again["cloneCompletion"]) == plain(old), "the message is another one"
        for key in ("id", "where", "nextSerial", "statistics"):
            assert again[key] == info[key], key
        assert plain(again["explicit"]) == plain(info["explicit"])
        if GENERATION != "rr-2022":
            assert again["lastContinueTask"] == info["lastContinueTask"]
        if NEWEST:
            assert again["explicit"]["arch"] == info["explicit"]["arch"]
            before = trace / "checkpoint-77"
            for name in os.listdir(before):
                if name != "metadata":
                    assert (before / name).read_bytes() == (copy / "checkpoint-77" / name).read_bytes(), name
    print("ok")


if __name__ == "__main__":
    main()
