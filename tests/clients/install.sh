#!/usr/bin/env bash
# Installs the clients: from PyPI and npm with hashes, and with --all also those that Debian packages (see apt.txt).
set -euo pipefail
cd "$(dirname "$0")"
target=$PWD/../../target
python=$target/venv-clients/bin/python

if [ ! -x "$python" ]; then python3 -m venv "$target/venv-clients"; fi
"$python" -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.txt
npm ci --silent --no-audit --no-fund

if [ "${1:-}" = --all ]; then
  apt-get update -qq
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $(grep -v '^#' apt.txt) >/dev/null
  mkdir -p "$target/clients"
  # Debian's Go packages are for builds without modules.
  GO111MODULE=off GOPATH=/usr/share/gocode GOCACHE=$target/clients/go-cache go build -o "$target/clients/pion" pion/main.go
fi
