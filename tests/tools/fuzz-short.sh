#!/usr/bin/env bash
# Owns the short fuzzing that every run of the tests does: the readers of foreign bytes on damaged seeds, more rounds than
# `cargo test` has, with other numbers each time. The numbers are printed: BOOTSTEAD_RUBBISH_SEED=N brings them back.
# The long one, guided by coverage, is `make fuzz`: building that alone takes minutes. Its targets are type-checked here, so
# that a changed reader cannot break them unseen.
set -euo pipefail
cd "$(dirname "$0")/../.."
export BOOTSTEAD_RUBBISH_SEED=${BOOTSTEAD_RUBBISH_SEED:-$(od -An -N4 -tu4 /dev/urandom | tr -d ' ')}
export BOOTSTEAD_RUBBISH=${BOOTSTEAD_RUBBISH:-3}
echo "# BOOTSTEAD_RUBBISH_SEED=$BOOTSTEAD_RUBBISH_SEED BOOTSTEAD_RUBBISH=$BOOTSTEAD_RUBBISH"
cargo test --locked --test rubbish

# Nothing is linked, so libFuzzer itself, which is C++ and takes a minute, is not built: libfuzzer-sys leaves that out where
# somebody has one already. The folder is that of the other builds: SQLite is compiled there.
if CUSTOM_LIBFUZZER_PATH=/nowhere/libnone.a cargo check --locked --quiet --bins --manifest-path fuzz/Cargo.toml \
  --target-dir "${CARGO_TARGET_DIR:-target}"; then
  echo "ok - the $(grep -c '^\[\[bin\]\]' fuzz/Cargo.toml) fuzz targets compile"
else
  echo "not ok - the fuzz targets do not compile"
  exit 1
fi
