# What the programs in bin/ share; they source it. Sets: checkout, node, and where Node keeps what it compiled (by the hash of
# each file), which halves the time that a program takes to start.
# shellcheck shell=sh disable=SC2034 # used by those who source it
checkout=$(CDPATH= cd -- "$(dirname -- "$(readlink -f -- "$0")")/.." && pwd) || exit 1
node="$checkout/node_modules/.bin/node"
: "${NODE_COMPILE_CACHE:=${XDG_CACHE_HOME:-${HOME:-/root}/.cache}/beyondfabric/compiled}"
export NODE_COMPILE_CACHE
