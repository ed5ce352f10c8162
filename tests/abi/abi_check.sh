#!/bin/bash
# abi_check.sh LIBRARY BASELINE [--write]: compares the C interface of LIBRARY with what was released
# (BASELINE/librrpcp.so.N.abi.xz, made by abidw): additions are allowed, anything else fails. With
# --write the baseline becomes what LIBRARY has (spec/abi.md says when).
set -euo pipefail
library=$1
baseline=$2
soname=$(readelf -d "$library" | sed -n 's/.*SONAME.*\[\(.*\)\]/\1/p')
file=$baseline/$soname.abi.xz
temporary=$(mktemp -d)
trap 'rm -rf "$temporary"' EXIT

# Of the C interface alone: the C++ surface has its own version node and changes with it, and what is
# behind handles is nobody's business.
cat >"$temporary/only-c.abignore" <<'END'
[suppress_function]
  symbol_name_not_regexp = ^rrpcp_
  drop = yes
[suppress_variable]
  name_regexp = .*
  drop = yes
[suppress_type]
  name_regexp = ^rrpcp_(checkpoint|draft|error|listing|memory|node|report|runs|writer)$
END
dump() {
  abidw --suppressions "$temporary/only-c.abignore" --no-corpus-path --no-show-locs \
    --no-comp-dir-path --drop-undefined-syms --no-elf-needed --out-file "$1" "$library"
  sed -i "/<elf-symbol name='/{/<elf-symbol name='rrpcp_/!d}" "$1"
}

if [ "${3:-}" = --write ]; then
  mkdir -p "$baseline"
  dump "$temporary/now.abi"
  xz -9e -c "$temporary/now.abi" >"$file"
  echo "wrote $file"
  exit 0
fi
if [ ! -f "$file" ]; then
  echo "there is no baseline for $soname: a new SONAME needs one (spec/abi.md)"
  exit 1
fi
xz -dc "$file" >"$temporary/released.abi"
dump "$temporary/now.abi"
functions=$(grep -c "<function-decl name='rrpcp_" "$temporary/now.abi")
# The check is no use where the dump has no functions or no structs.
if [ "$functions" -lt 70 ] || ! grep -q "name='chunk_count'" "$temporary/now.abi"; then
  echo "only $functions functions in the dump: the interface was built without debug information"
  exit 1
fi
status=0
abidiff --suppressions "$temporary/only-c.abignore" --no-added-syms \
  "$temporary/released.abi" "$temporary/now.abi" || status=$?
if [ "$status" -ne 0 ]; then
  echo "the C interface is not what was released (abidiff: $status)"
  exit 1
fi
echo "$functions functions as released"
