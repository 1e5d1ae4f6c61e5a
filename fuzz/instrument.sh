#!/bin/sh
# A RUSTC_WRAPPER for quick.sh: code that is optimised at level 1 (fuzz/Cargo.toml) counts where it has been, as libFuzzer wants it.
case " $* " in
  *" opt-level=1 "*)
    exec "$@" --cfg fuzzing -C passes=sancov-module -C llvm-args=-sanitizer-coverage-level=4 \
      -C llvm-args=-sanitizer-coverage-inline-8bit-counters -C llvm-args=-sanitizer-coverage-pc-table \
      -C llvm-args=-sanitizer-coverage-trace-compares
    ;;
esac
exec "$@"
