#!/bin/bash
# pcp-upgrade and pcp-convert from the command line, on real traces.
set -eu
bin=$1
golden=$2
dir=$(mktemp -d)
said=$(mktemp -d)
trap 'rm -rf "$dir" "$said"' EXIT

fail() {
  echo "FAILED: $*" >&2
  exit 1
}
# expect CODE COMMAND...: the command ends with CODE; its output is in $said/out.
expect() {
  local want=$1 got=0
  shift
  "$@" > "$said/out" 2> "$said/err" || got=$?
  [ "$got" = "$want" ] || { cat "$said/out" "$said/err"; fail "'$*' ended with $got, not $want"; }
}
says() { grep -qF -- "$1" "$said/out" "$said/err" || { cat "$said/out" "$said/err"; fail "'$1' was not said"; }; }
unpack() { mkdir -p "$2" && zstd -q -d --long=27 -c "$golden/$1.tar.zst" | tar -x -C "$2" --strip-components=1; }
listing() { (cd "$1" && find . -type f -exec sha256sum {} + | sort -k2); }

# Usage.
expect 2 "$bin/pcp-upgrade"
expect 2 "$bin/pcp-upgrade" "$dir"
expect 2 "$bin/pcp-upgrade" --to 7.0 --dry-run "$dir"
expect 2 "$bin/pcp-upgrade" --in-place -o x "$dir"
expect 2 "$bin/pcp-convert" a b
expect 0 "$bin/pcp-upgrade" --help

unpack rr-2022/tiny_threads "$dir/a"
unpack rr-2024/tiny_ticks "$dir/b"
unpack rr-2025/truncated-metadata "$dir/c"
before=$(listing "$dir")

# A dry run changes nothing and tells everything.
expect 1 "$bin/pcp-upgrade" --dry-run "$dir"/?/trace
says "would be upgraded, rr-2022 to 1.0, event 142"
says "would be upgraded, rr-2024 to 1.0, event 840"
says "NOT UPGRADED: [legacy.message]"
says "7 checkpoints"
says "1 failed"
[ "$before" = "$(listing "$dir")" ] || fail "a dry run wrote something"

# A batch goes on after a bad one; what is old stays.
expect 1 "$bin/pcp-upgrade" --in-place "$dir"/?/trace
says "; 1 failed"
[ "$(ls "$dir"/?/trace/pcp/*.pcp | wc -l)" = 7 ] || fail "7 checkpoints should be there"
[ -e "$dir/a/trace/checkpoints" ] && [ -e "$dir/b/trace/checkpoints" ] || fail "something old is gone"
first=$(listing "$dir")

# Repeating it is harmless.
expect 1 "$bin/pcp-upgrade" --in-place "$dir"/?/trace
says "was upgraded before"
[ "$first" = "$(listing "$dir")" ] || fail "repeating it changed something"

