#!/usr/bin/python3
"""Proves that the restorer's object file refers to nothing outside of its own section.

Usage: check_restorer_object.py OBJECT [SECTION]
       check_restorer_object.py --self-test COMPILER

The restorer (reference/src/process/restore/restorer.cc) is copied into an address space that holds
nothing else. So its section may have no relocation but to itself, the file no data, and the code no
access through the thread pointer, no vector registers and no indirect jump. The same holds for the
code that makes calls in recorded programs (reference/src/replay/buffer/call_code.cc, section
rrpcp_calls), but for the three jumps back to the program.
"""

import re
import subprocess
import sys
import tempfile

SECTION = sys.argv[2] if len(sys.argv) == 3 and sys.argv[1] != "--self-test" else "rrpcp_restorer"
JUMPS_BACK = 3 if SECTION == "rrpcp_calls" else 0
# What a compiler may leave in the file besides: never loaded, or empty.
HARMLESS = re.compile(r"^(\.comment|\.note\..*|\.symtab|\.strtab|\.shstrtab|\.rela?.*|\.group|"
                      r"\.llvm.*|\.debug.*|)$")


def run(*command):
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def problems(path):
    found = []
    sections = {}
    for line in run("readelf", "-SW", path).splitlines():
        match = re.match(r"\s*\[\s*(\d+)\]\s+(\S*)\s+(\S+)\s+[0-9a-f]+\s+[0-9a-f]+\s+([0-9a-f]+)", line)
        if match:
            number, name, kind, size = match.groups()
            sections[int(number)] = name
            if name != SECTION and int(size, 16) and not HARMLESS.match(name):
                found.append(f"section {name} ({kind}) has {int(size, 16)} bytes")
    if SECTION not in sections.values():
        return [f"there is no section {SECTION}"]

    symbols = {}
    for line in run("readelf", "-sW", path).splitlines():
        match = re.match(r"\s*\d+:\s+[0-9a-f]+\s+\S+\s+(\S+)\s+(\S+)\s+\S+\s+(\S+)\s*(\S*)", line)
        if match:
            kind, _, index, name = match.groups()
            symbols[name or sections.get(int(index) if index.isdigit() else -1, "")] = index
            if index == "UND" and name:
                found.append(f"it refers to {name}")

    section = None
    for line in run("readelf", "-rW", path).splitlines():
        match = re.match(r"Relocation section '\.rela?(\S+)'", line)
        if match:
            section = match.group(1)
            continue
        match = re.match(r"[0-9a-f]+\s+[0-9a-f]+\s+(R_\S+)\s+[0-9a-f]*\s*(\S+)", line)
        if match and section == SECTION:
            kind, name = match.groups()
            index = symbols.get(name, "UND")
            target = name if name == SECTION else sections.get(int(index) if index.isdigit() else -1)
            if target != SECTION or kind not in ("R_X86_64_PC32", "R_X86_64_PLT32"):
                found.append(f"relocation {kind} to {name}")

    jumps_back = 0
    for line in run("objdump", "-d", "--no-show-raw-insn", "-j", SECTION, path).splitlines():
        instruction = line.split("\t", 1)[-1]
        # (The third by way of Control::going_on_at, which lies behind the code.)
        if jumps_back < JUMPS_BACK and re.search(r"\bjmp\s+\*(%rcx|0x[0-9a-f]+\(%rip\)\s+# 12058 )",
                                                 instruction):
            jumps_back += 1
            continue
        if re.search(r"%[fg]s:|%[xyz]mm|\bjmp\s+\*|\bcall\s+\*", instruction):
            found.append(f"instruction: {instruction.strip()}")
    return found


BAD_SOURCES = {
    "calls a library function": "extern \"C\" void helper(); S void f() { helper(); }",
    "has data": "int counter; S int f() { return ++counter; }",
    "has constant data": "S const char* f(int i) { static const char* const t[] = {\"a\", \"b\", \"c\"}; return t[i]; }",
    "uses thread-local storage": "thread_local int x; S int f() { return x; }",
    "uses a stack protector": "extern \"C\" void use(char*); S void f() { char b[64]; use(b); }",
}


def self_test(compiler):
    for what, source in BAD_SOURCES.items():
        with tempfile.TemporaryDirectory() as directory:
            with open(directory + "/bad.cc", "w") as file:
                file.write(f"#define S __attribute__((section(\"{SECTION}\"), used))\n{source}\n")
            run(compiler, "-O2", "-fPIC", "-fstack-protector-all", "-c", directory + "/bad.cc", "-o",
                directory + "/bad.o")
            if not problems(directory + "/bad.o"):
                sys.exit(f"not noticed: code that {what}")
    print(f"all {len(BAD_SOURCES)} kinds of bad code are noticed")


def main():
    if sys.argv[1] == "--self-test":
        self_test(sys.argv[2])
        return
    found = problems(sys.argv[1])
    for problem in found:
        print(problem)
    sys.exit(1 if found else 0)


main()
