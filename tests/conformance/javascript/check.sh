#!/bin/sh
# Passes the golden files of every version through the reader in JavaScript:  check.sh GOLDEN_DIR BINARY_DIR
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
  if ! npm ci --no-audit --no-fund; then
    # Where no registry of packages can be reached, nothing can be said; any other failure is one.
    npm ping > /dev/null 2>&1 && exit 1
    echo "skipped: the two packages of package-lock.json could not be fetched"
    exit 77
  fi
  cp "$here/package-lock.json" installed-lock.json
fi
for version in "$golden"/[0-9]*; do
  node reader.mjs check "$version"
done
