#!/bin/bash
# Old programs and new files: builds the commands of every release that compat/releases.json names,
# from its commit, and has each meet the golden files of every version and files of versions to come
# (tests/conformance/cross_version.py says what must hold). Today's commands come from
# build/release, which tests/run.sh makes. Releases are kept in build/releases.
set -euo pipefail
cd "$(dirname "$0")/.."

jobs=$(nproc)
today=build/release
[ -x "$today/bin/pcp-inspect" ] || {
  echo "cross-version.sh: build first: cmake --preset release && cmake --build --preset release" >&2
  exit 2
}
cmake --build --preset release -j "$jobs" \
  --target pcp-inspect pcp-validate pcp-upgrade make_newer_files schema_layout > /dev/null

readers=()
while read -r software format commit; do
  folder=build/releases/$software
  if [ ! -x "$folder/build/bin/pcp-upgrade" ]; then
    git cat-file -e "$commit^{commit}" 2> /dev/null || {
      echo "cross-version.sh: commit $commit of release $software is not in this clone" >&2
      exit 2
    }
    echo "== building the readers of $software"
    rm -rf "$folder"
    mkdir -p "$folder/source"
    git archive "$commit" | tar -x -C "$folder/source"
    cmake -S "$folder/source" -B "$folder/build" -G Ninja -DCMAKE_BUILD_TYPE=RelWithDebInfo \
      -DCMAKE_CXX_FLAGS_RELWITHDEBINFO="-O2 -g0 -DNDEBUG" \
      -DRRPCP_LIVE=OFF -DRRPCP_BUILD_TESTS=OFF -DRRPCP_BUILD_BENCH=OFF > /dev/null
    cmake --build "$folder/build" -j "$jobs" --target pcp-inspect pcp-validate pcp-upgrade
  fi
  readers+=("$software=$format=$folder/build/bin")
done < <(/usr/bin/python3 - compat/releases.json << 'LIST'
import json, sys
for release in json.load(open(sys.argv[1], encoding="utf-8"))["releases"]:
    print(release["software"], release["format"], release["commit"])
LIST
)
format=$(sed -n 's/^inline constexpr std::uint16_t kMajorVersion = \([0-9]*\);.*/\1/p' \
  reference/include/rrpcp/format.h).$(sed -n 's/^inline constexpr std::uint16_t kMinorVersion = \([0-9]*\);.*/\1/p' \
  reference/include/rrpcp/format.h)

newer=$(mktemp -d)
trap 'rm -rf "$newer"' EXIT
newest=$(ls -d tests/golden/[0-9]*/valid | sort -V | tail -n 1)
"$(find "$today" -name make_newer_files -type f)" "$newest" "$newer"
/usr/bin/python3 tests/conformance/cross_version.py "$today"/tests/conformance/layout.capnp tests/golden "$newer" \
  ${readers[@]+"${readers[@]}"} "today=$format=$today/bin"
