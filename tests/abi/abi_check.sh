#!/bin/bash
# abi_check.sh LIBRARY BASELINE [--write]: compares the C interface of LIBRARY with what was released
# (BASELINE/librrpcp.so.N.abi, made by abidw): additions are told, anything else fails. With --write
# the baseline becomes what LIBRARY has (spec/abi.md says when).
set -euo pipefail
library=$1
baseline=$2
soname=$(readelf -d "$library" | sed -n 's/.*SONAME.*\[\(.*\)\]/\1/p')
file=$baseline/$soname.abi
temporary=$(mktemp -d)
trap 'rm -rf "$temporary"' EXIT

# Of the C interface alone: the C++ surface has its own version node and changes with it.
cat >"$temporary/only-c.abignore" <<'END'
[suppress_function]
  symbol_name_not_regexp = ^rrpcp_
  drop = yes
[suppress_variable]
  name_regexp = .*
  drop = yes
END
dump() {
  abidw --suppressions "$temporary/only-c.abignore" --no-corpus-path --no-show-locs \
    --no-comp-dir-path --drop-undefined-syms --drop-private-types --no-elf-needed \
    --headers-dir "$(dirname "$0")/../../reference/include" --out-file "$1" "$library"
}

if [ "${3:-}" = --write ]; then
  mkdir -p "$baseline"
  dump "$file"
  echo "wrote $file"
  exit 0
fi
if [ ! -f "$file" ]; then
  echo "there is no baseline for $soname: a new SONAME needs one (spec/abi.md)"
  exit 1
fi
dump "$temporary/now.abi"
functions=$(grep -c "<function-decl name='rrpcp_" "$temporary/now.abi")
# The check is no use where the dump has no functions.
if [ "$functions" -lt 70 ]; then
  echo "only $functions functions in the dump: the interface was built without debug information"
  exit 1
fi
status=0
abidiff --no-added-syms "$file" "$temporary/now.abi" || status=$?
if [ "$status" -ne 0 ]; then
  echo "the C interface is not what was released (abidiff: $status)"
  exit 1
fi
echo "$functions functions as released"
