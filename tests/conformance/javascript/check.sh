#!/bin/sh
# Passes the golden files of every version through the reader in JavaScript:  check.sh GOLDEN_DIR BINARY_DIR
set -eu

here=$(cd "$(dirname "$0")" && pwd)
golden=$1
binary=$2

"$here"/../node-packages.sh "$here" "$binary"
cd "$binary"
for version in "$golden"/[0-9]*; do
  node reader.mjs check "$version"
done
