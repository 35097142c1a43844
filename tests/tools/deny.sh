#!/usr/bin/env bash
# Owns the licence and advisory check: installs cargo-deny of a fixed version if it is missing, then runs it.
set -euo pipefail
cd "$(dirname "$0")/../.."
if ! command -v cargo-deny >/dev/null; then
  echo "deny: installing cargo-deny (some minutes, once)"
  cargo install --locked --quiet cargo-deny@0.20.2
fi
# The advisory database is fetched from the internet; without it the other checks still count.
if ! cargo deny --log-level error check bans licenses sources; then exit 1; fi
if ! cargo deny --log-level error check advisories 2>/tmp/deny-$$.log; then
  if grep -q 'failed to fetch\|failed to prepare fetch' /tmp/deny-$$.log; then
    echo "deny: advisories were not checked, their database cannot be reached from here"
  else
    cat /tmp/deny-$$.log >&2
    exit 1
  fi
fi
rm -f /tmp/deny-$$.log
