#!/usr/bin/env bash
# Makes the Debian package out of target/release/rekindle, into target/debian: README.md beside this file.
#
#   packaging/deb/build.sh [OPTION...]      options of cargo deb, such as --deb-revision 2
set -euo pipefail
cd "$(dirname "$0")/../.."

program=target/release/rekindle
[ -x "$program" ] || { echo "error: there is no $program; run 'cargo build --release' first" >&2; exit 1; }
command -v cargo-deb >/dev/null || { echo "error: cargo-deb is missing; run 'cargo install --locked cargo-deb'" >&2; exit 1; }

# What the program says of itself. The date of the pages is that of the last change in the source, so that a second build is the same.
made=target/deb/made
rm -rf "$made"
mkdir -p "$made"
SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct 2>/dev/null || date +%s)}
export SOURCE_DATE_EPOCH
"$program" man "$made/man"
for shell in bash zsh fish; do "$program" completions "$shell" >"$made/$shell"; done
gzip -9n <CHANGELOG.md >"$made/changelog.gz"

exec cargo-deb deb --no-build --quiet "$@"
