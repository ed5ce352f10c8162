#!/usr/bin/env python3
"""make_crafted.py SCHEMAS DIRECTORY: writes traces with a checkpoint of rr's older generations that no
recording at hand has: of 32-bit programs and of AArch64. Needs capnp and zstd. The bytes of registers
are as rr's sources have them (kernel_abi.h, Registers.cc, ExtraRegisters.h), the messages as on
spec/legacy-rr.md; nothing of this project but the schemas is used. The golden files crafted_*.tar.zst
were made by it.
"""

import json
import struct
import subprocess
import sys
import tarfile
from pathlib import Path

PAGE = 4096
EVENT = 77
ID = 1795353258773
NAME = "x86_64-linux-gnu-gcc-12"  # rr takes the whole name, over the kernel's 15 bytes


def text(data):
    """Data in capnp's text format."""
    return '"' + "".join(f"\\x{byte:02x}" for byte in data) + '"'


def group(**fields):
    return "(" + ", ".join(f"{key} = {value}" for key, value in fields.items()) + ")"


def listing(entries):
    return "[" + ", ".join(entries) + "]"


class Machine:
    def __init__(self, name, arch, native, registers, extra, tpidr):
        self.name, self.arch, self.native = name, arch, native
        self.registers, self.extra, self.tpidr = registers, extra, tpidr
        self.word = "<I" if arch == "x86" else "<Q"


def i386_registers(eip):
    # ebx ecx edx esi edi ebp eax xds xes xfs xgs orig_eax eip xcs eflags esp xss
    return struct.pack("<17I", 1, 2, 3, 4, 5, 0xFFFFD0F0, 6, 0x2B, 0x2B, 0, 0x63, 0xFFFFFFFF, eip,
                       0x23, 0x246, 0xFFFFD000, 0x2B)


def xsave():
    area = bytearray(832)
    struct.pack_into("<HHHH", area, 0, 0x37F, 0, 0, 0)  # FCW
    struct.pack_into("<I", area, 24, 0x1F80)  # MXCSR
    for register in range(8):
        area[160 + 16 * register:160 + 16 * register + 16] = bytes([register + 1] * 16)
    struct.pack_into("<Q", area, 512, 7)  # XSTATE_BV: x87, SSE, AVX
    area[576:576 + 16] = bytes([0xA5] * 16)  # upper half of ymm0
    return bytes(area)


def aarch64_registers(pc):
    # x0 to x30, sp, pc, pstate; then x0 before the call, the call's number, padding
    return struct.pack("<31Q3QQiI", *range(100, 131), 0xFFFFFFFFF000, pc, 0x60001000, 100, -1, 0)


def fpsimd(tpidr):
    registers = b"".join(bytes([number] * 16) for number in range(32))
    return registers + struct.pack("<IIII", 0x10, 0x20, 0, 0) + \
        (struct.pack("<Q", 0xFFFFF7FF0000) if tpidr else b"")


def header(machine, generation):
    fields = {
        "uuid": text(bytes(range(16))),
        "nativeArch": machine.native,
        "ok": "true",
        "requiredForwardCompatibilityVersion": 3 if generation == "rr-2025" else 0,
    }
    if machine.arch == "aarch64":
        fields["aarch64"] = group(hasPAuth="true" if machine.tpidr else "false",
                                  hasTPIDR="true" if machine.tpidr else "false")
    else:
        # Leaf 0xd, subleaf 2: 256 bytes at 576.
        cpuid = struct.pack("<6I", 0xD, 2, 256, 576, 0, 0)
        fields["x86"] = group(cpuidRecords=text(cpuid), xcr0=7)
    return group(**fields)


