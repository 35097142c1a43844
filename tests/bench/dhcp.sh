#!/usr/bin/env bash
# Owns the DHCP bench: a burst of 512 machines, and perfdhcp as fast as it can, against Bootstead, Kea and dnsmasq, in
# one network and one run; prints the ratios to Kea. Every ACK of Bootstead is on disk before it leaves; Kea's are not.
# Usage: dhcp.sh [ROUNDS]       needs root, `make build`, kea-dhcp4-server, dnsmasq and perfdhcp
set -euo pipefail
cd "$(dirname "$0")/../.."
rounds=${1:-3} machines=512
work=$PWD/.work/bench-dhcp ns_s=bs-dhcp-s ns_c=bs-dhcp-c generator=dhcp
. tests/bench/net.sh
crowd=$GENERATOR

# The same for all: a pool of 48 k addresses, machines that nobody has heard of before.
printf 'summary = "bench"\nfamily = "el9"\nversion = "9"\narch = "amd64"\nkernel = "k"\ninitrd = ["i"]\n' >"$work/tree/images/bench.toml"
cat >"$work/site/site.toml" <<EOP
[site]
name = "bench"
domain = "bench.example"
[server]
address = "10.79.0.1"
provisioning = "provisioning"
discover = true
[network.provisioning]
cidr = "10.79.0.0/16"
gateway = "10.79.0.1"
pool = "10.79.64.1-10.79.255.250"
[role.compute]
profile = "compute"
image = "bench"
name = "compute-{n:04}"
disk = { min_gib = 10 }
addresses.provisioning = "10.79.16.1-10.79.16.64"
EOP
printf 'mac,role\n52:54:00:00:00:01,compute\n' >"$work/site/nodes.csv"
cat >"$work/kea.json" <<EOP
{ "Dhcp4": {
  "interfaces-config": { "interfaces": [ "$ns_s" ], "dhcp-socket-type": "udp" },
  "lease-database": { "type": "memfile", "persist": true, "name": "$work/kea-leases.csv", "lfc-interval": 0 },
  "multi-threading": { "enable-multi-threading": true, "thread-pool-size": 2 },
  "valid-lifetime": 3600,
  "subnet4": [ { "subnet": "10.79.0.0/16", "pools": [ { "pool": "10.79.64.1-10.79.255.250" } ],
    "option-data": [ { "name": "routers", "data": "10.79.0.1" } ],
    "next-server": "10.79.0.1", "boot-file-name": "undionly.kpxe" } ],
  "loggers": [ { "name": "kea-dhcp4", "severity": "ERROR", "output_options": [ { "output": "$work/kea.log" } ] } ] } }
EOP

start() { # start SERVER: sets pid
  case $1 in
    bootstead)
      rm -rf "$work/site/.bootstead"
      inside $ns_s "$binary" --site "$work/site/site.toml" --tree "$work/tree" serve >"$work/bootstead.log" 2>&1 &
      pid=$!
      for _ in $(seq 1 150); do grep -q "DHCP: full on" "$work/bootstead.log" && return; sleep 0.1; done
      cat "$work/bootstead.log" >&2; exit 1 ;;
    kea)
      rm -f "$work"/kea-leases.csv*
      KEA_PIDFILE_DIR=$work KEA_LOCKFILE_DIR=$work inside $ns_s kea-dhcp4 -c "$work/kea.json" >"$work/kea.out" 2>&1 &
      pid=$!
      sleep 3 ;;
    dnsmasq)
      rm -f "$work/dnsmasq.leases"
      inside $ns_s dnsmasq --keep-in-foreground --port=0 --conf-file=/dev/null --user=root --no-ping \
        --interface=$ns_s --bind-interfaces --dhcp-range=10.79.64.1,10.79.255.250,255.255.0.0,1h --dhcp-lease-max=60000 \
        --dhcp-authoritative --dhcp-boot=undionly.kpxe --dhcp-leasefile="$work/dnsmasq.leases" >"$work/dnsmasq.log" 2>&1 &
      pid=$!
      sleep 1 ;;
  esac
  kill -0 "$pid" || { echo "bench: $1 did not start" >&2; cat "$work"/{kea.out,dnsmasq.log} >&2; exit 1; }
}
stop() { kill "$pid" 2>/dev/null || true; wait "$pid" 2>/dev/null || true; }
# on_disk ACKS: how many of that many ACKs, which clients of Bootstead received, its journal does not have. No ACK at all
# is no measurement. (perfdhcp ends with an error whenever it lost a packet, so its status says nothing.)
on_disk() {
  python3 - "$work/site/.bootstead/journal.sqlite" "$1" <<'EOP'
import sqlite3, sys
db, acks = sqlite3.connect(sys.argv[1]), int(float(sys.argv[2] or 0))
leased = db.execute("SELECT count(*) FROM event WHERE what LIKE '%\"what\":\"leased\"%'").fetchone()[0]
print(f"leases={leased} lost={max(0, acks - leased)}" if acks else f"leases={leased}")
EOP
}
measured() { # measured COMMAND...: its output, and the server's cost
  play - "$pid" -- "$@" | sed 's/^- //'
}

