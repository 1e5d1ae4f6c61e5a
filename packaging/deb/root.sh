#!/usr/bin/env bash
# Makes a folder with a fresh, minimal Debian system with systemd, unless it is there: what the package and the units are tried in. Needs root.
#
#   packaging/deb/root.sh [ROOT]            target/deb/root by default
set -euo pipefail
cd "$(dirname "$0")/../.."
root=${1:-target/deb/root}
[ ! -e "$root/usr/bin/openssl" ] || exit 0
mkdir -p "$(dirname "$root")"
# A folder that was begun, or lacks something, is not taken for one that is whole.
rm -rf "$root" "$root.part"
nice mmdebstrap --quiet --variant=minbase --include=systemd,openssl bookworm "$root.part"
mv "$root.part" "$root"
