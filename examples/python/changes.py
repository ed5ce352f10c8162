#!/usr/bin/env python3
"""Walks the checkpoints of a directory and says how much memory changed from one to the next.

    changes.py DIRECTORY
"""

import os
import sys

import rrpcp
from rrpcp.series import series


def main() -> int:
    if len(sys.argv) != 2:
        print("usage: changes.py DIRECTORY", file=sys.stderr)
        return 2
    for entry in rrpcp.list_directory(sys.argv[1]):
        if entry.problem:
            print(f"{os.fsdecode(entry.path)}: {entry.problem}")
    for step in series(sys.argv[1]):
        print(f"event {step.event}: {step.resident_pages} pages, {step.changed_pages} changed")
    return 0


if __name__ == "__main__":
    sys.exit(main())
