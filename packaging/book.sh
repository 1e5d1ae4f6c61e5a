#!/usr/bin/env bash
# Makes the book out of the documents, into target/book/html. Needs mdbook ('cargo install --locked mdbook').
#
# The chapters stay where they are, for who reads them in the repository: they are laid out once more as they lie there, with all that they may
# link to, and the summary is moved to the top.
set -euo pipefail
cd "$(dirname "$0")/.."
command -v mdbook >/dev/null || { echo "error: mdbook is missing; run 'cargo install --locked mdbook'" >&2; exit 1; }
src=target/book/src
rm -rf target/book
mkdir -p "$src"
git ls-files -z --cached --others --exclude-standard | tar --null --files-from - --create | tar --extract --directory "$src"
sed -E 's#\]\(\.\./#](#; t; s#\]\(#](docs/#' docs/SUMMARY.md >"$src/SUMMARY.md"
rm "$src/docs/SUMMARY.md"
mdbook build docs "$@"
echo "target/book/html/index.html"
