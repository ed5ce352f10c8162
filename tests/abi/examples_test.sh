#!/bin/bash
# examples_test.sh SOURCE WALK LIBRARY: runs the examples on a directory of golden checkpoints.
set -euo pipefail
source=$1
walk=$2
library=$3
temporary=$(mktemp -d)
trap 'rm -rf "$temporary"' EXIT
fail() {
  echo "FAILED: $*" >&2
  exit 1
}

count=0
for file in "$source"/tests/golden/1.0/valid/*.pcp; do
  cp "$file" "$temporary"
  count=$((count + 1))
done
[ "$count" -ge 5 ] || fail "only $count golden files"
head -c 100 "$file" >"$temporary/cut.pcp"

echo "== C"
"$walk" --write "$temporary" >"$temporary/out"
grep -q "^wrote and read back: Hello, replay!$" "$temporary/out" || fail "what C wrote"
[ "$(grep -c "^event " "$temporary/out")" = $((count + 1)) ] || fail "what C listed"
grep -q "cut.pcp: " "$temporary/out" || fail "C lists a cut file as usable"
grep -q '  task 7 "example": 216 bytes' "$temporary/out" || fail "the task that C wrote"
"$walk" /nonexistent >"$temporary/none" || fail "a directory that is not there is an empty one"
[ ! -s "$temporary/none" ] || fail "something in a directory that is not there"

echo "== Python"
/usr/bin/python3 "$source/examples/python/changes.py" "$temporary" >"$temporary/out.py"
[ "$(grep -c "^event " "$temporary/out.py")" = $((count + 1)) ] || fail "what Python listed"
grep -q "^event 0: 1 pages, 1 changed" "$temporary/out.py" || fail "the page that C wrote"

if [ "${RRPCP_ALL:-}" = 1 ]; then
  echo "== Go"
  command -v go >/dev/null || {
    DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends golang-go
  } >/dev/null || fail "golang-go cannot be installed"
  mkdir "$temporary/pc" "$temporary/lib"
  ln -s "$library" "$temporary/lib/librrpcp.so"
  ln -s "$library" "$temporary/lib/librrpcp.so.0"
  printf 'Name: rrpcp-c\nDescription: test\nVersion: 0\nLibs: -L%s -lrrpcp\nCflags: -I%s\n' \
    "$temporary/lib" "$source/reference/include" >"$temporary/pc/rrpcp-c.pc"
  (cd "$source/examples/go" && PKG_CONFIG_PATH="$temporary/pc" GOCACHE="$temporary/gocache" \
    GOFLAGS=-mod=mod GOPROXY=off go build -o "$temporary/walk-go" .) || fail "the Go program"
  LD_LIBRARY_PATH="$temporary/lib" "$temporary/walk-go" "$temporary" >"$temporary/out.go"
  [ "$(grep -c "^event " "$temporary/out.go")" = $((count + 1)) ] || fail "what Go listed"
  grep -q '  task 7 "example"' "$temporary/out.go" || fail "the task in Go"
fi
echo ok
