#!/usr/bin/env bash
# Owns the TFTP bench: many clients fetch 1 MiB at once from Bootstead, dnsmasq and tftpd-hpa, in the same network and
# the same run; window 1 (what firmware and iPXE do) and window 4 (OVMF, shim).
# Usage: tftp.sh [CLIENTS] [ROUNDS]       needs root and `make build`
set -euo pipefail
cd "$(dirname "$0")/../.."
clients=${1:-512} rounds=${2:-3}
work=$PWD/.work/tftp ns_s=bs-tftp-s ns_c=bs-tftp-c
. tests/bench/net.sh
mkdir "$work/tftp"
head -c 1048576 /dev/urandom >"$work/tftp/loader.efi"
head -c 10 /dev/urandom >"$work/www/bulk"
chmod -R a+rX "$work/tftp"
shelve loaders "$work/tftp/loader.efi"
shelve bench "$work/www/bulk"

round() { # WHO PIDS...: both windows
  for window in 1 4; do
    play "$1-w$window" "${@:2}" -- "$fetch" tftp --server 10.79.0.1:69 --name loader.efi --bytes 1048576 \
      --clients "$clients" --window $window
  done
}

for _ in $(seq "$rounds"); do
  ours
  round bootstead $pid
  kill -TERM $pid
  wait $pid || true
  inside $ns_s dnsmasq --no-daemon --conf-file=/dev/null --port=0 --enable-tftp --tftp-root="$work/tftp" \
    --tftp-max=4096 --user=root --log-facility=/dev/null >/dev/null 2>&1 &
  pid=$!
  sleep 0.5
  round dnsmasq $pid
  kill $pid
  wait $pid 2>/dev/null || true
  inside $ns_s in.tftpd --foreground --address 10.79.0.1:69 --secure --user root "$work/tftp" >/dev/null 2>&1 &
  pid=$!
  sleep 0.5
  round tftpd-hpa $pid
  kill $pid
  wait $pid 2>/dev/null || true
done >"$work/rounds"
for window in 1 4; do
  echo "TFTP, $clients clients x 1 MiB, block 1468, window $window"
  grep -- "-w$window " "$work/rounds" | sed "s/-w$window / /" >"$work/w$window"
  table "$work/w$window" tftpd-hpa seconds cpu_s peak_mb retransmits failed
done
PYTHONPATH=tests/bench python3 -B - "$work" <<'EOP'
import sys
import targets
measured, failed = {}, []
for window in (1, 4):
    found = targets.rows(f"{sys.argv[1]}/w{window}")
    measured[f"TFTP window {window} time to tftpd-hpa"] = targets.ratio(found, "seconds", "tftpd-hpa")
    measured[f"TFTP window {window} CPU to tftpd-hpa"] = targets.ratio(found, "cpu_s", "tftpd-hpa")
    failed.append(targets.worst(found, "bootstead", "failed"))
measured["TFTP failed clients"] = None if None in failed else max(failed)
targets.say("tftp", measured)
EOP
