#!/bin/sh
# The walls between the crates: what each of them may be built on, as cargo says it.
#
#   tests/walls.sh        says nothing and exits with 0 where they stand
set -eu
cd "$(dirname "$0")/.."

# wall CRATE FORBIDDEN...: none of these is among the crates that this one is built on.
wall() {
  crate=$1
  shift
  built_on=$(cargo tree --locked --package "$crate" --edges normal --prefix none --format '{p}' | cut -d' ' -f1 | sort -u)
  for forbidden in "$@"; do
    if printf '%s\n' "$built_on" | grep -qx "$forbidden"; then
      echo "error: $crate is built on $forbidden; 'cargo tree --package $crate --invert $forbidden' says by which way" >&2
      exit 1
    fi
  done
}

io="tokio mio axum hyper quinn-udp rustix"
# shellcheck disable=SC2086 # several words
wall rekindle-ids $io rekindle rekindle-sdp rekindle-client age dimpl
# shellcheck disable=SC2086
wall rekindle-sdp $io rekindle rekindle-client age dimpl bincode
# shellcheck disable=SC2086
wall rekindle-secrets $io rekindle rekindle-ids age dimpl
# What is persisted knows no peer, no session description and no socket; it has files, which are rustix's.
# shellcheck disable=SC2086
wall rekindle-vault ${io% rustix} rekindle rekindle-core rekindle-sdp rekindle-full-state dimpl
# The core has no files, sockets, threads or clock, and nothing that could persist what it knows.
# shellcheck disable=SC2086
wall rekindle-core $io rekindle rekindle-vault rekindle-full-state rekindle-client age bincode
# With BoringSSL in it, which its other features leave out.
# shellcheck disable=SC2086
wall rekindle-boring $io rekindle rekindle-sdp rekindle-ids rekindle-client age dimpl
# The clients of benchmark and tests, which are to find the server's faults, have none of its code but the names of peers and codecs; with the
# feature `boring`, its binding to BoringSSL. Nodes that share a vault in etcd take channels from each other by them.
# shellcheck disable=SC2086
wall rekindle-client $io rekindle age rekindle-core
# What is shipped has none of what measures or tests it, no full-state mode, and a client of etcd, with one of other nodes, in builds with the
# feature `etcd` only.
wall rekindle etcd-client tonic rekindle-full-state rekindle-bench rekindle-client rekindle-testing indicatif