# One checkpoint by its file, its directory, its metadata; an index; a file of the current version.
expect 0 "$bin/pcp-upgrade" -o "$dir/one" "$dir/c/trace/checkpoint-1680"
expect 0 "$bin/pcp-upgrade" -o "$dir/one" "$dir/c/trace/checkpoint-1680/metadata"
says "was upgraded before"
expect 0 "$bin/pcp-upgrade" -o "$dir/two" "$dir/a/trace/checkpoints"
[ "$(ls "$dir/two" | wc -l)" = 4 ] || fail "an index of 4 entries"
expect 0 "$bin/pcp-upgrade" --json --profile raw -o "$dir/three" "$dir/one"/*.pcp
says '"from": "1.0"'
[ "$(ls "$dir/one")" = "$(ls "$dir/three")" ] || fail "a rewritten checkpoint has another id"
expect 1 "$bin/pcp-upgrade" -o "$dir/four" "$dir/nothing"
says "no such file"

# Removing the old ones: only those that were upgraded.
expect 1 "$bin/pcp-upgrade" --in-place --remove-old "$dir"/?/trace
says "old one removed"
[ ! -e "$dir/a/trace/checkpoints" ] && [ ! -e "$dir/b/trace/checkpoints" ] || fail "an index is left"
[ -z "$(find "$dir/a/trace" "$dir/b/trace" -name 'checkpoint*')" ] || fail "old files are left"
[ -e "$dir/c/trace/checkpoint-840/metadata" ] || fail "the damaged one was removed"
[ ! -e "$dir/c/trace/checkpoint-1680" ] || fail "an upgraded one is left"

# What cannot be upgraded is left exactly as it is, whatever is wrong with it.
unpack rr-2025/tiny_ticks "$dir/bad"
unpack rr-2024/tiny_threads "$dir/worse"
trace=$dir/bad/trace
half=$(stat -c %s "$trace/checkpoint-840/metadata")
damage() { # NAME COMMAND: on a copy of the trace, where one checkpoint of two or four stays good
  rm -rf "$dir/damaged" && cp -a "$3" "$dir/damaged" && (cd "$dir/damaged" && eval "$2")
  local spoilt
  spoilt=$(listing "$dir/damaged" | grep "$4")
  expect 1 "$bin/pcp-upgrade" --in-place --remove-old "$dir/damaged"
  says "NOT UPGRADED: [$1]"
  [ "$spoilt" = "$(listing "$dir/damaged" | grep "$4")" ] || fail "$1: a damaged checkpoint was touched"
  [ -n "$(ls "$dir"/damaged/pcp/*.pcp 2> /dev/null)" ] || [ -n "${5-}" ] || fail "$1: the good ones were not upgraded"
}
damage legacy.incomplete 'cd checkpoint-840 && : > metadata && rm -f 2*-0x7*' "$trace" checkpoint-840
damage legacy.incomplete 'rm checkpoint-840/metadata' "$trace" checkpoint-840
damage legacy.message "truncate -s $((half / 2)) checkpoint-840/metadata" "$trace" checkpoint-840
damage legacy.page-missing 'cd checkpoint-840 && rm "$(ls | grep -v metadata | head -n 1)"' "$trace" checkpoint-840
damage legacy.page-size 'cd checkpoint-840 && truncate -s +1 "$(ls | grep -v metadata | head -n 1)"' "$trace" checkpoint-840
damage legacy.page-symlink 'cd checkpoint-840 && f=$(ls | grep -v metadata | head -n 1) && mv "$f" ../away && ln -s ../away "$f"' "$trace" checkpoint-840
damage legacy.page-symlink 'mv checkpoint-840 moved-840 && ln -s moved-840 checkpoint-840' "$trace" moved-840
first=$(cd "$dir/worse/trace" && ls -d checkpoint-*[0-9] | while read -r f; do [ -f "$f" ] && echo "$f" && break; done)
damage legacy.incomplete ": > $first" "$dir/worse/trace" "$first"
damage legacy.incomplete "rm $first" "$dir/worse/trace" "$first"
damage legacy.message "truncate -s 100 $first" "$dir/worse/trace" "$first"
damage legacy.index 'truncate -s 100 checkpoints' "$dir/worse/trace" checkpoint none
damage legacy.incomplete ': > checkpoints' "$dir/worse/trace" checkpoint none

# Written back, upgraded again, it is the same checkpoint.
expect 0 "$bin/pcp-convert" --to rr-2025 "$dir"/b/trace/pcp/*.pcp "$dir/b/trace"
[ -e "$dir/b/trace/checkpoint-840/metadata" ] || fail "no rr-2025 directory"
expect 1 "$bin/pcp-convert" --to rr-2025 "$dir"/b/trace/pcp/*.pcp "$dir/b/trace"
says "is there already"
expect 1 "$bin/pcp-convert" --to rr-2025 "$dir"/b/trace/pcp/*.pcp "$dir/a/trace"
says "belongs to trace"
expect 0 "$bin/pcp-upgrade" -o "$dir/five" "$dir/b/trace/checkpoint-840" "$dir/b/trace/checkpoint-1680"
[ "$(ls "$dir/five")" = "$(ls "$dir/b/trace/pcp")" ] || fail "there and back is another checkpoint"

# Killed anywhere, it leaves whole checkpoints or none, and a repetition completes it.
unpack rr-2024/tiny_fork "$dir/k"
for delay in 0.002 0.005 0.01 0.02 0.03 0.05 0.08; do
  timeout -s KILL "$delay" "$bin/pcp-upgrade" -q --in-place --remove-old "$dir/k/trace" > /dev/null 2>&1 || true
  for file in "$dir"/k/trace/pcp/*.pcp; do
    [ ! -e "$file" ] || "$bin/pcp-validate" "$file" > /dev/null || fail "a partial checkpoint after $delay s"
  done
done
# A kill between taking an entry out of the index and removing its files leaves orphans, no more.
got=0
"$bin/pcp-upgrade" --in-place --remove-old "$dir/k/trace" > "$said/out" 2>&1 || got=$?
[ "$(ls "$dir"/k/trace/pcp/*.pcp | wc -l)" = 4 ] || { cat "$said/out"; fail "4 checkpoints after the kills"; }
[ ! -e "$dir/k/trace/checkpoints" ] || fail "the index is left"
# The lines of the README, as they stand there but for the place.
readme=$(sed -n '/^\$ zstd -dc/,/^```$/s/^\$ //p' "$golden/../../README.md")
[ "$(echo "$readme" | wc -l)" = 3 ] || fail "the README shows the upgrade in three lines"
mkdir "$dir/readme"
expect 0 env PATH="$bin:$PATH" bash -euc "cd '$golden/../..'; ${readme//\/tmp/$dir\/readme}"
says "4 checkpoints, 38.6 MiB to 13"
says "4 files: 4 valid"
[ "$(grep -c ' ok  ' "$said/out")" = 8 ] || { cat "$said/out"; fail "8 healthy checkpoints should be listed"; }
for form in rr-2025 1.0; do
  [ "$(grep -c " $form " "$said/out")" -ge 4 ] || fail "4 checkpoints of $form should be listed"
done
# What was given where something else is wanted is said in one sentence.
unpack rr-2025/tiny_threads "$dir/none"
pcp=$(ls "$dir"/readme/tiny_fork/trace/pcp/*.pcp | head -1)
expect 2 "$bin/pcp-inspect" trace "$pcp"
says "this is a file, and \`trace\` shows trace directories"
expect 2 "$bin/pcp-validate" --trace "$dir/none/trace"
says "there are no checkpoints of this format in the trace"
expect 0 "$bin/pcp-inspect" trace --json "$dir/none/trace"
says '"requiredForwardCompatibility": '
echo "all good"
