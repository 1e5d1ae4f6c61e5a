#!/usr/bin/env bash
# Runs fuzz targets, each for so many seconds, and says how many inputs each has run.
#
#   fuzz/run.sh SECONDS [TARGET...]
#
# Without a sanitizer, which the stable compiler does not have: the program forbids unsafe code, so what fuzzing finds here are panics,
# broken promises, hangs and memory without bounds. SANITIZER=address adds AddressSanitizer, for the C and the unsafe code below.
# FEATURES=boring has BoringSSL take the datagrams.
set -euo pipefail
cd "$(dirname "$0")/.."
. fuzz/common.sh

seconds=${1:?how many seconds a target? Usage: fuzz/run.sh SECONDS [TARGET...]}
shift
targets=("$@")
[ ${#targets[@]} -gt 0 ] || for file in fuzz/fuzz_targets/*.rs; do targets+=("$(basename "$file" .rs)"); done

tools=$PWD/target/tools
export PATH=$tools/bin:$HOME/.cargo/bin:$PATH
if ! command -v cargo-fuzz >/dev/null; then
  echo "building cargo-fuzz"
  cargo install --quiet --locked --root "$tools" --target-dir target/tools-build cargo-fuzz
fi
sanitizer=${SANITIZER:-none}
[ "$sanitizer" = none ] || export RUSTC_BOOTSTRAP=1

TMPDIR=$(mktemp -d)
export TMPDIR
trap 'rm -rf "$TMPDIR"' EXIT

features=(${FEATURES:+--features "$FEATURES"})
cargo fuzz build --sanitizer "$sanitizer" ${features[@]+"${features[@]}"} "${targets[@]:0:$((${#targets[@]} == 1))}"
failed=()
for target in "${targets[@]}"; do
  # The first folder takes what is new, and starts with what earlier runs have learnt; the second one is committed.
  [ -d "fuzz/corpus/$target" ] || learnt "$target" "fuzz/corpus/$target"
  log=$TMPDIR/log
  if cargo fuzz run --sanitizer "$sanitizer" ${features[@]+"${features[@]}"} "$target" "fuzz/corpus/$target" "fuzz/seeds/$target" -- \
    -max_total_time="$seconds" "${limits[@]}" >"$log" 2>&1; then
    tell "$target" "$log" "$seconds"
  else
    tail -n 40 "$log"
    failed+=("$target")
  fi
done
if [ ${#failed[@]} -gt 0 ]; then
  echo "failed: ${failed[*]}; the inputs are in fuzz/artifacts/" >&2
  exit 1
fi
