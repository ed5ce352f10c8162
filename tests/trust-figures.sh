#!/bin/bash
# Counts anew what the README's "Why you can trust it" states, from a clean clone on, in one go:
# tests/trust-figures.sh [SECONDS OF FUZZING FOR EACH TARGET]. Builds what it needs itself (presets
# release and fuzz), uses all processors, and ends with a table of the figures. Exits 0 only if
# nothing failed. Not in it: benchmarks and a process of 4 GiB (bench/README.md), the matrix of
# readers (the test conformance.matrix), other projects' suites, and the suite under sanitizers
# (tests/run.sh --all).
set -euo pipefail
cd "$(dirname "$0")/.."
seconds=${1:-60}
jobs=$(nproc)
# Every bit of every golden file, and the kills that the suite does by samples only.
export RRPCP_EVERY_BIT=1 RRPCP_ALL=1

figures=$(mktemp)
trap 'rm -f "$figures"' EXIT

build() { # PRESET TARGETS...
  local preset=$1 log=build/trust-figures-$1.log
  shift
  echo "== building: $preset"
  mkdir -p build
  if ! { cmake --preset "$preset" && cmake --build --preset "$preset" -j "$jobs" --target "$@"; } > "$log" 2>&1; then
    tail -n 40 "$log" >&2
    echo "trust-figures.sh: cannot build the preset $preset; all that was said: $log" >&2
    echo "trust-figures.sh: as root, cmake/install-packages.sh installs what the build needs" >&2
    exit 2
  fi
}

# Runs tests of a program and keeps their figures. Tests that fail give none, but one of their own.
run() { # NAME PROGRAM FILTER
  local started=$SECONDS log=build/trust-figures-$1.log
  if ! "build/release/tests/$2" --gtest_filter="$3" > "$log" 2>&1; then
    grep -E 'Failure|FAILED' "$log" | head -n 40 || true
    echo "figure: FAILED $1, see $log: 1" >> "$log"
  elif ! grep -q '^figure: ' "$log"; then
    echo "figure: FAILED $1 has no figures: 1" >> "$log"
  fi
  grep '^figure: ' "$log" >> "$figures"
  echo "   $1: $((SECONDS - started)) s"
}

build release conformance_test store_test container_test kill_test process_tools_test
build fuzz fuzzers

echo "== damage: every truncation, every flipped bit"
run damage conformance/conformance_test '*Damage*:Conformance.InvalidFilesGiveTheirCodes'
echo "== writers and readers, killed and short of memory"
run writers store/store_test '*WriterFaults*:Store.ManyProcessesPublishAndReadAtOnce' &
run memory container/container_test '*MemoryBound*' &
run killed-captures process/kill_test 'Kill.CaptureDoesNoHarmWhereverItIsKilled' &
run killed-restores process/kill_test 'Kill.RestoreLeavesNothingWhereverItIsKilled' &
run killed-commands tools/process_tools_test 'CaptureTool.KilledAtAnyMoment' &
wait

echo "== fuzz targets, $seconds s each, $jobs at a time"
fuzz/run.sh build/fuzz "$seconds" > build/trust-figures-fuzz.log 2>&1 || {
  grep -A 60 -E 'FOUND|ERROR' build/trust-figures-fuzz.log | head -n 200 || true
  echo "figure: FAILED fuzz, see build/trust-figures-fuzz.log: 1" >> "$figures"
}
sed -n 's/^\([0-9]*\) executions$/figure: executions of fuzz targets, '"$seconds"' s each: \1/p' \
  build/trust-figures-fuzz.log >> "$figures"

# Counts add up; of memory the most counts, over all profiles.
echo "== figures"
sed 's/^figure: //' "$figures" | awk -F': ' '
  { n = $NF; sub(/: [0-9]+$/, "") }
  /^KiB/ { sub(/, [a-z]+$/, ""); if (!($0 in count)) order[++k] = $0; if (n > count[$0]) count[$0] = n; next }
  { if (!($0 in count)) order[++k] = $0; count[$0] += n }
  END { for (i = 1; i <= k; i++) printf "%10d  %s\n", count[order[i]], order[i] }'
echo "== $SECONDS s in all"
if grep -q '^figure: FAILED' "$figures"; then
  exit 1
fi