: >"$work/burst"
: >"$work/rate"
for round in $(seq 1 "$rounds"); do
  for server in kea bootstead dnsmasq; do
    start $server
    felt=$(measured "$crowd" burst 10.79.0.1 10.79.0.2 $machines 1)
    stop
    [ $server != bootstead ] || felt="$felt $(on_disk "$(sed -n 's/.*\bdone=\([0-9]*\).*/\1/p' <<<"$felt")")"
    echo "$server $felt" | tee -a "$work/burst"
  done
done
for round in $(seq 1 "$rounds"); do
  for server in kea bootstead dnsmasq; do
    start $server
    # 505845…: "PXEClient". Without a rate it goes as fast as it can.
    cost=$(measured bash -c "perfdhcp -4 -l $ns_c -R 40000 -p 6 -o 60,505845436c69656e74 -s $round 10.79.0.1 >'$work/perfdhcp.$server' 2>&1 || true")
    rate=$(awk '/^Rate:/ {print $2; exit}' "$work/perfdhcp.$server")
    acks=$(awk '/^received packets:/ {n = $3} END {print n + 0}' "$work/perfdhcp.$server")
    stop
    [ $server != bootstead ] || cost="$cost $(on_disk "$acks")"
    echo "$server rate=${rate:-0} acks=$acks $cost" | tee -a "$work/rate"
  done
done
PYTHONPATH=tests/bench python3 -B - "$work/burst" "$work/rate" "$machines" <<'EOP'
import statistics, sys
import targets
asked, pressed, machines = targets.rows(sys.argv[1]), targets.rows(sys.argv[2]), int(sys.argv[3])
def table(found):
    keys = {s: {k for r in rs for k in r} for s, rs in found.items()}
    return {s: {k: statistics.median([r[k] for r in rs if k in r]) for k in keys[s]} for s, rs in found.items()}
burst, rate = table(asked), table(pressed)
print(f"\n{'burst of 512':12} {'done':>5} {'p50 ms':>8} {'p99 ms':>8} {'to Kea':>7} {'retransmits':>11} {'CPU ms/node':>11} {'peak MB':>8}")
for s, r in burst.items():
    print(f"{s:12} {r['done']:5.0f} {r['p50_ms']:8.1f} {r['p99_ms']:8.1f} {r['p99_ms'] / burst['kea']['p99_ms']:7.3f} "
          f"{r['retransmits']:11.0f} {r['cpu_s'] * 1000 / 512:11.3f} {r['peak_mb']:8.1f}")
print(f"\n{'perfdhcp':12} {'4-way/s':>8} {'to Kea':>7} {'CPU us each':>11} {'peak MB':>8}")
for s, r in rate.items():
    each = r['cpu_s'] * 1e6 / max(r['acks'], 1)
    print(f"{s:12} {r['rate']:8.0f} {r['rate'] / max(rate['kea']['rate'], 1):7.2f} {each:11.0f} {r['peak_mb']:8.1f}")
done = targets.column(asked, "bootstead", "done")
lost = [targets.worst(found, "bootstead", "lost") for found in (asked, pressed)]
targets.say("dhcp", {
    "DHCP burst p99 to Kea": targets.ratio(asked, "p99_ms", "kea"),
    "DHCP burst retransmits": targets.worst(asked, "bootstead", "retransmits"),
    "DHCP burst machines without an address": machines - min(done) if done else None,
    "DHCP ACKs that are not on disk": None if None in lost else max(lost),
    "perfdhcp rate to Kea": targets.ratio(pressed, "rate", "kea"),
})
EOP
