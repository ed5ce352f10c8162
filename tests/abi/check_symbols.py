#!/usr/bin/env python3
"""check_symbols.py LIBRARY REFERENCE: what the shared library shows is what its header and version
script say: every function of rrpcp.h, in the node of its release, and nothing of other projects."""

import re
import subprocess
import sys
from pathlib import Path


def main() -> int:
    library, reference = sys.argv[1], Path(sys.argv[2])
    header = (reference / "include/rrpcp/rrpcp.h").read_text()
    declared = set(re.findall(r"RRPCP_EXPORT[^;]*?\b(rrpcp_\w+)\(", header))
    script = (reference / "rrpcp.map.in").read_text()
    node_of = {}
    for node, body in re.findall(r"^(RRPCP_[\d.]+) \{(.*?)^\}", script, re.M | re.S):
        for name in re.findall(r"^\s+(rrpcp_\w+);", body, re.M):
            node_of[name] = node
    problems = []
    for name in sorted(declared ^ set(node_of)):
        problems.append(f"{name} is in {'rrpcp.h' if name in declared else 'rrpcp.map.in'} alone")
    names = subprocess.run(
        ["nm", "-D", "--defined-only", "--with-symbol-versions", library],
        check=True, capture_output=True, text=True).stdout
    shown = {}
    cxx = 0
    for line in names.splitlines():
        name = line.split()[-1]
        symbol, _, version = name.partition("@@")
        if symbol.startswith("RRPCP_"):
            continue  # the nodes themselves
        if version.startswith("RRPCP_CXX_"):
            cxx += 1
            if "5rrpcp" not in symbol and "5capnp7schemas" not in symbol:
                problems.append(f"{symbol} is shown and not the project's")
            if re.match(r"_ZN?K?N?5rrpcp(6legacy|6compat|3abi|7framing|7restore|12_GLOBAL__N_1)", symbol):
                problems.append(f"{symbol} is internal and shown")
        else:
            shown[symbol] = version
    for name, node in sorted(node_of.items()):
        if shown.get(name) != node:
            problems.append(f"{name} is shown as {shown.get(name)}, not as {node}")
    for name in sorted(set(shown) - set(node_of)):
        problems.append(f"{name}@{shown[name]} is shown and not in rrpcp.map.in")
    if cxx < 100:
        problems.append(f"only {cxx} symbols of the C++ surface")
    for problem in problems[:40]:
        print(problem)
    print(f"{len(declared)} functions of C, {cxx} symbols of C++")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
