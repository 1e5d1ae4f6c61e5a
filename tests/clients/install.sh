#!/usr/bin/env bash
# Installs the clients: from PyPI and npm with hashes, and those that Debian packages (see apt.txt): all with --all, or GStreamer alone.
set -euo pipefail
cd "$(dirname "$0")"
target=$PWD/../../target
python=$target/venv-clients/bin/python

if [ ! -x "$python" ]; then python3 -m venv "$target/venv-clients"; fi
"$python" -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.txt
npm ci --silent --no-audit --no-fund

packages() {
  apt-get update -qq
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" >/dev/null
}

if [ "${1:-}" = --gstreamer ]; then
  python3 -c 'import gi' 2>/dev/null || packages $(grep -E '^(openssl|gstreamer|gir|python3-gi)' apt.txt)
fi
if [ "${1:-}" = --all ]; then
  packages $(grep -v '^#' apt.txt)
  mkdir -p "$target/clients"
  # Debian's Go packages are for builds without modules.
  GO111MODULE=off GOPATH=/usr/share/gocode GOCACHE=$target/clients/go-cache go build -o "$target/clients/pion" pion/main.go
fi
