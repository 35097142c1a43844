#!/usr/bin/env bash
# Owns long fuzzing: every target of fuzz/ (or those named) for SECONDS_EACH (default 600) with libFuzzer, beginning with
# the seeds of tests/rubbish.rs and what earlier runs found worth keeping (.work/fuzz/TARGET).
#
# The targets are cargo-fuzz's; built here with the same flags, so that neither it nor a nightly toolchain is needed: the
# pinned toolchain lets itself be told to use its address sanitizer (SANITIZER=address: slower by far; our own code is safe
# Rust but for a few system calls). Needs a C++ compiler.
# Usage: fuzz.sh [TARGET...]
set -euo pipefail
cd "$(dirname "$0")/../.."
each=${SECONDS_EACH:-600}
host=x86_64-unknown-linux-gnu
corpus=$PWD/.work/fuzz
mkdir -p "$corpus"
command -v c++ >/dev/null || { echo "fuzz: libFuzzer is C++: apt-get install g++" >&2; exit 3; }
BOOTSTEAD_SEEDS=$corpus cargo test --locked --quiet --test rubbish the_seeds_for_the_fuzzers
flags=(-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 -Cllvm-args=-sanitizer-coverage-inline-8bit-counters
  -Cllvm-args=-sanitizer-coverage-pc-table -Cllvm-args=-sanitizer-coverage-trace-compares --cfg fuzzing
  -Cdebug-assertions -Coverflow-checks -Cforce-frame-pointers -Ccodegen-units=1)
[ "${SANITIZER:-none}" = none ] || flags+=(-Zsanitizer=address)
# Its own folder: these flags make everything anew. With --target, build scripts and macros are left without them.
RUSTC_BOOTSTRAP=1 CARGO_ENCODED_RUSTFLAGS=$(printf '%s\x1f' "${flags[@]}" | sed 's/\x1f$//') \
  cargo build --locked --quiet --release --manifest-path fuzz/Cargo.toml --target-dir target/fuzz --target $host
targets=("$@")
[ $# -gt 0 ] || mapfile -t targets < <(sed -n 's/^name = "\(.*\)"/\1/p' fuzz/Cargo.toml | grep -v bootstead-fuzz)
status=0
for target in "${targets[@]}"; do
  log=$corpus/$target.log
  # A slow reader (it reads the whole tree anew) is no hang.
  if (cd "$corpus" && "$OLDPWD/target/fuzz/$host/release/$target" -max_total_time="$each" -rss_limit_mb=2048 -timeout=20 \
    -max_len=262144 -print_final_stats=1 -artifact_prefix="$corpus/found-$target-" "$target" >"$log" 2>&1); then
    echo "ok - fuzz $target: $(awk '/number_of_executed_units/ {print $2}' "$log") runs in $each s," \
      "$(awk '/cov: / {for (i = 1; i < NF; i++) if ($i == "cov:") c = $(i + 1)} END {print c}' "$log") edges"
  else
    tail -n 30 "$log"
    echo "not ok - fuzz $target: see $log; the input is $corpus/found-$target-*"
    status=1
  fi
done
exit $status
