#!/usr/bin/env bash
# Boots systemd as process 1 of namespaces of its own on a folder with a Debian system; what it writes there is gone afterwards. Needs root.
#
#   packaging/deb/boot.sh ROOT PACKAGES     ROOT as root.sh makes it; PACKAGES: a folder that it sees as /packages
#
# The network is the caller's. SIGTERM ends it, a second one at once.
set -euo pipefail
if [ -z "${REKINDLE_OWN_MOUNTS:-}" ]; then
  export REKINDLE_OWN_MOUNTS=1
  exec unshare --mount --propagation private "$0" "$(realpath "$1")" "$(realpath "$2")"
fi
mount -t tmpfs tmpfs /run
mkdir -p /run/new/written /run/new/work /run/new/root
mount -t overlay overlay -o "lowerdir=$1,upperdir=/run/new/written,workdir=/run/new/work" /run/new/root
exec systemd-nspawn --quiet --boot --directory /run/new/root --machine rekindle-test --bind-ro "$2:/packages" \
  --register no --keep-unit --link-journal no --console pipe </dev/null
