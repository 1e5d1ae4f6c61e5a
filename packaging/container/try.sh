#!/usr/bin/env bash
# Builds the image by buildah and runs what is in it as an engine would, over a kill -9 of its server and one of the whole container. Needs root.
#
#   packaging/container/try.sh             needs buildah, mmdebstrap, Rust, curl, and the network for what Debian and cargo have
#
# No registry is asked: the image to build on is made of Debian's packages, with the Rust that is here. No engine is run either, since those need control
# groups of their own: namespaces, a read-only root, the user and the volumes are made by util-linux.
set -euo pipefail
cd "$(dirname "$0")/../.."
readme=packaging/container/README.md
made=$PWD/target/container
offer=crates/sdp/src/testdata/chromium-156-publish.sdp
fail() { echo "error: $*" >&2; exit 1; }
image() { buildah --root "$made/storage" --runroot "$made/run" --storage-driver vfs "$@"; }

build() {
  mkdir -p "$made/target"
  if ! image images --quiet rekindle-build >/dev/null 2>&1; then
    rm -rf "$made/base"
    nice mmdebstrap --quiet --variant=minbase --include=gcc,libc6-dev,ca-certificates bookworm "$made/base.tar"
    local base
    base=$(image from scratch)
    image add --quiet "$base" "$made/base.tar" / >/dev/null
    image config --env PATH=/usr/local/rust/bin:/usr/sbin:/usr/bin:/sbin:/bin --env CARGO_HOME=/usr/local/cargo "$base"
    image commit --quiet --rm "$base" rekindle-build >/dev/null
    rm "$made/base.tar"
  fi
  # The recipe, with another image to build on; what cargo has built stays for the next time.
  nice buildah --root "$made/storage" --runroot "$made/run" --storage-driver vfs \
    bud -f packaging/container/Containerfile -t rekindle --isolation chroot --quiet --build-arg BUILD=localhost/rekindle-build \
    --volume "$(rustc --print sysroot):/usr/local/rust:ro" --volume "${CARGO_HOME:-$HOME/.cargo}:/usr/local/cargo" --volume "$made/target:/source/target" . >/dev/null
  container=$(image from rekindle)
  # What an engine makes in a root that lacks it.
  root=$(image mount "$container")
  mkdir -p "$root/proc" "$root/dev"
}

# begin LOG [VARIABLE=VALUE...] -- ARGUMENT...: starts a container with the image's own variables and these, as `podman run --read-only --cap-drop all
# --ulimit memlock=-1` with both volumes makes it. Its first process becomes $first, and what keeps its namespaces $keeper.
begin() {
  local log=$1 environment=()
  shift
  mapfile -t environment < <(image inspect --type image --format '{{range .OCIv1.Config.Env}}{{println .}}{{end}}' rekindle | grep .)
  while [ "$1" != -- ]; do environment+=("$1"); shift; done
  shift
  (
    # Where root may not raise it either, the server says so in its log, and goes on.
    ulimit -l unlimited 2>/dev/null || true
    export ROOT=$root VOLUMES=$made/volumes OWNER=$owner
    exec unshare --mount --pid --ipc --uts --fork --kill-child bash -euo pipefail -c '
      mount --bind "$ROOT" "$ROOT"
      mount --bind "$VOLUMES/key" "$ROOT/etc/rekindle"
      mount --bind "$VOLUMES/state" "$ROOT/var/lib/rekindle"
      mount -t proc proc "$ROOT/proc"
      mount -o remount,bind,ro "$ROOT"
      rights="-all,+sys_chroot,+setuid,+setgid"
      words=()
      while [ "$1" != -- ]; do words+=("$1"); shift; done
      shift
      exec env -i "${words[@]}" setpriv --bounding-set "$rights" --inh-caps -all --no-new-privs chroot --userspec "$OWNER" "$ROOT" "$@"' bash "${environment[@]}" -- "$@"
  ) >"$log" 2>&1 &
  keeper=$!
  started+=("$keeper")
}

