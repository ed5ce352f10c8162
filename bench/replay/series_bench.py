#!/usr/bin/python3
"""What series of checkpoints cost beside as many full ones.

usage: series_bench.py BIN [--checkpoints N] [--json]

Records a run of python3 and one of gcc, makes N checkpoints of each (200) as series and each on its own, and
restores from the deepest one and from a full one at the same event. Prints bytes and milliseconds (medians of
five restores, in turn).
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import tempfile
import time

PYTHON = "import json, hashlib\nd = {}\nfor i in range(60000):\n" \
         "    d[i % 5003] = hashlib.sha256(str(i).encode()).hexdigest()\n" \
         "    if i % 400 == 0: print(i, flush=True)\nprint(len(json.dumps(d)))"
C = "#include <stdio.h>\n#include <stdlib.h>\n#include <string.h>\n" + "".join(
    "int f%d(int a, char *s) { char b[64]; snprintf(b, sizeof b, \"%%d %%s\", a * %d, s); return (int)strlen(b) + a; }\n"
    % (i, i) for i in range(300)) + "int main(void) { return f1(2, \"x\"); }\n"


def run(*command, cwd=None):
    return subprocess.run(command, check=True, capture_output=True, text=True, cwd=cwd).stdout


def checkpoints(bin_folder, trace):
    return json.loads(run(bin_folder + "/pcp-inspect", "list", "--json", trace + "/checkpoints"))["checkpoints"]


def milliseconds(*command):
    start = time.monotonic()
    run(*command)
    return 1000 * (time.monotonic() - start)


def measure(bin_folder, name, command, count, folder):
    trace = os.path.join(folder, "trace")
    run(bin_folder + "/pcp-rr", "record", "-o", trace, "--", *command, cwd=folder)
    events = int(json.loads(run(bin_folder + "/pcp-rr", "traceinfo", trace))["events"])
    interval = str(max(1, events // count))
    result = {"program": name, "events": events}
    kept = {}
    for how, bases in (("series", "8"), ("full", "0")):
        result[how + "Milliseconds"] = round(milliseconds(
            bin_folder + "/pcp-rr", "create-checkpoints", "-q", "-i", interval, "--bases", bases, trace))
        rows = checkpoints(bin_folder, trace)
        result[how + "Checkpoints"] = len(rows)
        result[how + "Bytes"] = sum(int(row["size"]) for row in rows)
        kept[how] = rows
        if how == "series":
            deepest = max(rows, key=lambda row: len(row["bases"]))
            result["depth"] = len(deepest["bases"])
        shutil.move(trace + "/checkpoints", os.path.join(folder, how))
    event = deepest["position"]["event"]
    times = {"series": [], "full": []}
    for _ in range(5):
        for how, list_ in times.items():
            os.symlink(os.path.join(folder, how), trace + "/checkpoints")
            list_.append(milliseconds(bin_folder + "/pcp-rr", "rerun", "-s", event, "-e", event, trace))
            os.remove(trace + "/checkpoints")
    result["seriesRestoreMilliseconds"] = round(statistics.median(times["series"]), 1)
    result["fullRestoreMilliseconds"] = round(statistics.median(times["full"]), 1)
    return result


def main():
    parser = argparse.ArgumentParser(description="What series of checkpoints cost beside as many full ones.")
    parser.add_argument("bin")
    parser.add_argument("--checkpoints", type=int, default=200)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    results = []
    for name, command in (("python3", ["/usr/bin/python3", "-S", "-c", PYTHON]), ("gcc", ["gcc", "-O2", "-c", "f.c"])):
        with tempfile.TemporaryDirectory() as folder:
            with open(os.path.join(folder, "f.c"), "w", encoding="utf-8") as file:
                file.write(C)
            results.append(measure(os.path.abspath(options.bin), name, command, options.checkpoints, folder))
    if options.json:
        print(json.dumps(results, indent=1))
        return
    for row in results:
        print("%(program)s, %(events)d events, %(seriesCheckpoints)d checkpoints" % row)
        print("  bytes    %d as series, %d each on its own: %.0f %%" % (
            row["seriesBytes"], row["fullBytes"], 100 * row["seriesBytes"] / row["fullBytes"]))
        print("  made in  %d ms, %d ms" % (row["seriesMilliseconds"], row["fullMilliseconds"]))
        print("  restored from depth %d in %s ms, from a full one in %s ms" % (
            row["depth"], row["seriesRestoreMilliseconds"], row["fullRestoreMilliseconds"]))


if __name__ == "__main__":
    main()
