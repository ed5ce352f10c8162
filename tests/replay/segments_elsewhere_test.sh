#!/bin/bash
# segments_elsewhere_test.sh BIN SOURCE parallel|slurm: the examples that work on the segments of a
# recording side by side, with GNU parallel, and with a Slurm of this machine alone that is started
# here, talks over loopback, and is ended here.
set -euo pipefail
bin=$1
source=$2
way=$3
temporary=$(mktemp -d)
started=()
cleanup() {
  for ((i = ${#started[@]} - 1; i >= 0; --i)); do
    kill "${started[i]}" 2>/dev/null || true
  done
  for pid in "${started[@]}"; do
    wait "$pid" 2>/dev/null || true
  done
  rm -rf "$temporary"
}
trap cleanup EXIT
fail() {
  echo "FAILED: $*" >&2
  exit 1
}
need() { # COMMAND PACKAGE
  if ! command -v "$1" >/dev/null; then
    if [ "$(id -u)" -ne 0 ] ||
      ! DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends "$2" >/dev/null 2>&1; then
      echo "skipped: $2 cannot be installed"
      exit 77
    fi
  fi
}

export PATH=$bin:$PATH
trace=$temporary/trace
pcp-rr record -o "$trace" -- sh -c \
  'i=0; while [ $i -lt 200 ]; do echo line $i; i=$((i+1)); done; seq 3000 | sort | tail -1' >/dev/null
events=$(pcp-rr traceinfo "$trace" | sed -n 's/^  "events": "\([0-9]*\)",$/\1/p')
pcp-rr create-checkpoints -q -i $((events / 9)) "$trace"
pcp-rr rerun "$trace" >"$temporary/whole.txt"
mkdir "$temporary/work"
cd "$temporary/work"

spoil() {
  local file
  file=$(find "$trace/checkpoints" -name '*.pcp' | sort | sed -n 4p)
  truncate -s $(($(stat -c %s "$file") / 2)) "$file"
}

if [ "$way" = parallel ]; then
  need parallel parallel
  "$source/examples/segments/parallel.sh" "$trace" 5 || fail "parallel.sh"
  cmp registers.txt "$temporary/whole.txt" || fail "the registers"
  spoil
  ! "$source/examples/segments/parallel.sh" "$trace" 5 >said 2>&1 || fail "a checkpoint that was cut is not noticed"
  cmp registers.txt "$temporary/whole.txt" || fail "the registers beside a checkpoint that was cut"
  echo ok
  exit 0
fi

need slurmctld slurmctld
need slurmd slurmd
need sbatch slurm-client
need munged munge
[ "$(id -u)" -eq 0 ] || {
  echo "skipped: Slurm is started as root"
  exit 77
}
host=$(hostname -s)
read -r port other < <(/usr/bin/python3 -c '
import socket
a, b = socket.socket(), socket.socket()
a.bind(("127.0.0.1", 0)), b.bind(("127.0.0.1", 0))
print(a.getsockname()[1], b.getsockname()[1])')
mkdir -p "$temporary/slurm/state" "$temporary/slurm/spool" "$temporary/munge"
chmod 0755 "$temporary" "$temporary/munge"
(umask 077 && head -c 1024 /dev/urandom >"$temporary/munge/key")
munged --foreground --force --key-file="$temporary/munge/key" --socket="$temporary/munge/socket" \
  --pid-file="$temporary/munge/pid" --log-file="$temporary/munge/log" --seed-file="$temporary/munge/seed" \
  --num-threads=2 >"$temporary/munge/said" 2>&1 &
started+=($!)
cat >"$temporary/slurm.conf" <<END
ClusterName=here
SlurmctldHost=$host(127.0.0.1)
SlurmctldPort=$port
SlurmdPort=$other
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket=$temporary/munge/socket
CredType=cred/munge
StateSaveLocation=$temporary/slurm/state
SlurmdSpoolDir=$temporary/slurm/spool
SlurmctldPidFile=$temporary/slurm/slurmctld.pid
SlurmdPidFile=$temporary/slurm/slurmd.pid
SlurmctldLogFile=$temporary/slurm/slurmctld.log
SlurmdLogFile=$temporary/slurm/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
ReturnToService=2
NodeName=here NodeHostname=$host NodeAddr=127.0.0.1 CPUs=2 State=UNKNOWN
PartitionName=all Nodes=here Default=YES MaxTime=INFINITE State=UP OverSubscribe=YES
END
export SLURM_CONF=$temporary/slurm.conf
for ((i = 0; i < 100; ++i)); do
  [ -S "$temporary/munge/socket" ] && break
  sleep 0.1
done
slurmctld -D -f "$SLURM_CONF" >"$temporary/slurm/said" 2>&1 &
started+=($!)
slurmd -D -N here -f "$SLURM_CONF" >"$temporary/slurm/said-too" 2>&1 &
started+=($!)
for ((i = 0; i < 300; ++i)); do
  sinfo -h -o %T 2>/dev/null | grep -q idle && break
  sleep 0.2
done
sinfo -h -o %T | grep -q idle || {
  tail -5 "$temporary"/slurm/*.log "$temporary"/slurm/said*
  fail "Slurm does not start"
}
timeout 300 sbatch --wait --array=1-5 --export=ALL "$source/examples/segments/slurm.sh" "$trace" >said ||
  { cat said segments-*.txt; fail "the job"; }
for part in 1 2 3 4 5; do
  cat "registers-$part.txt"
done | cmp - "$temporary/whole.txt" || fail "the registers"
[ "$(cat segments-*.txt | grep -c 'segment [0-9]*: a replay .* comes to')" -ge 9 ] || fail "the replays"
spoil
! timeout 300 sbatch --wait --array=1-5 --export=ALL "$source/examples/segments/slurm.sh" "$trace" >said ||
  fail "a checkpoint that was cut is not noticed"
echo ok
