#!/usr/bin/env python3
"""Makes the call of every row of the table of system calls, recorded and replayed.

usage: rows_test.py PCP_RR LIST_ROWS PART PARTS

A program is made of what rows.txt has for each row, and prints what each call returned and a hash
of all memory that it could have written to. A replay has to print the same. Rows without an entry,
and entries without a row, are failures. PART of PARTS: which share of the rows, counted from 0.
"""

import os
import subprocess
import sys
import tempfile

PCP_RR, LIST_ROWS, PART, PARTS = sys.argv[1:3] + [int(n) for n in sys.argv[3:5]]
HERE = os.path.dirname(os.path.abspath(__file__))
TIMEOUT = 600


def read_entries():
    entries = {}
    with open(os.path.join(HERE, "rows.txt"), encoding="ascii") as lines:
        for line in lines:
            if line.strip() and not line.startswith("#"):
                name, statements = line.split(" | ", 1)
                assert name not in entries, f"{name} comes twice"
                entries[name] = statements.strip()
    return entries


def read_rows():
    listed = subprocess.run([LIST_ROWS], capture_output=True, text=True, check=True).stdout
    rows = {}
    for line in listed.splitlines():
        number, name, label, selector = line.split("\t")
        key = f"{name}:{label}" if label else name
        assert key not in rows, f"two rows are called {key}"
        rows[key] = (int(number), int(selector))
    return rows


def make_program(chosen, entries):
    with open(os.path.join(HERE, "prologue.c"), encoding="ascii") as file:
        text = [file.read()]
    for index, (key, (number, selector)) in enumerate(chosen):
        text.append(f"#define N {number}\n#define SELECTOR {selector}ul\n"
                    f"static void row_{index}(void) {{ before(); long r = -1; {entries[key]}\n"
                    f"  after(\"{key}\", r); }}\n#undef N\n#undef SELECTOR\n")
    text.append("int main(void) { setvbuf(stdout, 0, _IONBF, 0); prepare();\n")
    text.extend(f"  row_{index}();\n" for index in range(len(chosen)))
    text.append("  return 0; }\n")
    return "".join(text)


def run(command, directory):
    return subprocess.run(command, cwd=directory, capture_output=True, text=True, timeout=TIMEOUT,
                          stdin=subprocess.DEVNULL, check=False)


def main():
    entries = read_entries()
    rows = read_rows()
    missing = sorted(set(rows) - set(entries))
    unknown = sorted(set(entries) - set(rows))
    assert not missing, f"rows.txt has nothing for: {', '.join(missing)}"
    assert not unknown, f"rows.txt has what is no row: {', '.join(unknown)}"
    ordered = list(rows.items())
    size = (len(ordered) + PARTS - 1) // PARTS
    chosen = ordered[PART * size:(PART + 1) * size]
    with tempfile.TemporaryDirectory() as directory:
        with open(os.path.join(directory, "calls.c"), "w", encoding="ascii") as file:
            file.write(make_program(chosen, entries))
        built = run(["cc", "-O0", "-w", "-pthread", "calls.c", "-o", "calls", "-lutil", "-lrt"],
                    directory)
        assert built.returncode == 0, built.stderr
        recorded = run([PCP_RR, "record", "-o", "trace", "--", "./calls"], directory)
        assert recorded.returncode == 0, (recorded.returncode, recorded.stdout, recorded.stderr)
        made = [line.rsplit(": ", 1)[0] for line in recorded.stdout.splitlines()]
        assert made == [key for key, _ in chosen], f"not every call was made: {made}"
        replayed = run([PCP_RR, "replay", "-a", "trace"], directory)
        lines = replayed.stdout.splitlines()
        for want, have in zip(recorded.stdout.splitlines(), lines):
            assert want == have, f"recorded {want}\nreplayed {have}\n{replayed.stderr}"
        assert len(lines) == len(made) and replayed.returncode == 0, (
            f"the replay ended after {lines[-1:]}\n{replayed.stderr}")
        print(f"{len(made)} calls replayed as recorded")


if __name__ == "__main__":
    main()
