#!/usr/bin/env bash
# Owns the short fuzzing that every run of the tests does: the readers of foreign bytes on damaged seeds, more rounds than
# `cargo test` has, with other numbers each time. The numbers are printed: BOOTSTEAD_RUBBISH_SEED=N brings them back.
# The long one, guided by coverage, is `make fuzz`: building that alone takes minutes.
set -euo pipefail
cd "$(dirname "$0")/../.."
export BOOTSTEAD_RUBBISH_SEED=${BOOTSTEAD_RUBBISH_SEED:-$(od -An -N4 -tu4 /dev/urandom | tr -d ' ')}
export BOOTSTEAD_RUBBISH=${BOOTSTEAD_RUBBISH:-3}
echo "# BOOTSTEAD_RUBBISH_SEED=$BOOTSTEAD_RUBBISH_SEED BOOTSTEAD_RUBBISH=$BOOTSTEAD_RUBBISH"
cargo test --locked --test rubbish
