#!/usr/bin/env bash
# Owns the short fuzzing: every target for SECONDS_EACH (default 20) where cargo-fuzz and a nightly toolchain are at
# hand; without them it says so, and the same readers have run on damaged seeds in tests/rubbish.rs.
set -euo pipefail
cd "$(dirname "$0")/../.."
if ! command -v cargo-fuzz >/dev/null || ! cargo +nightly --version >/dev/null 2>&1; then
  echo "skip - fuzz: no cargo-fuzz or no nightly toolchain here; BOOTSTEAD_RUBBISH=3 instead"
  BOOTSTEAD_RUBBISH=3 cargo test --locked --test rubbish
  exit
fi
SECONDS_EACH=${SECONDS_EACH:-20} tests/tools/fuzz.sh
