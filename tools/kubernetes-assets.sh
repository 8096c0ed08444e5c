#!/bin/bash
# Builds the real Kubernetes control plane that `fabric-lab up --control-plane kubernetes` starts, from Debian's source package.
#
#   tools/kubernetes-assets.sh [api|all]
#
# api (default) builds kube-apiserver; all adds kube-controller-manager, kube-scheduler, kubelet and kube-proxy. Prints the folder
# that holds the programs. Programs that are already there are not built again. etcd is the package etcd-server, not built here.
set -euo pipefail

version='1.20.5+really1.20.2-1.1+deb12u1' # the package's own name for 1.20.2
go_bin=/usr/lib/go-1.19/bin               # newer compilers reject the vendored golang.org/x/sys of that time
sha256sums='b83c0780efb182d928dc63d46488a847f161f04e40a94b96bf5247dd671ecdfc  kubernetes_1.20.5+really1.20.2.orig.tar.gz
9b6e5fd41769d2b5badf2e73b274e3bcd90f85e13d06a1a4a845ccce018127d8  kubernetes_1.20.5+really1.20.2-1.1+deb12u1.debian.tar.xz
19fa1da5aefcef673894ac9511986bd98a14410cf8eea0b626613c30df435257  kubernetes_1.20.5+really1.20.2-1.1+deb12u1.dsc'

fail() {
  echo "kubernetes-assets: $1" >&2
  echo "  remedy: $2" >&2
  exit 1
}

case "${1:-api}" in
api) programs=(kube-apiserver) ;;
all) programs=(kube-apiserver kube-controller-manager kube-scheduler kubelet kube-proxy) ;;
*) fail "unknown argument '$1'" "use 'api' or 'all'" ;;
esac

# The number behind the version counts what this script does to the source: raise it with every such change, here and in
# packages/lab/src/control-plane/kubernetes.ts, so that no machine goes on with programs of an older recipe.
assets="${XDG_CACHE_HOME:-$HOME/.cache}/beyondfabric/kubernetes-1.20.2-2"
mkdir -p "$assets"
exec 9>"$assets/.lock"
flock 9 # a second caller waits, then finds everything built

missing=()
for program in "${programs[@]}"; do
  [ -x "$assets/$program" ] || missing+=("$program")
