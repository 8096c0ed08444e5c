#!/usr/bin/env bash
# Installs what a fresh Debian 12 lacks: packages, Node modules, the CNI executable. Says what it does, does only what is
# missing, and is quick when nothing is. Usage: tools/setup.sh [kubernetes|ovn]   (`kubernetes` also builds the real control
# plane that `make verify` uses; `ovn` also installs the peer of the bench's `policies`).
set -euo pipefail
cd "$(dirname "$0")/.."

say() { printf 'setup: %s\n' "$*"; }
fail() { printf 'setup: %s\n' "$*" >&2; exit 1; }

cache="${XDG_CACHE_HOME:-$HOME/.cache}/beyondfabric"
mkdir -p "$cache"
exec 9>"$cache/setup.lock"
flock 9

[ "$(id -u)" = 0 ] || fail "root is needed: the lab makes network namespaces and runs Open vSwitch"
command -v npm >/dev/null || fail "npm is missing: install Node with its npm (Debian: apt-get install npm), then run this again"
command -v apt-get >/dev/null || fail "this is not Debian: install the packages named in tools/setup.sh by hand, then run it again"

packages=(
  openvswitch-switch openvswitch-testcontroller containernetworking-plugins   # the switch, and the peers of the bench
  iproute2 nftables ethtool iputils-ping iperf3 tcpdump socat procps util-linux # the lab's hosts and their tools
  etcd-server openssl ca-certificates                                           # control planes
  gcc make libc6-dev dpkg-dev libatomic1 git                                    # the CNI executable; Node's own needs
)
command -v kubectl >/dev/null || packages+=(kubernetes-client)
[ "${1:-}" != ovn ] || packages+=(ovn-central ovn-host)
missing=()
for package in "${packages[@]}"; do
  dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || missing+=("$package")
done
if [ "${#missing[@]}" -gt 0 ]; then
  say "installing ${missing[*]}"
  # Nothing that is installed here may start a service: every process of the lab is the lab's own.
  policy=/usr/sbin/policy-rc.d
  made_policy=
  if [ ! -e "$policy" ]; then
    printf '#!/bin/sh\nexit 101\n' >"$policy"
    chmod 755 "$policy"
    made_policy=1
  fi
  trap '[ -z "$made_policy" ] || rm -f "$policy"' EXIT
  log="$cache/apt.log"
  if ! { apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "${missing[@]}"; } >"$log" 2>&1; then
    tail -n 30 "$log" >&2
    fail "apt-get failed; the whole log is $log"
  fi
  [ -z "$made_policy" ] || rm -f "$policy"
  trap - EXIT
fi

if [ ! -e node_modules/.package-lock.json ] || [ package-lock.json -nt node_modules/.package-lock.json ]; then
  say "installing Node modules (pinned, checked by hash)"
  npm ci --ignore-scripts --no-audit --no-fund --loglevel=error >"$cache/npm.log" 2>&1 || {
    tail -n 30 "$cache/npm.log" >&2
    fail "npm ci failed; the whole log is $cache/npm.log"
  }
  touch node_modules/.package-lock.json
fi
export PATH="$PWD/node_modules/.bin:$PATH"

executable=$(tools/build-cni.sh)
[ -x "$executable" ] || fail "tools/build-cni.sh gave no executable"

if [ "${1:-}" = kubernetes ]; then
  tools/kubernetes-assets.sh
fi
