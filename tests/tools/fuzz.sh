#!/usr/bin/env bash
# Owns long fuzzing: every target of fuzz/ for SECONDS_EACH (default 600), with cargo-fuzz on the nightly toolchain.
set -euo pipefail
cd "$(dirname "$0")/../.."
each=${SECONDS_EACH:-600}
if ! command -v cargo-fuzz >/dev/null; then
  echo "fuzz: installing cargo-fuzz (some minutes, once)"
  cargo install --locked --quiet cargo-fuzz
fi
if ! cargo +nightly --version >/dev/null 2>&1; then
  echo "fuzz: cargo-fuzz needs a nightly toolchain: rustup toolchain install nightly --profile minimal" >&2
  exit 3
fi
for target in $(cargo +nightly fuzz list); do
  echo "== fuzz $target for $each s"
  cargo +nightly fuzz run "$target" -- -max_total_time="$each" -rss_limit_mb=2048 -print_final_stats=1
  echo "ok - fuzz $target"
done
