#!/bin/sh
# Makes BINARY_DIR ready to run what SOURCE_DIR has for Node:  node-packages.sh SOURCE_DIR BINARY_DIR
# Its packages are installed once, and again where package-lock.json has changed. Exits with 77 where they cannot be had.
set -eu

source=$1
binary=$2

if ! command -v npm > /dev/null; then
  echo "skipped: there is no npm"
  exit 77
fi
mkdir -p "$binary"
cp "$source"/*.mjs "$source"/package.json "$binary"/
cd "$binary"
if ! cmp -s "$source/package-lock.json" installed-lock.json; then
  rm -f installed-lock.json
  cp "$source/package-lock.json" package-lock.json
  if ! npm ci --no-audit --no-fund; then
    # Where no registry of packages can be reached, nothing can be said; any other failure is one.
    npm ping > /dev/null 2>&1 && exit 1
    echo "skipped: the packages of $source/package-lock.json could not be fetched"
    exit 77
  fi
  cp "$source/package-lock.json" installed-lock.json
fi
