#!/bin/bash
# install_test.sh BUILD CXX SANITIZERS: installs BUILD into a temporary folder, checks what is there,
# and builds and runs the example against it, by CMake and by pkg-config.
set -euo pipefail
build=$1
cxx=$2
sanitizers=$3
here=$(cd "$(dirname "$0")" && pwd)
example=$here/example
temporary=$(mktemp -d)
trap 'rm -rf "$temporary"' EXIT
prefix=$temporary/prefix

fail() {
  echo "FAILED: $*" >&2
  exit 1
}

flags=()
if [ -n "$sanitizers" ]; then
  flags=("-fsanitize=$sanitizers")
fi

cmake --install "$build" --prefix "$prefix" >"$temporary/install.log"

echo "== what is installed"
for header in reader writer store error memory_view process/capture process/restore; do
  [ -f "$prefix/include/rrpcp/$header.h" ] || fail "include/rrpcp/$header.h is missing"
done
for schema in manifest state memory task files position session; do
  [ -f "$prefix/include/rrpcp/schema/$schema.capnp" ] || fail "$schema.capnp is missing"
  [ -f "$prefix/include/rrpcp/schema/$schema.capnp.h" ] || fail "$schema.capnp.h is missing"
done
for tool in "$prefix"/bin/*; do
  name=${tool##*/}
  "$tool" --version | grep -Eq "^$name [0-9]+\.[0-9]+\.[0-9]+ \(checkpoint format [0-9]+\.[0-9]+\)$" ||
    fail "$name --version"
  "$tool" --help | grep -q "Usage:" || fail "$name --help"
  [ -f "$prefix/share/bash-completion/completions/$name" ] || fail "$name has no completion"
  bash -n "$prefix/share/bash-completion/completions/$name" || fail "the completion of $name"
  if command -v scdoc >/dev/null; then
    grep -q "$name" "$prefix/share/man/man1/$name.1" || fail "$name has no man page"
  fi
done
[ -x "$prefix/bin/pcp-inspect" ] || fail "pcp-inspect is missing"

echo "== where commands look for libraries"
# An empty entry is the current folder, whose libraries a command run as root must not take.
for tool in "$build"/bin/pcp-* "$prefix"/bin/pcp-*; do
  if readelf -d "$tool" | sed -nE 's/.*\((RUNPATH|RPATH)\).*\[(.*)\]/:\2:/p' | grep -q ::; then
    fail "$tool looks for libraries in the current folder"
  fi
done

run_example() { # PROGRAM WHERE
  mkdir "$temporary/$2"
  [ "$("$1" "$temporary/$2" | sed 's/^[0-9a-f]*: //')" = "Hello, replay!" ] || fail "example by $2"
  "$prefix/bin/pcp-inspect" list "$temporary/$2" | grep -q " ok " || fail "pcp-inspect list after $2"
}

echo "== by CMake"
cmake -S "$example" -B "$temporary/cmake-build" -DCMAKE_PREFIX_PATH="$prefix" \
  -DCMAKE_CXX_COMPILER="$cxx" -DCMAKE_CXX_FLAGS="${flags[*]:-}" >"$temporary/cmake.log"
cmake --build "$temporary/cmake-build" >>"$temporary/cmake.log" || {
  cat "$temporary/cmake.log"
  fail "the example does not build by CMake"
}
run_example "$temporary/cmake-build/example" cmake

echo "== by pkg-config"
pc=$(dirname "$(find "$prefix" -name rrpcp.pc)")
export PKG_CONFIG_PATH=$pc
read -ra arguments <<<"$(pkg-config --cflags --libs rrpcp) -Wl,-rpath,$(dirname "$pc")"
"$cxx" -std=c++20 "${flags[@]}" "$example/main.cc" "${arguments[@]}" -o "$temporary/example"
run_example "$temporary/example" pkg-config

echo "== the C interface alone, by pkg-config and by CMake"
read -ra arguments <<<"$(pkg-config --cflags --libs rrpcp-c)"
case "${arguments[*]}" in
*capnp*) fail "users of rrpcp.h are told to have capnp" ;;
esac
if [ -z "$sanitizers" ]; then
  cc -std=c11 -Wall -Wextra -Wpedantic -Werror "$here/../../examples/c/walk.c" "${arguments[@]}" -o "$temporary/walk"
  mkdir "$temporary/c"
  LD_LIBRARY_PATH=$(dirname "$pc") "$temporary/walk" --write "$temporary/c" |
    grep -q "^wrote and read back: Hello, replay!$" || fail "the C example"
  cmake -S "$example/../c" -B "$temporary/c-build" -DCMAKE_PREFIX_PATH="$prefix" >"$temporary/cmake.log"
  cmake --build "$temporary/c-build" >>"$temporary/cmake.log" || {
    cat "$temporary/cmake.log"
    fail "the C example does not build by CMake"
  }
  "$temporary/c-build/walk" "$temporary/c" | grep -q "^event 0" || fail "the C example by CMake"

  echo "== the Python module"
  PYTHONPATH=$prefix/lib/python3/dist-packages PYTHONDONTWRITEBYTECODE=1 /usr/bin/python3 - "$temporary/c" <<'END' || fail "the Python module"
import sys

import rrpcp

(entry,) = rrpcp.list_directory(sys.argv[1])
with rrpcp.open(entry.path) as checkpoint:
    assert checkpoint.memory(0).read(65536, 14) == b"Hello, replay!"
END
fi

echo "== what it is, for file(1)"
file -m "$prefix/share/rrpcp/rrpcp.magic" "$temporary"/cmake/*.pcp | grep -q "persistent checkpoint (rrpcp), version 1.0" ||
  fail "file(1) does not know a checkpoint"
grep -q 'application/x-rrpcp-checkpoint' "$prefix/share/mime/packages/rrpcp.xml" || fail "the MIME type"

echo "== the installed schemas compile on their own"
capnp compile -o- "$prefix/include/rrpcp/schema/manifest.capnp" >/dev/null
echo "ok"
