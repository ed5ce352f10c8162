#!/usr/bin/python3
"""What segments save: a recording worked on in one piece, and in N pieces side by side.

usage: segments_bench.py BIN [--parts N] [--checkpoints N] [--json]

Records a run of python3 and one of sort, makes checkpoints (20), and times `pcp-rr rerun` and `pcp-validate --replay`
as one command and as N commands (one per processor), in turn, medians of three. The registers must be the same bytes and
every checkpoint what a replay comes to.
"""

import argparse
import json
import os
import statistics
import subprocess
import tempfile
import time

PYTHON = "import hashlib\nd = {}\nfor i in range(150000):\n    d[i % 5003] = hashlib.sha256(str(i).encode()).hexdigest()\n" \
         "    if i % 20 == 0: print(i, flush=True)"
ROUNDS = 3


def command(bin_folder, what, part, trace):
    if what == "rerun":
        return [bin_folder + "/pcp-rr", "rerun", "--segment", part, trace]
    return [bin_folder + "/pcp-validate", "--quiet", "--trace", trace, "--replay", "--segment", part]


def run(bin_folder, what, parts, trace):
    """Seconds, and all that was printed."""
    start = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        jobs, files = [], []
        for number in range(1, parts + 1):
            files.append(open(os.path.join(folder, str(number)), "w+b"))
            jobs.append(subprocess.Popen(command(bin_folder, what, "%d/%d" % (number, parts), trace), stdout=files[-1]))
        codes = [job.wait() for job in jobs]
        seconds = time.monotonic() - start
        assert not any(codes), (what, codes)
        printed = b""
        for file in files:
            file.seek(0)
            printed += file.read()
            file.close()
    return seconds, printed


def measure(bin_folder, name, words, options, folder):
    trace = os.path.join(folder, name)
    subprocess.run([bin_folder + "/pcp-rr", "record", "-o", trace, "--", *words], check=True, cwd=folder,
                   stdout=subprocess.DEVNULL)
    info = subprocess.run([bin_folder + "/pcp-rr", "traceinfo", trace], check=True, capture_output=True).stdout
    events = int(json.loads(info)["events"])
    subprocess.run([bin_folder + "/pcp-rr", "create-checkpoints", "-q", "-i", str(max(1, events // options.checkpoints)),
                    trace], check=True)
    result = {"program": name, "events": events, "parts": options.parts}
    for what in ("rerun", "validate"):
        times = {1: [], options.parts: []}
        printed = set()
        for _ in range(ROUNDS):
            for parts, list_ in times.items():
                seconds, text = run(bin_folder, what, parts, trace)
                list_.append(seconds)
                printed.add(text)
        assert len(printed) == 1, what
        one, several = statistics.median(times[1]), statistics.median(times[options.parts])
        result[what + "Seconds"] = round(one, 2)
        result[what + "SecondsSideBySide"] = round(several, 2)
        result[what + "SpeedUp"] = round(one / several, 2)
    return result


def main():
    parser = argparse.ArgumentParser(description="What segments of a recording save.")
    parser.add_argument("bin")
    parser.add_argument("--parts", type=int, default=os.cpu_count())
    parser.add_argument("--checkpoints", type=int, default=20)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    results = []
    for name, words in (("python3", ["/usr/bin/python3", "-S", "-c", PYTHON]),
                        ("sort", ["sh", "-c", "seq 300000 | sort -S 1M -T . | tail -1"])):
        with tempfile.TemporaryDirectory() as folder:
            results.append(measure(os.path.abspath(options.bin), name, words, options, folder))
    if options.json:
        print(json.dumps(results, indent=2))
        return
    for row in results:
        for what in ("rerun", "validate"):
            print("%s, %d events, %s: %.2f s in one piece, %.2f s in %d side by side: %.2f times as fast" % (
                row["program"], row["events"], what, row[what + "Seconds"], row[what + "SecondsSideBySide"], row["parts"],
                row[what + "SpeedUp"]))


if __name__ == "__main__":
    main()
