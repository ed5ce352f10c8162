#!/bin/bash
# Records the golden traces, and lists their checksums:
#   tests/trace/make_goldens.sh build/release tests/golden/trace-1.0
# With --replace before, those that are there are made again, which is right only as long as no
# version has been released with them. CPUID is answered as by a processor without any extension, so
# that they replay on every one.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
if [ "${1:-}" = --replace ]; then
  shift
  rm -rf "$2"
  sed -i "\|  $(basename "$2")/|d" "$here/../golden/SHA256SUMS"
fi
build=$(cd "$1" && pwd)
out=$2
[ ! -e "$out" ] || { echo "$out exists" >&2; exit 1; }
mkdir -p "$out"
out=$(cd "$out" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
rr=$build/bin/pcp-rr
gcc -O1 -static -nostdlib -fno-stack-protector -fno-pie -no-pie -Wl,--build-id=none \
  -Wl,-z,noseparate-code -s -o "$work/tiny" "$here/programs/tiny.c"
cd "$work"
# Elsewhere, since images and checkpoints have the paths of files.
env -i PATH=/usr/bin:/bin "$rr" record -q --cpuid x86-64 -o "$work/trace" -- "$work/tiny" \
  < /dev/null | cat > "$out/tiny.out"
"$rr" create-checkpoints -q -i 5 "$work/trace"
cp -r "$work/trace" "$out/tiny"

mkdir "$out/incomplete" "$out/newer-minor" "$out/newer-feature" "$out/damaged"
size=$(stat -c %s "$out/tiny/events")
# Without the footer, the index, and the last bytes of the last chunk: the recorder was killed.
head -c $((size - 400)) "$out/tiny/events" > "$out/incomplete/events"
"$here/make_newer.py" "$out/tiny" "$out/newer-minor" 7 0 0x10 0x20
"$here/make_newer.py" "$out/tiny" "$out/newer-feature" 9 0x100 0 0
# One bit of a chunk in the middle.
cp "$out/tiny/events" "$out/damaged/events"
at=$((size / 2))
byte=$(od -An -tu1 -j $at -N1 "$out/damaged/events")
printf "$(printf '\\x%02x' $((byte ^ 4)))" |
  dd of="$out/damaged/events" bs=1 seek=$at conv=notrunc status=none

# What must be shown of them: without the line that says where the trace lies.
for trace in tiny incomplete newer-minor newer-feature damaged; do
  for what in "dump --json" traceinfo "ps --json"; do
    $rr $what "$out/$trace" 2> /dev/null | sed "s|$out|GOLDEN|g" |
      sed '/^  "trace": /d' > "$out/$trace.${what%% *}.json" || true
  done
done
"$here/../golden/add-checksums"
