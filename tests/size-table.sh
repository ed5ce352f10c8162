#!/bin/bash
# size-table.sh [TRACE|ARCHIVE.tar.zst…]: what checkpoints of rr take before and after an upgrade, as the
# table of the README: of the traces or archives given, or of the golden ones. Everything is verified on the way, byte by byte.
# Needs a build in build/release.
set -euo pipefail
cd "$(dirname "$0")/.."
bin=$PWD/build/release/bin
temporary=$(mktemp -d)
trap 'rm -rf "$temporary"' EXIT

row() { # NAME TRACE
  local out=$temporary/out
  rm -rf "$out"
  "$bin/pcp-upgrade" --json --output "$out" "$2" >"$temporary/report.json" || {
    echo "| $1 | not upgraded |"
    return
  }
  local files
  files=$(find "$2" -path '*checkpoint*' -type f | wc -l)
  /usr/bin/python3 - "$1" "$files" "$temporary/report.json" <<'END'
import json
import sys

name, files, report = sys.argv[1], int(sys.argv[2]), json.load(open(sys.argv[3]))
items = report["checkpoints"]
before = sum(int(item["bytesBefore"]) for item in items)
after = sum(int(item["bytesAfter"]) for item in items)
size = lambda value: f"{value / 1e6:.1f} MB" if value >= 1e6 else f"{value / 1e6:.2f} MB"
print(f"| {name} | {len(items)} | {files} | {size(before)} | {size(after)} | {before / max(after, 1):.0f} x |")
END
}

echo "| recording | checkpoints | files before | size before | size after | |"
echo "|---|---|---|---|---|---|"
if [ $# -eq 0 ]; then
  set -- tests/golden/rr-2025/{tiny_ticks,tiny_threads,tiny_fork}.tar.zst
fi
for trace in "$@"; do
  trace=${trace%/}
  name=$(basename "$trace" .tar.zst)
  if [ "$name" = trace ]; then
    name=$(basename "$(dirname "$trace")")
  elif [ -f "$trace" ]; then
    mkdir "$temporary/$name"
    zstd -dcq --long=27 "$trace" | tar -x -C "$temporary/$name" --strip-components=1
    trace=$temporary/$name/trace
  fi
  row "$name" "$trace"
  rm -rf "${temporary:?}/$name"
done
