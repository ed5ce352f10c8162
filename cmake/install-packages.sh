#!/bin/sh
# Installs what the project needs to be built and tested, on Debian 12 or later. Run as root.
# Does nothing where everything is there.
set -eu

packages="
  build-essential ca-certificates ccache clang cmake git libclang-rt-dev ninja-build pkg-config
  capnproto libcapnp-dev libzstd-dev libxxhash-dev nettle-dev libbrotli-dev libarchive-dev libdw-dev libcxxopts-dev
  libzydis-dev libseccomp-dev
  nlohmann-json3-dev libgtest-dev libgmock-dev librapidcheck-dev scdoc
  gdb lldb elfutils binutils python3 python3-pyelftools python3-zstandard python3-xxhash sqlite3 strace zstd xz-utils util-linux procps
  perl bash git-man gzip abigail-tools file"
if [ "${RRPCP_ALL:-}" = 1 ]; then # for the tests that take long
  packages="$packages delve golang-go valgrind"
fi

missing=""
for package in $packages; do
  if ! dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'install ok installed'; then
    missing="$missing $package"
  fi
done
# These two may be there from another source, beside which Debian's packages cannot be installed.
if ! command -v node > /dev/null; then
  missing="$missing nodejs"
fi
if ! command -v npm > /dev/null; then
  missing="$missing npm"
fi
[ -n "$missing" ] || exit 0

if [ "$(id -u)" -ne 0 ]; then
  echo "these packages are missing; install them as root: apt-get install$missing" >&2
  exit 1
fi
export DEBIAN_FRONTEND=noninteractive
echo "installing:$missing"
apt-get update -q
# shellcheck disable=SC2086 # a list of words
apt-get install -y -q --no-install-recommends $missing
