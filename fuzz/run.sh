#!/bin/bash
# Runs every fuzz target of a build for some seconds on its seeds: fuzz/run.sh BUILD_DIR SECONDS [SEED].
# With the same random seed (default: 1) a target tries the same inputs in the same order; another one
# looks elsewhere.
# The seeds are those in fuzz/corpus/TARGET and, for targets that read whole files, the golden files.
# Exits 0 if no target found anything; what was found is left in the build directory.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
build=$(cd "$1" && pwd)
seconds=$2
seed=${3:-1}
golden=$here/../tests/golden
status=0
total=0
for target in "$build"/fuzzers/fuzz_*; do
  name=$(basename "$target")
  work=$build/fuzz-work/$name
  mkdir -p "$work/new"
  seeds=("$work/new")
  [ -d "$here/corpus/$name" ] && seeds+=("$here/corpus/$name")
  case $name in
    fuzz_container | fuzz_validate)
      for directory in "$golden"/*/valid "$golden"/*/invalid; do
        [ -d "$directory" ] && seeds+=("$directory")
      done
      ;;
    fuzz_trace)
      seeds+=("$golden"/trace-*/incomplete "$golden"/trace-*/newer-minor)
      ;;
  esac
  echo "-- $name, $seconds s"
  if ! (cd "$work" && "$target" -max_total_time="$seconds" -seed="$seed" -rss_limit_mb=2048 -timeout=20 \
    -print_final_stats=1 -verbosity=0 -max_len=1048576 "${seeds[@]}" > log 2>&1); then
    status=1
    tail -n 60 "$work/log"
    echo "FOUND by $name: see $work"
  fi
  grep -E 'stat::(number_of_executed_units|peak_rss_mb)' "$work/log" || true
  executed=$(sed -n 's/^stat::number_of_executed_units: *//p' "$work/log" | tail -n 1)
  total=$((total + ${executed:-0}))
done
echo "$total executions"
exit $status
