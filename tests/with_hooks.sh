#!/bin/sh
# For RUSTC_WORKSPACE_WRAPPER: builds this package with the hooks that two tests need, and its dependencies as ever.
#
#   rekindle_canary       the process tells every session secret to a socket: tests/canary.rs
#   rekindle_kill_points  the process tells what it protects, and ends itself where it is told: tests/full_state_kills.rs
#
# They are no features, since `--all-features` would switch those on, and no environment variable that a build script reads, since one
# could be left behind in a shell. A build with optimisations refuses them (src/lib.rs).
exec "$@" --cfg rekindle_canary --cfg rekindle_kill_points
