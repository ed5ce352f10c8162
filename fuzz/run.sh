#!/bin/bash
# Runs every fuzz target of a build for some seconds on its seeds: fuzz/run.sh BUILD_DIR SECONDS [SEED].
# As many at a time as there are processors. With the same random seed (default: 1) a target tries the
# same inputs in the same order; another one looks elsewhere.
# The seeds are those in fuzz/corpus/TARGET and, for targets that read whole files, the golden files.
# Exits 0 if no target found anything; what was found is left in the build directory.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
build=$(cd "$1" && pwd)
seconds=$2
seed=${3:-1}
jobs=$(nproc)
golden=$here/../tests/golden

# Runs one target and says how it went, all at once: others run beside it.
run_target() { # PROGRAM
  local name work seeds said found=0
  name=$(basename "$1")
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
  (cd "$work" && "$1" -max_total_time="$seconds" -seed="$seed" -rss_limit_mb=2048 -timeout=20 \
    -print_final_stats=1 -verbosity=0 -max_len=1048576 "${seeds[@]}" > log 2>&1) || found=1
  said="-- $name, $seconds s"$'\n'
  if [ $found -ne 0 ]; then
    said+=$(tail -n 60 "$work/log")$'\n'"FOUND by $name: see $work"$'\n'
  fi
  said+=$(grep -aE 'stat::(number_of_executed_units|peak_rss_mb)' "$work/log" || true)
  printf '%s\n' "$said"
  return $found
}

targets=("$build"/fuzzers/fuzz_*)
if [ ! -x "${targets[0]}" ]; then
  echo "fuzz/run.sh: no fuzz targets in $build; they are made by: cmake --build --preset fuzz --target fuzzers" >&2
  exit 2
fi
status=0
running=0
for target in "${targets[@]}"; do
  if [ $running -ge "$jobs" ]; then
    wait -n || status=1
    running=$((running - 1))
  fi
  rm -f "$build/fuzz-work/$(basename "$target")/log"
  run_target "$target" &
  running=$((running + 1))
done
while [ $running -gt 0 ]; do
  wait -n || status=1
  running=$((running - 1))
done

total=0
for target in "${targets[@]}"; do
  executed=$(sed -n 's/^stat::number_of_executed_units: *//p' "$build/fuzz-work/$(basename "$target")/log" | tail -n 1)
  total=$((total + ${executed:-0}))
done
echo "$total executions"
exit $status