def task(machine, tid, serial):
    fields = dict(
        ticks=1000 + tid, regs=group(raw=text(machine.registers)), extraRegs=group(raw=text(machine.extra)),
        prname=text(NAME.encode()), fdtableIdentity=0x5555, syscallbufChild=0x6FFD0000,
        syscallbufSize=PAGE, numSyscallbufBytes=48, preloadGlobals=0x70001000, scratchPtr=0x60000000,
        scratchSize=PAGE, topOfStack=0xFFFFE000, rseqState=group(ptr=0, abortPrefixSignature=0),
        clonedFileDataOffset=0, threadLocals=text(bytes(104)), recTid=tid, ownNamespaceRecTid=tid,
        serial=serial, tguid=group(tid=100, serial=1), deschedFdChild=100, clonedFileDataFdChild=-1,
        clonedFileDataFname='""', waitStatus=0x857F,
        tlsRegister=0xF7FC1000 if machine.arch == "x86" else 0xFFFFF7FF0000, threadAreas="[]")
    if machine.arch == "x86":
        # entry, base, limit, flags: seg_32bit, limit_in_pages, useable
        area = struct.pack("<4I", 12, 0xF7FC1000 + tid, 0xFFFFF, 0x51)
        fields["threadAreas"] = listing([text(area)])
    return group(**fields)


def contents(number):
    return bytes([number]) * 100 + bytes(PAGE - 100)


def mappings(machine, generation, directory, trace):
    """The list and the page files."""
    out = []
    high = 0xFFFFD000 if machine.arch == "x86" else 0xFFFFFFFFE000
    plan = [
        (high, "[stack]", "privateAnon", 3, 0x122, {}),
        (0x10000, "/bin/program", "file", 5, 0x2, {}),
        (0x60000000, "", "privateAnon", 3, 0x22, {}),
        (0x6FFD0000, "/dev/shm/rr-shared-syscallbuf", "syscallBuffer", 3, 0x1, {}),
        (0x70000000, "/usr/lib/rr/librrpage.so", "rrPage", 5, 0x2, {}),
        (0x70001000, "", "rrPage", 3, 0x1, {}),
        (0x71000000, "/memfd:shared (deleted)", "sharedAnon", 3, 0x1, {"isSysVSegment": "false"}),
    ]
    for number, (start, name, arm, protection, flags, more) in enumerate(plan, 1):
        base = name.rsplit("/", 1)[-1]
        file = f"4242-{base + '-' if base else ''}{start:#x}-{start + PAGE:#x}"
        if base:
            file = file[:-1]  # the writer's off-by-one
        (trace / directory).mkdir(exist_ok=True)
        (trace / directory / file).write_bytes(contents(number))
        path = text(f"/recorded/trace/{directory}/{file}".encode())
        if generation == "rr-2022" and arm in ("file", "sharedAnon"):
            more = dict(more, skipMonitoringMappedFd="true")
        out.append(group(start=start, end=start + PAGE, fsname=text(name.encode()), device=2049,
                         inode=number if name else 0, protection=protection, flags=flags, offset=0,
                         mapType=group(**{arm: group(contentsPath=path, **more)})))
    return listing(out)


def space(machine, generation, directory, trace):
    auxv = b"".join(struct.pack(machine.word, value) for value in (6, PAGE, 0, 0))
    monitors = listing([
        group(fd=100, type=3),  # Preserve
        group(fd=1, type=6, stdio=1),
        group(fd=5, type=4, procFd=group(tid=101, serial=2)),
        group(fd=7, type=14),  # PidFd, of which no details are stored
        group(fd=6, type=2, mmap=group(dead="false", device=2049, inode=12)),
    ])
    fields = dict(
        processSpace=group(
            virtualAddressSpace=mappings(machine, generation, directory, trace),
            breakpointFaultAddress=0, exe=text(b"/bin/program"), originalExe=text(b"/bin/program"),
            monitors=monitors, taskFirstRunEvent=0, vmFirstRunEvent=12),
        cloneLeaderState=task(machine, 100, 1), memberState=listing([task(machine, 101, 2)]),
        capturedMemory=listing([group(startAddress=0x10010, data=text(b"saved"))]), auxv=text(auxv))
    if generation == "rr-2025":
        fields["arch"] = machine.arch
    return group(**fields)


def mark(machine, generation):
    fields = dict(time=EVENT, ticks=1100, ticksAtEventStart=1100, stepKey=0,
                  regs=group(raw=text(machine.registers)), extraRegs=group(raw=text(machine.extra)),
                  returnAddresses=listing(str(value) for value in range(8)),
                  singlestepToNextMarkNoSignal="false")
    if generation == "rr-2025":
        fields["arch"] = machine.arch
    return group(**fields)


