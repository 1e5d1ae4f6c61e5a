# What run.sh and quick.sh share. Sourced by them, in the project's folder.

# Of libFuzzer, for every target.
limits=(-timeout=20 -rss_limit_mb=2048 -max_len=16384 -print_final_stats=1)

# learnt TARGET FOLDER: gives a folder what earlier runs have learnt.
learnt() {
  mkdir -p "$2"
  tar -C "$2" -xzf "fuzz/minimised/$1.tar.gz"
}

# tell TARGET LOG SECONDS: how many inputs a run has had, by what libFuzzer has logged.
tell() {
  printf '%-20s %9s inputs in %s s, %s places in the code reached\n' "$1" \
    "$(sed -n 's/^stat::number_of_executed_units: *//p' "$2")" "$3" "$(sed -n 's/.*cov: \([0-9]*\).*/\1/p' "$2" | tail -n 1)"
}
