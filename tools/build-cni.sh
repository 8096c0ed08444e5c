#!/bin/bash
# Builds the executable `fabric-cni`: TypeScript, bundled, as QuickJS bytecode in a static executable that needs nothing on
# the host. Prints its path, and only that. Does nothing when what it is made of has not changed.
#
#   tools/build-cni.sh
set -euo pipefail
cd "$(dirname "$0")/.."

fail() {
  echo "build-cni: $1" >&2
  echo "  remedy: $2" >&2
  exit 1
}

# main.ts and all that it imports; the tests of the package fail when this list does not hold a module that is bundled.
sources=(errors main rpc result version attachments)
inputs=("${sources[@]/#/packages/cni/src/}")
inputs=("${inputs[@]/%/.ts}" packages/cni/native/uds.c tools/quickjs.sh tools/build-cni.sh)
hash=$( (uname -m && sha256sum "${inputs[@]}") | sha256sum | cut -c1-16)
cache="${XDG_CACHE_HOME:-$HOME/.cache}/beyondfabric"
target="$cache/fabric-cni-$hash"
if [ -x "$target/fabric-cni" ]; then
  echo "$target/fabric-cni"
  exit 0
fi

mkdir -p "$target"
exec 8>"$target/.lock"
flock 8
if [ -x "$target/fabric-cni" ]; then
  echo "$target/fabric-cni"
  exit 0
fi
esbuild=node_modules/.bin/esbuild
[ -x "$esbuild" ] || fail "$esbuild is missing" "npm ci"
quickjs=$(tools/quickjs.sh)
work=$(mktemp -d "$target/build.XXXXXX")
trap 'rm -rf "$work"' EXIT
"$esbuild" packages/cni/src/main.ts --bundle --format=esm --target=es2023 --minify-syntax --log-level=warning \
  --external:std --external:uds.so "--outfile=$work/fabric-cni.js" >&2
"$quickjs/qjsc" -e -M uds.so,uds -o "$work/program.c" "$work/fabric-cni.js" >&2
gcc -O2 -static -s -I "$quickjs" -o "$work/fabric-cni" "$work/program.c" packages/cni/native/uds.c "$quickjs/libquickjs.a" \
  -lm -lpthread >"$work/gcc.log" 2>&1 || {
  cat "$work/gcc.log" >&2
  fail "the compiler refuses the executable" "as root: apt-get install gcc libc6-dev"
}
mv "$work/fabric-cni" "$target/fabric-cni"
echo "$target/fabric-cni"