def completion(machine, generation, directory, trace):
    return group(addressSpaces=listing([space(machine, generation, directory, trace)]),
                 sessionCurrentStep=text(bytes(32)), lastSigInfo=text(bytes(128)),
                 usesSyscallBuffering="true")


def encode(schemas, schema, root, message):
    return subprocess.run(["capnp", "encode", "--packed", "-I/usr/include", str(schemas / schema), root],
                          input=message.encode(), stdout=subprocess.PIPE, check=True).stdout


def make(schemas, trace, machine, generation):
    trace.mkdir(parents=True)
    (trace / "version").write_bytes(
        b"85\n" + encode(schemas, "rr_trace.capnp", "Header", header(machine, generation)))
    for stream in ("events", "tasks", "mmaps", "data"):
        (trace / stream).write_bytes(b"")
    info = dict(id=ID, where=text(b"main"), nextSerial=3, explicit=mark(machine, generation),
                statistics=group(bytesWritten=5, ticksProcessed=2100, syscallsPerformed=7))
    task_name = group(groupId=100, groupSerial=1, taskId=101, taskSerial=2)
    if generation == "rr-2025":
        directory = f"checkpoint-{EVENT}"
        info.update(cloneCompletion=completion(machine, generation, directory, trace),
                    lastContinueTask=task_name)
        (trace / directory / "metadata").write_bytes(
            encode(schemas, "rr_2025.capnp", "CheckpointInfo", group(**info)))
        return
    schema = generation.replace("-", "_") + ".capnp"
    directory = f"checkpoint-{ID}{EVENT}"
    (trace / f"checkpoint-{ID}").write_bytes(
        encode(schemas, schema, "CloneCompletionInfo",
               completion(machine, generation, directory, trace)))
    info["cloneCompletionFile"] = text(f"/recorded/trace/checkpoint-{ID}".encode())
    if generation == "rr-2022":
        info["lastContinueTuid"] = group(tid=101, serial=2)
    else:
        info["lastContinueTask"] = task_name
    (trace / "checkpoints").write_bytes(
        encode(schemas, schema, "PersistentCheckpoints",
               group(checkpoints=listing([group(**info)]))))


def pack(folder, archive):
    """The same archive whenever it is made."""
    plain = archive.with_suffix("")
    with tarfile.open(plain, "w", format=tarfile.GNU_FORMAT) as tar:
        for path in [folder, *sorted(folder.rglob("*"))]:
            entry = tar.gettarinfo(path, path.relative_to(folder.parent))
            entry.mtime, entry.uid, entry.gid, entry.uname, entry.gname = 0, 0, 0, "", ""
            entry.mode = 0o755 if entry.isdir() else 0o644
            if entry.isfile():
                with open(path, "rb") as file:
                    tar.addfile(entry, file)
            else:
                tar.addfile(entry)
    subprocess.run(["zstd", "-q", "-19", "--long=27", "-f", "--rm", plain, "-o", archive], check=True)


def main():
    schemas, out = Path(sys.argv[1]), Path(sys.argv[2])
    for generation in ("rr-2022", "rr-2024", "rr-2025"):
        newest = generation == "rr-2025"
        for machine in (
                # Before rr-2025 every space was of the trace's machine: 32-bit programs had an rr of
                # 32 bits.
                Machine("i386", "x86", "x8664" if newest else "x86", i386_registers(0x8049000), xsave(), False),
                Machine("aarch64", "aarch64", "aarch64", aarch64_registers(0xAAAAAAAA0000),
                        fpsimd(newest), newest)):
            name = f"crafted_{machine.name}"
            folder = out / "work" / generation / name
            make(schemas, folder / "trace", machine, generation)
            (out / generation).mkdir(exist_ok=True)
            pack(folder, out / generation / (name + ".tar.zst"))
            print(json.dumps({"golden": f"{generation}/{name}",
                              "bytes": (out / generation / (name + '.tar.zst')).stat().st_size}))


if __name__ == "__main__":
    main()
