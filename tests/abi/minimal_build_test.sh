#!/bin/bash
# minimal_build_test.sh SOURCE: the library with nothing but capnp, zstd and xxhash, and rr's adapter on
# it; for this machine with a round trip, and compiled for i386 and AArch64. Needs a mirror of Debian
# for the cross compilers; where there is none it says so and passes what it can.
set -euo pipefail
source=$1
temporary=$(mktemp -d)
trap 'rm -rf "$temporary"' EXIT
fail() {
  echo "FAILED: $*" >&2
  exit 1
}
options=(-G Ninja -DCMAKE_BUILD_TYPE=Release -DRRPCP_LIVE=OFF -DRRPCP_COMPAT=OFF -DRRPCP_NETTLE=OFF
  -DRRPCP_BUILD_TOOLS=OFF -DRRPCP_BUILD_TESTS=OFF -DRRPCP_BUILD_BENCH=OFF)

echo "== this machine"
cmake -S "$source" -B "$temporary/native" "${options[@]}" -DCMAKE_INSTALL_PREFIX="$temporary/prefix" \
  >"$temporary/log" || fail "cmake"
cmake --build "$temporary/native" --target install >>"$temporary/log" || { tail -40 "$temporary/log"; fail "build"; }
[ ! -e "$temporary/prefix/include/rrpcp/process" ] || fail "headers of what is not built"
[ ! -e "$temporary/prefix/include/rrpcp/compat" ] || fail "headers of what is not built"
library=$(find "$temporary/prefix" -name 'librrpcp.so.0' | head -1)
readelf -d "$library" | sed -n 's/.*NEEDED.*\[\(.*\)\]/\1/p' | sort >"$temporary/needed"
if grep -Ev '^(libcapnp|libkj|libzstd|libxxhash|libstdc\+\+|libgcc_s|libm|libc|ld-linux.*)[-.]' "$temporary/needed"; then
  fail "the library needs more than it should"
fi
cc -Wall -Werror -o "$temporary/walk" "$source/examples/c/walk.c" -I "$temporary/prefix/include" "$library" \
  -Wl,-rpath,"$(dirname "$library")" || fail "the C example"
mkdir "$temporary/out"
"$temporary/walk" --write "$temporary/out" | grep -q "^wrote and read back: Hello, replay!$" || fail "the C example's run"

cross() { # DEBIAN-ARCHITECTURE TRIPLET PROCESSOR FLAGS
  echo "== $1"
  if ! { apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends \
    "g++-$2"; } >"$temporary/apt.log" 2>&1; then
    tail -3 "$temporary/apt.log"
    echo "not compiled for $1: its compiler cannot be installed here"
    return
  fi
  # shellcheck disable=SC2086 # a list of words
  "$2-g++" -std=c++17 $4 -D_FILE_OFFSET_BITS=64 -pthread -Wall -Wextra -Werror -O2 \
    -I "$source/reference/include" -c "$source/integrations/rr/PersistentCheckpoint.cc" -o "$temporary/$1.o" ||
    fail "the adapter for $1"
  file -L "$temporary/$1.o"

  # The library needs packages of that architecture, which is known to apt only meanwhile.
  local known
  known=$(dpkg --print-foreign-architectures)
  dpkg --add-architecture "$1"
  if { apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends \
    "libcapnp-dev:$1" "libzstd-dev:$1" "libxxhash-dev:$1"; } >"$temporary/apt.log" 2>&1; then
    PKG_CONFIG_LIBDIR=/usr/lib/$2/pkgconfig cmake -S "$source" -B "$temporary/$1" "${options[@]}" \
      -DCMAKE_SYSTEM_NAME=Linux -DCMAKE_SYSTEM_PROCESSOR="$3" -DCMAKE_C_COMPILER="$2-gcc" \
      -DCMAKE_CXX_COMPILER="$2-g++" -DCMAKE_LIBRARY_ARCHITECTURE="$2" >"$temporary/log" || fail "cmake for $1"
    cmake --build "$temporary/$1" --target rrpcp_shared >>"$temporary/log" || { tail -40 "$temporary/log"; fail "build for $1"; }
    file -L "$temporary/$1/lib/librrpcp.so"
  else
    tail -3 "$temporary/apt.log"
    echo "the library not compiled for $1: its packages cannot be installed here (beside libcapnp-dev of this machine, or no mirror)"
    if ! grep -qx "$1" <<<"$known"; then
      dpkg --remove-architecture "$1" && apt-get update -q >/dev/null 2>&1 || true
    fi
  fi
}
if [ "$(id -u)" = 0 ]; then
  cross i386 i686-linux-gnu i686 "-msse2 -D__MMX__ -D__SSE__ -D__SSE2__"
  cross arm64 aarch64-linux-gnu aarch64 "-march=armv8.3-a -moutline-atomics"
fi
echo ok
