#!/bin/bash
# Builds the project and passes its tests: the suite of the optimised build. With --fuzz also the fuzz
# targets for a short fixed time on their seed corpus, with AddressSanitizer and
# UndefinedBehaviorSanitizer. With --all that, the parallel parts under ThreadSanitizer, and the whole
# suite under AddressSanitizer and UndefinedBehaviorSanitizer. Exits 0 only if all of it passed.
set -euo pipefail
cd "$(dirname "$0")/.."

jobs=$(nproc)
if [ "${1:-}" = --all ]; then
  export RRPCP_ALL=1 # the tests that take long
fi
sh cmake/install-packages.sh
failed=()
times=()

# Says what is done next, and at the end how long each took.
begin() { # WHAT
  finish
  echo "== $1"
  part=$1
  started=$SECONDS
}

finish() {
  if [ -n "${part:-}" ]; then
    times+=("$(printf '%4d s  %s' $((SECONDS - started)) "$part")")
  fi
}

build() { # PRESET [TARGET]
  begin "build: $1"
  cmake --preset "$1" > /dev/null
  cmake --build --preset "$1" -j "$jobs" ${2:+--target "$2"}
}

run_suite() { # PRESET [ctest options]
  local preset=$1
  shift
  begin "tests: $preset"
  if ! ctest --preset "$preset" -j "$jobs" --no-tests=error "$@"; then
    failed+=("$preset")
  fi
}

# What is known to fail: tests/open.txt. Nothing, as a rule.
open_tests=$(sed '/^#/d; /^$/d' tests/open.txt | paste -sd '|')

build release
run_suite release ${open_tests:+-E "$open_tests"}

if [ "${1:-}" = --fuzz ] || [ "${1:-}" = --all ]; then
  build fuzz fuzzers
  begin "fuzz targets"
  fuzz/run.sh build/fuzz "${RRPCP_FUZZ_SECONDS:-10}" || failed+=("fuzz")
fi

if [ "${1:-}" = --all ]; then
  if [ -n "$open_tests" ]; then
    begin "tests that are known to fail"
    ctest --preset release -j "$jobs" -R "$open_tests" || echo "still open, as tests/open.txt says"
  fi

  begin "old programs and new files"
  tests/cross-version.sh || failed+=("cross-version")

  build tsan tsan_tests
  run_suite tsan -L parallel

  build asan
  run_suite asan ${open_tests:+-E "$open_tests"}
fi

finish
printf '%s\n' "== times" "${times[@]}"
if [ ${#failed[@]} -ne 0 ]; then
  echo "FAILED: ${failed[*]}"
  exit 1
fi
echo "all suites passed"
