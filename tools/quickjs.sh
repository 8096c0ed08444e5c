#!/bin/bash
# Builds QuickJS's compiler and library from Debian's source package and prints the folder that holds them:
# qjsc, libquickjs.a, quickjs.h, quickjs-libc.h. Does nothing when they are there.
#
#   tools/quickjs.sh
#
# The package is not in Debian 12, but in the release after it. It is taken from the archive that this machine's apt already
# uses, through folders of its own, so that no other apt command sees that release.
set -euo pipefail

version=2025.04.26
revision=$version-1
suite=trixie
sha256sums='ec81da5b3249ed648dbc7df4a1654988910e66a118d9b71cb63534216efcfbbe  quickjs_2025.04.26.orig.tar.xz
33e980d4737e83419ae2fb3c833a9d1813ee5edbf2e3da129a66f8bffac23862  quickjs_2025.04.26-1.debian.tar.xz
9dc1d44c9d68023ba42778f2263b25409e0037aefa32cd72a56420d2ed4fdc06  quickjs_2025.04.26-1.dsc'

fail() {
  echo "quickjs: $1" >&2
  echo "  remedy: $2" >&2
  exit 1
}

target="${XDG_CACHE_HOME:-$HOME/.cache}/beyondfabric/quickjs-$version"
mkdir -p "$target"
exec 9>"$target/.lock"
flock 9 # a second caller waits, then finds everything built
if [ -e "$target/.complete" ]; then
  echo "$target"
  exit 0
fi

for program in gcc make dpkg-source apt-get; do
  command -v "$program" >/dev/null || fail "$program is missing" "as root: apt-get install gcc make libc6-dev dpkg-dev"
done

work="$target/build"
mkdir -p "$work/apt/lists/partial" "$work/apt/cache/archives/partial"
cd "$work"

# The address of the machine's own main archive: of the release that runs here if possible. apt names components only for
# indexes that it has; a machine that never updated them still knows where they would come from.
main_archive() {
  local release found
  # shellcheck source=/dev/null
  release=$(. /etc/os-release && echo "${VERSION_CODENAME:-}")
  found=$(apt-get indextargets --format '$(RELEASE) $(COMPONENT) $(CREATED_BY) $(REPO_URI)' |
    awk -v release="$release" '
      $2 == "main" && $3 == "Packages" { if (!any) any = $4; if ($1 == release && !own) own = $4 }
      END { print own ? own : any }')
  [ -n "$found" ] || found=$(apt-get -o "Dir::State::lists=$work/apt/lists" --print-uris update |
    sed -nE "s!^'([^']*/debian/?)dists/$release/InRelease'.*!\1!p" | head -1)
  echo "$found"
}

fetch_source() {
  local archive options
  archive=$(main_archive)
  [ -n "$archive" ] || fail "no apt source with component main is configured" "add Debian's main archive to /etc/apt/sources.list.d"
  # Not checked by key, because an older machine lacks that release's: the sums above are checked instead.
  echo "deb-src [trusted=yes] $archive $suite main" >"$work/apt/sources.list"
  options=(-o "Dir::Etc::sourcelist=$work/apt/sources.list" -o Dir::Etc::sourceparts=- -o "Dir::State::lists=$work/apt/lists"
    -o "Dir::Cache=$work/apt/cache" -o APT::Sandbox::User=root -o APT::Update::Post-Invoke-Success::= -o Acquire::Languages=none)
  apt-get "${options[@]}" -qq update >&2 || fail "apt cannot read the index of $suite" "check that apt-get update works"
  apt-get "${options[@]}" -qq --download-only source "quickjs=$revision" >&2 ||
    fail "source package quickjs $revision is not in the archive" "check that the archive has the release $suite"
}

sha256sum --status --check <<<"$sha256sums" 2>/dev/null || fetch_source
sha256sum --quiet --check <<<"$sha256sums" >&2 ||
  fail "the downloaded source is not the one this script was written for" "remove $work and run this again"

rm -rf source
dpkg-source --no-check -x "quickjs_$revision.dsc" source >"$work/build.log" 2>&1 ||
  fail "the source does not unpack; see $work/build.log" "remove $work and run this again"
make -C source qjsc libquickjs.a CONFIG_LTO= >>"$work/build.log" 2>&1 || {
  tail -30 "$work/build.log" >&2
  fail "the build failed; the whole log is $work/build.log" "read its last lines above"
}
for file in qjsc libquickjs.a quickjs.h quickjs-libc.h LICENSE; do
  install -m "$([ "$file" = qjsc ] && echo 755 || echo 644)" "source/$file" "$target/$file"
done
touch "$target/.complete"
cd "$target"
rm -rf "$work"
echo "$target"
