#!/bin/sh
# Passes all golden files through the reader in JavaScript:  check.sh GOLDEN_DIR BINARY_DIR
# Its packages are installed once, into BINARY_DIR, and again where package-lock.json has changed.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
golden=$1
binary=$2

mkdir -p "$binary"
cp "$here"/*.mjs "$here"/package.json "$binary"/
cd "$binary"
if ! cmp -s "$here/package-lock.json" installed-lock.json; then
  rm -f installed-lock.json
  cp "$here/package-lock.json" package-lock.json
  npm ci --no-audit --no-fund
  cp "$here/package-lock.json" installed-lock.json
fi
exec node reader.mjs check "$golden"
