#!/usr/bin/env bash
# Runs every test. Installs what a fresh Debian machine lacks; says plainly what it skips (in CI it skips nothing).
set -euo pipefail
cd "$(dirname "$0")"

CI=${CI:-}
# What is built once needs no help for the next time, and nobody looks at it with a debugger.
[ -z "$CI" ] || export CARGO_INCREMENTAL=0 CARGO_PROFILE_DEV_DEBUG=false
tools=$PWD/target/tools
export PATH=$tools/bin:$HOME/.cargo/bin:$PATH
skipped=()

say() { printf '\n== %s (after %s s)\n' "$*" "$SECONDS"; }

# skip WHAT WHY: in CI a skip is a failure.
skip() {
  if [ -n "$CI" ]; then
    echo "error: $1 cannot run: $2" >&2
    exit 1
  fi
  skipped+=("$1: $2")
}

# apt PROGRAM PACKAGE...: installs Debian packages unless the program is there.
apt() {
  local program=$1
  shift
  command -v "$program" >/dev/null && return 0
  command -v apt-get >/dev/null || return 1
  local sudo=()
  if [ "$(id -u)" != 0 ]; then
    command -v sudo >/dev/null || return 1
    sudo=(sudo)
  fi
  say "installing $*"
  [ -n "${apt_updated:-}" ] || "${sudo[@]}" apt-get update -qq
  apt_updated=1
  DEBIAN_FRONTEND=noninteractive "${sudo[@]}" apt-get install -y -qq --no-install-recommends "$@" >/dev/null
}

