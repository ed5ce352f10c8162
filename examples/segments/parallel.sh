#!/bin/sh
# parallel.sh TRACE [N]: works on a recording in N parts side by side (one per processor) with GNU
# parallel: writes the registers at every event to registers.txt, as `pcp-rr rerun TRACE` would print
# them, and checks that every checkpoint is what a replay comes to. Exits with 0 where all parts do.
set -eu

trace=$1
parts=${2:-$(nproc)}

seq "$parts" | parallel --keep-order pcp-rr rerun --segment "{}/$parts" "$trace" > registers.txt
seq "$parts" | parallel --keep-order pcp-validate --quiet --trace "$trace" --replay --segment "{}/$parts"