# child PROCESS: the first one that it has started.
child() { tr ' ' '\n' <"/proc/$1/task/$1/children" | head -1; }
first() { child "$keeper"; }
health() { curl --silent --fail --max-time 2 http://127.0.0.1:8080/healthz; }
# is WHAT COMMAND...: waits until the command is a success.
is() {
  local what=$1
  shift
  for _ in $(seq 200); do "$@" && return 0; sleep 0.05; done
  cat "$made/log" >&2
  fail "never: $what"
}
process() { health | grep -o '"process":"[0-9a-f]*"'; }
another() { local now; now=$(process) && [ "$now" != "$before" ]; }
awaited() { health | grep -q '"awaited":1'; }
gone() { ! kill -0 "$keeper" 2>/dev/null; }

try() {
  owner=$(image inspect --type image --format '{{.OCIv1.Config.User}}' rekindle)
  mapfile -t entry < <(image inspect --type image --format '{{range .OCIv1.Config.Entrypoint}}{{println .}}{{end}}' rekindle | grep .)
  mapfile -t arguments < <(image inspect --type image --format '{{range .OCIv1.Config.Cmd}}{{println .}}{{end}}' rekindle | grep .)
  # What the book's commands say to an engine.
  mapfile -t given < <(grep -o 'REKINDLE_[A-Z]*[A-Z_]*=[^ ]*' "$readme" | grep -v ICE_TCP)
  read -r -a keygen <<<"$(sed -n 's/^\$ podman run --rm .* rekindle \(keygen .*\)$/\1/p' "$readme")"
  [ "${#given[@]}" = 2 ] && [ "${#keygen[@]}" = 3 ] || fail "$readme says something else"
  token=${given[0]#*=}

  # New volumes are copies of what the image has there.
  rm -rf "$made/volumes"
  mkdir -p "$made/volumes"
  cp -a "$root/etc/rekindle" "$made/volumes/key"
  cp -a "$root/var/lib/rekindle" "$made/volumes/state"

  begin "$made/log" -- "${entry[@]}" "${keygen[@]}"
  wait "$keeper" || fail "no key file: $(cat "$made/log")"
  begin "$made/log" "${given[@]}" -- "${entry[@]}" "${arguments[@]}"
  is "it serves" health >/dev/null
  answer=$(curl --silent --fail --header 'content-type: application/sdp' --header "authorization: Bearer $token" --data-binary "@$offer" http://127.0.0.1:8080/whip/main)
  grep -q "${given[1]#*=} 8189 typ host" <<<"$answer" || fail "it answers: $answer"
  grep -q '^CapEff:.*0000000000000000$' "/proc/$(first)/status" || fail "it has capabilities"

  before=$(process)
  kill -KILL "$(child "$(first)")"
  is "another server serves" another
  is "the publisher is awaited" awaited
  echo "the server was killed, and another one serves"

  before=$(process)
  kill -KILL "$(first)"
  is "the container has ended" gone
  health >/dev/null && fail "something serves still"
  begin "$made/log" "${given[@]}" -- "${entry[@]}" "${arguments[@]}"
  is "a new container serves" another
  is "the publisher is awaited" awaited
  echo "the container was killed, and another one on the same volumes serves"

  kill -TERM "$(first)"
  is "it ends when it is asked" gone
}

if [ -z "${REKINDLE_OWN_NETWORK:-}" ]; then
  build
  echo "$container" >"$made/container"
  # The ports are those of the image.
  tests/clients/own-network.sh "$0"
  image rm "$container" >/dev/null
else
  started=()
  # A process that becomes another user does not die with its parent.
  trap 'for one in "${started[@]}"; do kill -KILL "$(child "$one" 2>/dev/null)" "$one" 2>/dev/null || true; done' EXIT
  root=$(image mount "$(cat "$made/container")")
  try
fi
