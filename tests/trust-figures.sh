#!/bin/bash
# Produces the figures that the README's "Why you can trust it" states, by running what they are about:
# tests/trust-figures.sh [SECONDS OF FUZZING FOR EACH TARGET]. Needs the builds that tests/run.sh --all
# makes; the benchmarks are apart (bench/README.md).
set -euo pipefail
cd "$(dirname "$0")/.."
export RRPCP_EVERY_BIT=1

run() { # PROGRAM FILTER
  "build/release/tests/$1" --gtest_filter="$2" || echo "figure: FAILED $1: 1"
}

{
  run conformance/conformance_test '*Damage*:Conformance.InvalidFilesGiveTheirCodes'
  run store/store_test '*WriterFaults*:Store.ManyProcessesPublishAndReadAtOnce'
  run container/container_test '*MemoryBound*'
} | sed -n 's/^figure: //p' | awk -F': ' '
  { n = $NF; sub(/: [0-9]+$/, ""); if (/^KiB/) { if (n > top) top = n } else { if (!($0 in sum)) order[++k] = $0; sum[$0] += n } }
  END { for (i = 1; i <= k; i++) printf "%10d  %s\n", sum[order[i]], order[i]
        printf "%10d  KiB of memory at most to write or read a checkpoint of 384 MiB\n", top }'

if [ -d build/fuzz/fuzzers ]; then
  fuzz/run.sh build/fuzz "${1:-60}"
fi
