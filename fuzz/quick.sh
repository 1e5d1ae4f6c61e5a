#!/usr/bin/env bash
# Runs fuzz targets, all unless some are named, for so many seconds, guided by coverage, as many at once as there are processors. Shares what `cargo test` has
# built, so that the code of ours and the parsers below it are all that has to be compiled: less optimised than by run.sh, and soon there.
#
#   fuzz/quick.sh SECONDS [TARGET...]
#
# Inputs are the same in every run as far as time allows (one seed), so that what fails here was changed here. run.sh looks further.
# FEATURES=boring has BoringSSL take the datagrams.
set -euo pipefail
cd "$(dirname "$0")/.."
. fuzz/common.sh

seconds=${1:?how many seconds a target? Usage: fuzz/quick.sh SECONDS [TARGET...]}
shift
targets=("$@")
[ ${#targets[@]} -gt 0 ] || for file in fuzz/fuzz_targets/*.rs; do targets+=("$(basename "$file" .rs)"); done
features=(${FEATURES:+--features "$FEATURES"})
export CARGO_INCREMENTAL=0 RUSTC_WRAPPER=$PWD/fuzz/instrument.sh
cargo build --quiet --locked --manifest-path fuzz/Cargo.toml --target-dir target ${features[@]+"${features[@]}"}

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

fuzz() {
  local target=$1 log=$work/$1.log
  mkdir -p "fuzz/artifacts/$target"
  # What is new goes to the first folder, and away with it.
  learnt "$target" "$work/$target"
  if "target/debug/$target" "$work/$target" "fuzz/seeds/$target" -seed=1 -max_total_time="$seconds" "${limits[@]}" \
    -artifact_prefix="fuzz/artifacts/$target/" >"$log" 2>&1; then
    tell "$target" "$log" "$seconds"
  else
    tail -n 40 "$log"
    echo "error: $target failed; fuzz/artifacts/$target has the input" >&2
    return 1
  fi
}

running=()
failed=0
for target in "${targets[@]}"; do
  fuzz "$target" &
  running+=($!)
  if [ "${#running[@]}" -ge "$(nproc)" ]; then
    wait "${running[0]}" || failed=1
    running=("${running[@]:1}")
  fi
done
for each in "${running[@]}"; do wait "$each" || failed=1; done
exit $failed
