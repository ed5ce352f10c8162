#!/bin/bash
# plot_test.sh BIN: a real recording with 200 checkpoints, drawn into a picture.
set -euo pipefail
bin=$1
temporary=$(mktemp -d)
trap 'rm -rf "$temporary"' EXIT
fail() {
  echo "FAILED: $*" >&2
  exit 1
}
/usr/bin/python3 -c 'import matplotlib' 2>/dev/null ||
  DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends python3-matplotlib >/dev/null ||
  fail "python3-matplotlib cannot be installed"
cat >"$temporary/program.py" <<'END'
import os
blocks = []
for step in range(2000):
    blocks.append(bytes([step % 256]) * 20000)
    if step % 300 == 299:
        del blocks[:200]
    os.write(1, b"step %d\n" % step)
END
"$bin/pcp-rr" record -o "$temporary/trace" -- /usr/bin/python3 "$temporary/program.py" >/dev/null || fail "record"
events=$("$bin/pcp-rr" traceinfo "$temporary/trace" | sed -n 's/^  "events": "\([0-9]*\)",$/\1/p')
[ "$events" -gt 2000 ] || fail "only $events events"
"$bin/pcp-rr" create-checkpoints -i $((events / 205)) "$temporary/trace" >/dev/null || fail "create-checkpoints"
directory=$(dirname "$(find "$temporary/trace" -name '*.pcp' -path '*checkpoints*' | head -1)")
/usr/bin/python3 -m rrpcp.plot "$directory" -o "$temporary/memory.png" | tee "$temporary/said"
count=$(sed -n 's/.*: \([0-9]*\) checkpoints.*/\1/p' "$temporary/said")
[ "$count" -ge 200 ] || fail "only $count checkpoints"
file "$temporary/memory.png" | grep -q "PNG image data, 1000 x 600" || fail "no picture"
[ "$(stat -c %s "$temporary/memory.png")" -gt 10000 ] || fail "an empty picture"
if [ -n "${RRPCP_KEEP_PLOT:-}" ]; then
  cp "$temporary/memory.png" "$RRPCP_KEEP_PLOT"
fi