done
if [ ${#missing[@]} -eq 0 ]; then
  echo "$assets"
  exit 0
fi

work="$assets/build"
mkdir -p "$work"
cd "$work"

# The machine's own archive and key, with deb-src in place of deb, in folders that no other apt command sees.
# shellcheck source=/dev/null
. /etc/os-release
apt="$work/apt"
mkdir -p "$apt/lists/partial" "$apt/cache/archives/partial"
derive_sources() {
  local file
  for file in /etc/apt/sources.list.d/*.sources; do
    [ -e "$file" ] || continue
    grep -v '^#' "$file"
    echo
  done | awk -v RS= -v suite="$VERSION_CODENAME" '{
      keep = 0; count = split($0, lines, "\n")
      for (i = 1; i <= count; i++) if (lines[i] ~ /^Suites:/) {
        words = split(lines[i], word, /[ \t]+/)
        for (j = 2; j <= words; j++) if (word[j] == suite) keep = 1
      }
      if (keep) { sub(/Types:[^\n]*/, "Types: deb-src"); print $0 "\n" }
    }' >"$apt/debian.sources"
  sed -nE "s/^deb( +(\[[^]]*\] +)?[^ ]+ +$VERSION_CODENAME +)/deb-src\1/p" \
    /etc/apt/sources.list /etc/apt/sources.list.d/*.list 2>/dev/null >"$apt/debian.list" || true
  [ -s "$apt/debian.sources" ] && echo "$apt/debian.sources" && return
  [ -s "$apt/debian.list" ] && echo "$apt/debian.list" && return
  fail "no apt source of suite $VERSION_CODENAME is configured" "add Debian's main archive to /etc/apt/sources.list.d"
}

fetch_source() {
  local sources options
  sources=$(derive_sources)
  options=(-o "Dir::Etc::sourcelist=$sources" -o Dir::Etc::sourceparts=- -o "Dir::State::lists=$apt/lists" -o "Dir::Cache=$apt/cache" -o APT::Sandbox::User=root)
  apt-get "${options[@]}" -qq update >&2
  apt-get "${options[@]}" -qq --download-only source "kubernetes=$version" >&2 ||
    fail "source package kubernetes $version is not in the archive" "check that apt reaches Debian's main archive"
}

build_dependencies=()
command -v dpkg-source >/dev/null || build_dependencies+=(dpkg-dev)
command -v make >/dev/null || build_dependencies+=(make)
command -v rsync >/dev/null || build_dependencies+=(rsync)
[ -x "$go_bin/go" ] || build_dependencies+=(golang-1.19-go)
if [ ${#build_dependencies[@]} -ne 0 ]; then
  [ "$(id -u)" = 0 ] || fail "missing: ${build_dependencies[*]}" "as root: apt-get install ${build_dependencies[*]}"
  DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends "${build_dependencies[@]}" >&2 ||
    fail "these packages do not install: ${build_dependencies[*]}" "apt-get update, then run this again"
fi
sha256sum --status --check <<<"$sha256sums" 2>/dev/null || fetch_source
sha256sum --quiet --check <<<"$sha256sums" >&2 || fail "the downloaded source is not the one this script was written for" "remove $work and run this again"

tree="$work/gopath/src/k8s.io/kubernetes"
# Since Go 1.18 reflect.mapiterinit fills an iterator that its caller gives. The vendored reflect2 1.0.1 links to it and gives
# none, which kills kube-apiserver at the first custom resource. Here it gives one of the size of runtime.hiter in Go 1.19.
mend_map_iteration() {
  cd "$1"
  sed -i '
    s|^func mapiterinit(rtype unsafe.Pointer, m unsafe.Pointer) \*hiter|func mapiterinit(rtype unsafe.Pointer, m unsafe.Pointer, it *hiter)|
    s|^\t// rest fields are ignored|\tpointers [6]unsafe.Pointer\n\twords [4]uintptr|
    /^\/\/ m escapes into the return value/,/^\/\/go:noescape/d' unsafe_link.go
  sed -i '
    s|^\treturn &UnsafeMapIterator{|\tit := new(hiter)\n\tmapiterinit(type2.rtype, *(*unsafe.Pointer)(obj), it)\n&|
    s|^\t\thiter:      mapiterinit.*|\t\thiter:      it,|' unsafe_map.go
  sha256sum --quiet --check <<<'9775af21d6538003cdb8971c8042f1d86fee92260da05442c5980c0af6bfc1ab  unsafe_link.go
95e69e396164bab0859b28e7aa095e682db68bd2ad48e7466c435e813a948d11  unsafe_map.go' >&2 || fail "the vendored reflect2 in $1 is not the one that this script mends" "mend it by hand, or correct the script"
}

if [ ! -e "$tree/.extracted" ]; then
  rm -rf "$tree"
  mkdir -p "$(dirname "$tree")"
  dpkg-source -x ./*.dsc "$tree" >&2
  (mend_map_iteration "$tree/vendor/github.com/modern-go/reflect2")
  touch "$tree/.extracted"
fi

# What the environment says about Go is for other modules; this build is vendored and offline.
unset GOFLAGS GOROOT GO111MODULE
export PATH="$go_bin:$PATH" GOPATH="$work/gopath" GOCACHE="$work/gocache" GOPROXY=off GOTOOLCHAIN=local
export CGO_ENABLED=0 KUBE_GIT_VERSION=v1.20.2 KUBE_GIT_COMMIT=unknown KUBE_GIT_TREE_STATE=archive
cd "$tree"
targets=()
for program in "${missing[@]}"; do targets+=("cmd/$program"); done
make WHAT="${targets[*]}" >"$work/build.log" 2>&1 || {
  tail -30 "$work/build.log" >&2
  rm -rf _output .make # an interrupted run leaves empty programs that make takes for finished ones
  fail "the build failed; the whole log is $work/build.log" "read its last lines above"
}
for program in "${missing[@]}"; do
  install -m 755 "_output/local/go/bin/$program" "$assets/.$program"
  mv "$assets/.$program" "$assets/$program"
done
# The compiler's cache and the archives stay for a later `all`; the tree is made from them again.
cd "$work"
rm -rf "$work/gopath"
echo "$assets"
