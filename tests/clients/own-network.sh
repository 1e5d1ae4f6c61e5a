#!/usr/bin/env bash
# Runs a command in a network of its own that leads nowhere, with one address that is not loopback: some clients use no other.
set -euo pipefail
[ $# -gt 0 ] || { echo "usage: $0 COMMAND..." >&2; exit 2; }
if [ -z "${REKINDLE_OWN_NETWORK:-}" ]; then
  export REKINDLE_OWN_NETWORK=1
  user=()
  [ "$(id -u)" = 0 ] || user=(--map-root-user)
  exec unshare "${user[@]}" --net "$0" "$@"
fi
ip link set lo up
ip link add eth0 type veth peer name eth1
ip address add 10.77.0.1/24 dev eth0
ip link set eth0 up
ip link set eth1 up
exec "$@"
