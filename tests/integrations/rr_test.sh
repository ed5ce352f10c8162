#!/bin/bash
# rr_test.sh ROUND_TRIP BIN SOURCE: every checkpoint of every golden trace of rr, through the adapter's
# structure and back: the same checkpoint id, which stands for every field and byte; and the same
# document.
set -euo pipefail
round_trip=$1
bin=$2
source=$3
temporary=$(mktemp -d)
trap 'rm -rf "$temporary"' EXIT
fail() {
  echo "FAILED: $*" >&2
  exit 1
}

count=0
for archive in "$source"/tests/golden/rr-20*/*.tar.zst; do
  name=$(basename "$archive" .tar.zst)
  here=$temporary/$(basename "$(dirname "$archive")")-$name
  mkdir "$here"
  zstd -dcq --long=27 "$archive" | tar -x -C "$here"
  trace=$(find "$here" -maxdepth 3 -name version -printf '%h\n' | head -1)
  # Broken ones among them are refused; what is whole is upgraded.
  "$bin/pcp-upgrade" --quiet --output "$here/old" "$trace" >/dev/null 2>&1 || true
  for file in "$here"/old/*.pcp; do
    [ -f "$file" ] || continue
    saved=$("$round_trip" "$file" "$trace" "$here/new") || fail "$name"
    [ "$(basename "$saved")" = "$(basename "$file")" ] || fail "$name: $file became $saved"
    "$bin/pcp-inspect" --json --contents "$file" >"$here/one.json"
    "$bin/pcp-inspect" --json --contents "$saved" >"$here/other.json"
    /usr/bin/python3 - "$here/one.json" "$here/other.json" <<'END' || fail "$name: $file"
import json
import sys

one, other = (json.load(open(name)) for name in sys.argv[1:])
assert one["contents"] == other["contents"], "contents"
assert one["manifest"]["state"] == other["manifest"]["state"], "state"
END
    # The traces of crafted ones have no events.
    against=(--trace "$trace")
    case $name in crafted_*) against=() ;; esac
    "$bin/pcp-validate" --quiet "${against[@]}" "$saved" || fail "$name: $saved is not valid"
    count=$((count + 1))
  done
  rm -rf "$here"
done
[ "$count" -ge 25 ] || fail "only $count checkpoints"
echo "$count checkpoints"