# unpacked PROGRAM PACKAGE: the program of a Debian package that would start a service if it were installed, with the libraries that are not there.
unpacked() {
  command -v "$1" >/dev/null && return 0
  command -v apt-get >/dev/null || return 1
  say "unpacking $2"
  mkdir -p "$tools/bin"
  (
    cd "$tools"
    packages=("$2")
    for library in $(apt-cache depends --recurse --no-{recommends,suggests,conflicts,breaks,replaces,enhances} "$2" | grep '^lib'); do
      dpkg -s "$library" >/dev/null 2>&1 || packages+=("$library")
    done
    apt-get download -qq "${packages[@]}"
    for package in "${packages[@]}"; do dpkg -x "$package"_*.deb .; done
    [ -x "usr/bin/$1" ] && program=usr/bin/$1 || program=usr/sbin/$1
    libraries=$(printf '%s:' "$PWD"/usr/lib/*-linux-gnu*)
    printf '#!/bin/sh\nLD_LIBRARY_PATH="%s" exec "%s" "$@"\n' "${libraries%:}" "$PWD/$program" >"bin/$1"
    chmod +x "bin/$1"
  )
}

# cargo_tool PROGRAM CRATE: builds a cargo tool into target/tools unless it is there; unoptimised, which takes half the time.
cargo_tool() {
  command -v "$1" >/dev/null && return 0
  say "building $2"
  CARGO_PROFILE_DEV_DEBUG=false nice cargo install --quiet --locked --debug --root "$tools" --target-dir target/tools-build "$2"
}

# The tests that need a feature or a hook, and the targets that have them.
others='binary(canary) + binary(~recorder) + binary(~full_state) + test(full_state)'
with_others=(--package rekindle --package rekindle-core --package rekindle-vault --features full-state --lib --test canary --test '*recorder*' --test '*full_state*' --test vault_example)

say "format"
cargo fmt --all -- --check

node=
say "JavaScript: types, and what needs no browser"
if apt node nodejs npm; then
  node=1
  (cd tests/browser && npm ci --silent --no-audit --no-fund && npm run --silent check && npm run --silent pure && npm run --silent package)
else
  skip "the tests of JavaScript" "they need node, and this system has no apt-get (or no right to use it)"
fi

say "walls between the crates"
tests/walls.sh

# BoringSSL is built by cmake, and its declarations are read by libclang; the client of etcd is made by protoc.
features=(--all-features)
all=1
apt cmake cmake g++ && apt clang clang libclang-dev && apt protoc protobuf-compiler libprotobuf-dev && unpacked etcd etcd-server && unpacked etcdctl etcd-client || all=
if [ -z "$all" ]; then
  features=(--features full-state)
  skip "what has BoringSSL or etcd in it" "it needs cmake, libclang, protoc and etcd, and this system has no apt-get (or no right to use it)"
fi

say "lints"
cargo clippy --workspace --all-targets --quiet "${features[@]}" -- -D warnings
# The hooks of two tests, which no feature switches on.
cargo clippy --workspace --quiet "${features[@]}" --lib --test canary --test full_state_kills -- -D warnings --cfg rekindle_canary --cfg rekindle_kill_points
# What is left out of the default build leaves nothing unused behind.
cargo clippy --workspace --quiet -- -D warnings

say "unit and protocol tests, and tests of the whole program"
python=$PWD/target/venv/bin/python
if [ ! -x "$python" ]; then
  # The second decoder of the persisted format, which must agree with the auditor, is in Python.
  python3 -c 'import ensurepip' 2>/dev/null || apt no-python-venv python3 python3-venv || true
  python3 -m venv target/venv
  "$python" -m pip install --quiet --require-hashes -r tests/persisted_format/requirements.txt
  # And PyJWT, by which tokens are made and checked that the server did not make.
  "$python" -m pip install --quiet --require-hashes -r tests/rights/requirements.txt
fi
export REKINDLE_PYTHON=$python
apt age age || skip "the vault against the stock age program" "age is not installed"
apt curl curl || skip "recipes that ask by curl" "curl is not installed"
apt promtool prometheus || skip "the alerts against Prometheus' own tool" "prometheus is not installed"
apt pebble pebble && apt ip iproute2 || skip "certificates from an ACME authority" "pebble or iproute2 is not installed"
apt mandoc mandoc groff-base && apt zsh zsh && apt fish fish || skip "the manual pages and completions by the programs that read them" "mandoc, groff, zsh or fish is not installed"
apt systemd-socket-activate systemd || skip "sockets that systemd passes" "systemd is not installed"
cargo_tool cargo-nextest cargo-nextest
# The recorder and the thief come with the next build, which has their attack on both modes.
cargo nextest run --workspace ${CI:+--profile ci} -E 'not binary(recorder_and_thief)'
# The worlds that had threads for handshakes have none, and the others have them.
protocol='binary(~protocol)'
[ -z "$CI" ] || protocol='binary(protocol_restart) + binary(protocol_admission)'
REKINDLE_TEST_WORKERS=other cargo nextest run --workspace ${CI:+--profile ci} -E "$protocol"
cargo test --workspace --doc --quiet

say "what only other builds have: the canary, full-state mode"
# One build with all of it. The canary tells session secrets to its test, and a server that is to die at a step of its writing tells what it
# protects; the default build, which was tested above, has none of this. A wrapper brings these hooks into this package alone, so that
# dependencies are not built again.
export RUSTC_WORKSPACE_WRAPPER=$PWD/tests/with_hooks.sh
# Without them two test programs are empty, and would pass.
cargo nextest list "${with_others[@]}" --message-format oneline >target/others.txt
for test in tests/canary.rs tests/full_state_kills.rs; do
  program=$(basename "$test" .rs)
  there=$(grep -c "^rekindle::$program " target/others.txt || true)
  if [ "$there" = 0 ] || [ "$there" != "$(grep -c '^#\[test\]' "$test")" ]; then
    echo "error: $program has $there tests, not those of $test" >&2
    exit 1
  fi
done
# The longest of these wait for disks and media more than for a processor.
cargo nextest run "${with_others[@]}" --test-threads "$(($(nproc) + 1))" ${CI:+--profile ci} -E "$others"
unset RUSTC_WORKSPACE_WRAPPER

if [ -n "$all" ]; then
  say "the same handshakes by BoringSSL, and the vault in etcd"
  # What is not about handshakes is the same in both builds.
  # The same packages and features as for the lints: else BoringSSL would be built once more.
  RUSTC_WORKSPACE_WRAPPER=$PWD/tests/with_hooks.sh cargo nextest run --workspace --all-features --lib --test 'protocol_*' --test canary \
    --test cluster --test drain --test etcd_command --test etcd_recipes --test failovers --test recorder_and_thief --test nodes --test outages --test presence --test reviewing --test vault ${CI:+--profile ci} \
    -E "package(rekindle-boring) + package(rekindle-core) + test(/^hardening::/) + $protocol + binary(canary) + package(rekindle-etcd) + binary(cluster) + binary(drain) + binary(etcd_command) + binary(etcd_recipes) + binary(failovers) + test(a_recording_over_a_move)"
fi

browsers=
if [ -n "$node" ] && apt chromium chromium && apt firefox-esr firefox-esr; then
  browsers=1
  say "the program as it is released"
  cargo build --release --quiet
  rm -f tests/browser/results.json
else
  skip "the browser tests" "they need node, chromium and firefox-esr, and this system has no apt-get (or no right to use it)"
fi

# browser_test FILE: two browsers with cameras on a machine that others use too. A file that fails is run once more, and that is said.
browser_test() (
  cd tests/browser
  node --test --test-concurrency=1 "$1" || {
    echo "RUN AGAIN: $1 failed once"
    node --test --test-concurrency=1 "$1"
  }
)

# A minute without a server is a minute in which nothing is measured: what else takes time and no browser is done beside it.
if [ -n "$browsers" ]; then
  browser_test away.test.js >target/away.log 2>&1 &
  away=$!
  # It ends its server and its browsers itself, also where something here fails.
  trap wait EXIT
fi

say "dependencies: bans, licences, sources"
cargo_tool cargo-deny cargo-deny
cargo deny --log-level error check bans licenses sources
if cargo deny --log-level error fetch db 2>/dev/null; then
  cargo deny --log-level error check advisories
else
  # Not a test of this tree: the list of advisories changes on its own. Said even in CI.
  echo "skipped: advisories, since the RustSec database cannot be fetched from here"
fi

deb=
say "what the Debian package is made with and tried on"
if [ "$(id -u)" = 0 ] && [ -n "$browsers" ] && apt mmdebstrap mmdebstrap && apt systemd-nspawn systemd-container && apt dpkg-shlibdeps dpkg-dev; then
  cargo_tool cargo-deb cargo-deb
  packaging/deb/root.sh
  deb=1
else
  skip "the Debian package" "it needs root, apt-get, and the browsers"
fi

[ -z "$CI" ] || : "${FUZZ_SECONDS:=5}"
say "fuzz targets, guided by coverage, each for ${FUZZ_SECONDS:=10} seconds"
if apt g++ g++; then nice fuzz/quick.sh "$FUZZ_SECONDS"; else skip "the fuzz targets" "they need a C++ compiler, and this system has no apt-get (or no right to use it)"; fi

if [ -n "$browsers" ]; then
  say "browser tests"
  went=0
  wait "$away" || went=$?
  cat target/away.log
  [ "$went" = 0 ] || exit "$went"
  # Short forms: fewer down times, tabs, kills and rounds, and the page in one browser.
  [ -z "$CI" ] || export REKINDLE_SWEEP=400:200 REKINDLE_TABS=6 REKINDLE_KILLS=6 REKINDLE_ROUNDS=3 REKINDLE_MOVES=2 REKINDLE_UNSEEN_KILLS=1 REKINDLE_LOSS_SECONDS=10 REKINDLE_DISK_SECONDS=10 REKINDLE_PAGE=chromium
  [ -z "$CI" ] || export REKINDLE_TURN=chromium:tcp,firefox:udp REKINDLE_TURN_KILLS=1
  turn=turn
  unpacked turnserver coturn || { turn= && skip "browsers behind a TURN server" "they need coturn, and this system has no apt-get (or no right to use it)"; }
  proxies=proxies
  unpacked nginx nginx && unpacked caddy caddy && unpacked haproxy haproxy && apt openssl openssl || { proxies= && skip "the recipes for proxies" "they need nginx, caddy, haproxy and openssl, and this system has no apt-get (or no right to use it)"; }
  # What needs no quiet machine is done beside what has a network of its own.
  (
    export REKINDLE_RESULTS=$PWD/target/beside.json
    rm -f "$REKINDLE_RESULTS"
    for file in page desk stats demo player book codecs many plain proxy $proxies $turn; do browser_test "$file.test.js"; done
  ) >target/beside.log 2>&1 &
  beside=$!
  if apt ip iproute2; then
    say "clients that others wrote, from PyPI and npm"
    tests/clients/install.sh
    tests/clients/own-network.sh node --test --test-concurrency=1 tests/clients/quick.test.js tests/clients/told.test.js
    browser_test spoofing.test.js
    if apt nft nftables; then REKINDLE_PUBLISHERS=${CI:+chromium} REKINDLE_KILLS=${CI:+2} browser_test tcp.test.js; else skip "media over TCP without UDP, and networks with routers" "nftables is not installed"; fi
    if [ -n "$deb" ]; then
      say "the Debian package"
      tests/clients/own-network.sh node --test tests/browser/debian.test.js
      tests/clients/own-network.sh node --test tests/browser/systemd.test.js
      [ -n "$CI" ] || { apt lintian lintian && packaging/deb/build.sh && lintian --allow-root --fail-on error target/debian/rekindle_*.deb; }
      # A build of its own, of some minutes.
      [ -n "$CI" ] || { say "the container" && apt buildah buildah && packaging/container/try.sh; }
    fi
    if command -v nft >/dev/null; then for file in networks nat roaming; do browser_test "$file.test.js"; done; fi
  else
    skip "the spoofing test, networks and clients that others wrote" "they need iproute2, and this system has no apt-get (or no right to use it)"
  fi
  if [ -n "$all" ]; then
    say "clients whose certificates have RSA keys"
    # The short form leaves GStreamer's packages out, and what needs them.
    only=.
    if [ -n "$CI" ]; then only='library|FFmpeg|post-quantum'; else tests/clients/install.sh --gstreamer; fi
    REKINDLE_BIN=$PWD/target/debug/rekindle tests/clients/own-network.sh node --test --test-concurrency=1 --test-name-pattern="$only" tests/clients/boring.test.js
  fi
  went=0
  wait "$beside" || went=$?
  cat target/beside.log
  [ "$went" = 0 ] || exit "$went"
  if [ -n "$all" ]; then
    say "BoringSSL and several hosts with browsers"
    # That which the tests above have used.
    export REKINDLE_BIN=$PWD/target/debug/rekindle
    browser_test post-quantum.test.js
    REKINDLE_PUBLISHERS=${CI:+chromium} browser_test cluster.test.js
    # Who has no iproute2 has heard so above.
    if command -v ip >/dev/null; then REKINDLE_ROUNDS=${CI:+1} REKINDLE_PUBLISHERS=${CI:+chromium} browser_test hosts.test.js; fi
    browser_test pull.test.js
    if [ -z "$CI" ]; then
      # The package brings a service that does not start without a configuration.
      if apt keepalived keepalived; then browser_test vrrp.test.js; else skip "an address that VRRP moves" "keepalived is not installed"; fi
      REKINDLE_KILLS=4 browser_test kills.test.js
    fi
    unset REKINDLE_BIN
  fi
  https=https
  apt openssl openssl || { https= && skip "restarts over HTTPS" "they need openssl, and this system has no apt-get (or no right to use it)"; }
  browser_test kills.test.js
  # Each browser has published by now.
  [ -z "$CI" ] || export REKINDLE_PUBLISHERS=chromium
  # In CI those that have one browser for everything have one of the two.
  REKINDLE_BROWSERS=${CI:+firefox} browser_test supervised.test.js
  for file in gaps $https elsewhere sweep unseen loss edges disk; do REKINDLE_BROWSERS=${CI:+chromium} browser_test "$file.test.js"; done
  echo "measured:"
  cat tests/browser/results.json target/beside.json
fi

say "done"
for line in ${skipped[@]+"${skipped[@]}"}; do echo "SKIPPED $line"; done
