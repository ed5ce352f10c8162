#!/bin/bash
# packages_test.sh SOURCE BUILD: Debian packages of the build: lintian says no error, and on a clean root
# they can be installed and the tour of the README works. The root is made by mmdebstrap from the mirror
# that apt is configured for; where there is none that part is left out, and said.
set -euo pipefail
# What a test runner has open is no part of the tour: its processes are captured.
for fd in /proc/self/fd/*; do
  fd=${fd##*/}
  if [ "$fd" -gt 2 ] && [ "$fd" -ne 255 ]; then
    eval "exec $fd>&-"
  fi
done
source=$1
build=$2
temporary=$(mktemp -d)
trap 'rm -rf "$temporary"' EXIT
fail() {
  echo "FAILED: $*" >&2
  exit 1
}
need() {
  command -v "$1" >/dev/null || DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends "$2" >/dev/null ||
    fail "$2 cannot be installed"
}
need lintian lintian

echo "== packages"
(cd "$build" && cpack -G DEB -B "$temporary/packages" >"$temporary/cpack.log" 2>&1) || {
  tail -20 "$temporary/cpack.log"
  fail "cpack"
}
packages=("$temporary"/packages/*.deb)
for name in librrpcp0 librrpcp-dev rrpcp-tools python3-rrpcp; do
  ls "$temporary/packages/${name}_"*.deb >/dev/null || fail "$name is missing"
done
# Into a file first: a grep that has found it ends the pipe, and what writes into it would fail.
has() { # PACKAGE PATTERN
  dpkg-deb -c "$temporary/packages/$1"_*.deb >"$temporary/contents" && grep -q "$2" "$temporary/contents"
}
has librrpcp0 'librrpcp\.so\.0$\|librrpcp\.so\.0 ->' || fail "the library is not in its package"
has librrpcp-dev include/rrpcp/rrpcp.h || fail "rrpcp.h is not in its package"
has python3-rrpcp dist-packages/rrpcp/plot.py || fail "the plot is not in its package"

echo "== lintian"
lintian --allow-root --fail-on error "${packages[@]}" | grep -v '^[WIPN]:' || true
lintian --allow-root --fail-on error "${packages[@]}" >/dev/null 2>&1 || fail "lintian finds errors"

echo "== a clean root"
need mmdebstrap mmdebstrap
root=$temporary/root
if ! mmdebstrap --variant=minbase --include=python3 bookworm "$root" >"$temporary/mmdebstrap.log" 2>&1; then
  tail -3 "$temporary/mmdebstrap.log"
  echo "there is no mirror here: the packages were not installed"
  exit 0
fi
mkdir "$root/packages"
cp "${packages[@]}" "$root/packages"
# Dependencies come from the mirror, ours from the files: dpkg -i, then what it asks for.
chroot "$root" sh -c 'dpkg -i /packages/*.deb; apt-get update -q && apt-get -y -q -f --no-install-recommends install' \
  >"$temporary/install.log" 2>&1 || { tail -5 "$temporary/install.log"; fail "installing"; }
chroot "$root" dpkg -i /packages/librrpcp0_*.deb /packages/rrpcp-tools_*.deb /packages/python3-rrpcp_*.deb \
  >>"$temporary/install.log" 2>&1 || chroot "$root" sh -c 'dpkg -i /packages/*.deb' >>"$temporary/install.log" 2>&1 ||
  { tail -5 "$temporary/install.log"; fail "dpkg -i"; }
mount -t proc proc "$root/proc"
mount --bind /dev "$root/dev"
trap 'umount "$root/proc" "$root/dev" || umount -l "$root/proc" "$root/dev" || true; rm -rf --one-file-system "$temporary"' EXIT
cat >"$root/tour.sh" <<'END'
set -eu
cd /tmp
python3 -c 'import time; [print(i, flush=True) or time.sleep(0.1) for i in range(6000)]' > out.txt 2> errors.txt < /dev/null &
pid=$!
trap 'kill "$pid" 2> /dev/null || true' EXIT # or nobody could unmount what it has open
sleep 1
pcp-capture "$pid" -o clock.pcp
kill "$pid"
wait "$pid" || true
pcp-validate clock.pcp
pcp-inspect info clock.pcp
pcp-inspect maps clock.pcp > maps.txt
pcp-inspect regs clock.pcp > regs.txt
pcp-inspect diff clock.pcp clock.pcp
python3 -c 'import rrpcp; c = rrpcp.open("clock.pcp"); print(c.tasks[0].tid, len(c.mappings(0)))'
before=$(wc -l < out.txt)
timeout 5 pcp-restore --run clock.pcp || true
[ "$(wc -l < out.txt)" -gt "$before" ]
pcp-rr record -o trace -- sort -u maps.txt > sorted.txt
pcp-rr replay -a trace > again.txt
cmp sorted.txt again.txt
END
# With nothing of the test's own environment, which names the library that was built.
chroot "$root" env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root sh /tour.sh >"$temporary/tour.log" 2>&1 || { tail -20 "$temporary/tour.log"; fail "the tour"; }
echo ok
