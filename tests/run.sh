#!/bin/bash
# Builds the project and passes its tests: the suite of the optimised build. With --all also the same
# suite under AddressSanitizer and UndefinedBehaviorSanitizer, the parallel parts under
# ThreadSanitizer, and the fuzz targets for a short fixed time on their seed corpus. Exits 0 only if
# all of it passed.
set -euo pipefail
cd "$(dirname "$0")/.."

sh cmake/install-packages.sh
jobs=$(nproc)
failed=()

build() { # PRESET
  cmake --preset "$1" >/dev/null
  cmake --build --preset "$1" -j "$jobs"
}

run_suite() { # PRESET [ctest options]
  local preset=$1
  shift
  echo "== tests: $preset"
  if ! ctest --preset "$preset" -j "$jobs" --no-tests=error "$@"; then
    failed+=("$preset")
  fi
}

build release
run_suite release

if [ "${1:-}" = --all ]; then
build asan
run_suite asan

cmake --preset tsan >/dev/null
cmake --build --preset tsan -j "$jobs" --target tsan_tests
run_suite tsan -L parallel

echo "== fuzz targets"
build fuzz
fuzz/run.sh build/fuzz "${RRPCP_FUZZ_SECONDS:-10}" || failed+=("fuzz")
fi

if [ ${#failed[@]} -ne 0 ]; then
  echo "FAILED: ${failed[*]}"
  exit 1
fi
echo "all suites passed"
