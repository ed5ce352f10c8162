#!/bin/bash
# Sets up everything (packages, build) and runs the main job on a real program: starts python3 with
# several threads and file mappings, captures it half way, kills it, validates and shows the file,
# restores it in a new process, lets it finish, and compares the output with an undisturbed run. Then
# records a run of python3, makes checkpoints of it, and replays it from the one nearest to a late
# event.
set -euo pipefail
cd "$(dirname "$0")/.."
source_dir=$PWD

sh cmake/install-packages.sh
cmake --preset release >/dev/null
cmake --build --preset release -j "$(nproc)" --target \
  pcp-capture pcp-restore pcp-validate pcp-inspect pcp-rr
bin=$source_dir/build/release/bin

work=$(mktemp -d /tmp/rrpcp-demo-XXXXXX)
program_pid=""
cleanup() {
  if [ -n "$program_pid" ]; then
    kill -KILL "$program_pid" 2>/dev/null || true
  fi
  rm -rf "$work"
}
trap cleanup EXIT
program=$source_dir/tests/demo/long_computation.py
rounds=${RRPCP_DEMO_ROUNDS:-60000}

# Kills the program and waits for its end, without the shell's remark about it.
end_program() {
  { kill -KILL "$program_pid" && wait "$program_pid"; } 2>/dev/null || true
  program_pid=""
}

say() { printf '\n\033[1m%s\033[0m\n' "$*"; }
now_ms() { date +%s%3N; }

cd "$work"
head -c 8000000 /dev/urandom > input

say "1. An undisturbed run of python3 (five threads, two file mappings)"
start=$(now_ms)
/usr/bin/python3 "$program" input progress "$rounds" > expected < /dev/null 2> errors
undisturbed=$(($(now_ms) - start))
cat expected

say "2. The same program, captured half way and killed"
rm -f progress
/usr/bin/python3 "$program" input progress "$rounds" > output < /dev/null 2>> errors &
program_pid=$!
half=$((rounds * 4 / 2))
until [ -s progress ] && [ "$(tail -n 1 progress)" -ge "$half" ]; do
  kill -0 "$program_pid"
  sleep 0.02
done
# --kill: it must not write on into its files after it was captured.
"$bin/pcp-capture" "$program_pid" -o half-way.pcp --kill
end_program
reached=$(tail -n 1 progress)
echo "killed after $reached of $((rounds * 4)) rounds; printed until then: $(wc -c < output) bytes"

say "3. The file"
"$bin/pcp-validate" half-way.pcp
"$bin/pcp-inspect" info half-way.pcp
"$bin/pcp-inspect" tasks half-way.pcp

say "4. Restored in a new process and let run to its end"
start=$(now_ms)
"$bin/pcp-restore" half-way.pcp --run
rest=$(($(now_ms) - start))
cat output
if ! cmp expected output; then
  echo "the output DIFFERS from that of the undisturbed run" >&2
  exit 1
fi
echo "the output is that of the undisturbed run"

say "5. In figures"
for profile in raw fast default small; do
  /usr/bin/python3 "$program" input progress-2 1000000000 > /dev/null < /dev/null 2>> errors &
  program_pid=$!
  until [ -s progress-2 ]; do sleep 0.02; done
  "$bin/pcp-capture" "$program_pid" -o "$profile.pcp" --profile "$profile" --json > "$profile.json"
  end_program
  "$bin/pcp-restore" "$profile.pcp" --allow changed-file --json > "$profile.restored.json"
  program_pid=$(sed -n 's/.*"pid": \([0-9]*\).*/\1/p' "$profile.restored.json")
  end_program
  rm -f progress-2
done
/usr/bin/python3 - "$undisturbed" "$rest" raw fast default small << 'EOF'
import json, sys
print(f"undisturbed run {sys.argv[1]} ms; from the checkpoint to the end {sys.argv[2]} ms")
print(f"{'profile':<8}{'memory':>10}{'file':>10}{'frozen':>12}{'saved in':>12}{'restored in':>13}")
for name in sys.argv[3:]:
    saved = json.load(open(name + ".json"))
    restored = json.load(open(name + ".restored.json"))
    print(f"{name:<8}{int(saved['memoryBytes']) / 1e6:>7.1f} MB{int(saved['fileBytes']) / 1e6:>7.1f} MB"
          f"{int(saved['frozenNanoseconds']) / 1e6:>9.1f} ms{int(saved['totalNanoseconds']) / 1e6:>9.1f} ms"
          f"{int(restored['nanoseconds']) / 1e6:>10.1f} ms")
EOF

say "6. Recorded: everything that python3 learns from outside"
cat > talk.py << 'EOF'
import hashlib, os
digest = hashlib.sha256()
for i in range(int(os.environ["ROUNDS"])):
    digest.update(str(os.stat("input").st_size + i).encode())
    if i % 200 == 0:
        print(i, digest.hexdigest(), flush=True)
print("done", digest.hexdigest())
EOF
export ROUNDS=${RRPCP_DEMO_EVENTS:-20000}
start=$(now_ms)
/usr/bin/python3 talk.py > native < /dev/null
native=$(($(now_ms) - start))
start=$(now_ms)
"$bin/pcp-rr" record -q -o trace -- /usr/bin/python3 talk.py > recorded < /dev/null
recording=$(($(now_ms) - start))
cmp native recorded
events=$("$bin/pcp-rr" traceinfo trace | /usr/bin/python3 -c 'import json, sys; print(json.load(sys.stdin)["events"])')
"$bin/pcp-rr" ps trace
"$bin/pcp-rr" dump trace end
echo "$events events in $(du -sh trace/events | cut -f 1); native $native ms, recorded in $recording ms"

say "7. Checkpoints of the recording"
"$bin/pcp-rr" create-checkpoints -q -i $((events / 20)) trace
"$bin/pcp-validate" --trace trace | tail -n 3

say "8. Replayed: from the start, and from the checkpoint nearest to a late event"
late=$((events - events / 50))
"$bin/pcp-rr" replay -a trace > replayed
cmp recorded replayed
echo "the whole replay printed what the program had printed"
start=$(now_ms)
"$bin/pcp-rr" replay -a -g "$late" --ignore-pcp trace > late-from-start
from_start=$(($(now_ms) - start))
start=$(now_ms)
"$bin/pcp-rr" replay -a -g "$late" trace > late-from-checkpoint
from_checkpoint=$(($(now_ms) - start))
cmp late-from-start late-from-checkpoint
tail -c "$(wc -c < late-from-checkpoint)" recorded | cmp - late-from-checkpoint
tail -n 2 late-from-checkpoint
echo "event $late and what follows: $from_start ms from the start, $from_checkpoint ms from the checkpoint"

say "9. The hunt: who spoiled the pointer, two seconds before the crash? Backward from there"
cc -g -O0 -o hunt "$source_dir/examples/hunt/hunt.c"
"$bin/pcp-rr" record -q -o hunted -- ./hunt > /dev/null || true
"$bin/pcp-rr" replay hunted -- -nx -batch -q -ex continue -ex 'watch -l account->currency' \
  -ex reverse-continue -ex backtrace < /dev/null 2>&1 | tee hunt.log
grep -q 'rename_account .*hunt.c:38' hunt.log
