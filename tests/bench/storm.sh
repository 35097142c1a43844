#!/usr/bin/env bash
# Owns the whole-boot bench: 512 simulated nodes boot at once, against Bootstead and against dnsmasq + nginx, in the
# same network and the same run; prints what the nodes felt, what the servers took (as seen on their cable), the ratios,
# and how long Bootstead took from its start to its first answers. "Failed" nodes are those that did not get everything; "retransmits" those of DHCP and TFTP.
# Usage: storm.sh [NODES] [ROUNDS]       needs root and `make build`; KERNEL_MIB and INITRD_MIB set the sizes (10, 60)
set -euo pipefail
cd "$(dirname "$0")/../.."
nodes=${1:-512} rounds=${2:-2}
work=$PWD/.work/storm ns_s=bs-storm-s ns_c=bs-storm-c generator=storm
. tests/bench/net.sh
storm=$GENERATOR
# Every node fetches from the address that it was given: all of them are the generator's.
ip -n $ns_c route add local 10.79.16.0/20 dev lo
ip -n $ns_c route add local 10.79.32.0/20 dev lo
mkdir -p "$work/www/scripts" "$work/www/ks" "$work/tftp"

# The bits: a kernel, an initrd, a loader of 108 KiB (undionly.kpxe's size). Random, so that nothing compresses.
head -c $((${KERNEL_MIB:-10} << 20)) /dev/urandom >"$work/www/vmlinuz"
head -c $((${INITRD_MIB:-60} << 20)) /dev/urandom >"$work/www/initrd.img"
head -c 108847 /dev/urandom >"$work/tftp/undionly.kpxe"
chmod -R a+rX "$work/www" "$work/tftp"
shelve storm "$work/www/vmlinuz" "$work/www/initrd.img"
shelve loaders "$work/tftp/undionly.kpxe"

# Bootstead's site: the nodes by MAC, the image on its shelf, all armed.
python3 - "$work" "$nodes" <<'EOP'
import sys
work, nodes = sys.argv[1], int(sys.argv[2])
site = f"{work}/site"
with open(f"{site}/site.toml", "w") as f:
    f.write('[site]\nname = "storm"\ndomain = "storm.example"\n[server]\naddress = "10.79.0.1"\n'
            'provisioning = "provisioning"\n[network.provisioning]\ncidr = "10.79.0.0/16"\n'
            '[role.compute]\nprofile = "compute"\nimage = "storm"\nname = "compute-{n:04}"\ndisk = { min_gib = 10 }\n'
            'addresses.provisioning = "10.79.16.1-10.79.47.254"\n')
with open(f"{site}/nodes.csv", "w") as f:
    f.write("mac,role\n")
    for n in range(1, nodes + 1):
        # Scattered addresses, as in storm.rs: dnsmasq hashes consecutive ones to the same lease and then refuses them.
        x = n * 0x9E3779 & 0xFFFFFF
        mac = f"52:54:00:{x >> 16:02x}:{x >> 8 & 255:02x}:{x & 255:02x}"
        f.write(f"{mac},compute\n")
        hyphens = mac.replace(":", "-")
        with open(f"{work}/www/scripts/{hyphens}.ipxe", "w") as s:
            s.write("#!ipxe\nkernel http://10.79.0.1/vmlinuz initrd=initrd.img inst.ks=http://10.79.0.1/ks/"
                    f"{hyphens}.ks ip=dhcp\ninitrd http://10.79.0.1/initrd.img\nboot\n")
        with open(f"{work}/www/ks/{hyphens}.ks", "w") as s:
            s.write("# kickstart\n" + "x" * 6000 + "\n")
with open(f"{work}/tree/images/storm.toml", "w") as f:
    f.write('summary = "bench"\nfamily = "el9"\nversion = "9"\narch = "amd64"\nkernel = "vmlinuz"\n'
            'initrd = ["initrd.img"]\ntree = "vmlinuz"\n')
EOP
rm "$work/tree/images/bench.toml"

boot() { # WHO PIDS...: prints what the nodes felt, the servers' cost, and how long requests lay on the cable
  # DHCP, and the TCP packets that begin a request or an answer.
  local word='tcp[((tcp[12] & 0xf0) >> 2):4]'
  ip netns exec $ns_s tcpdump -i $ns_s -s 1500 -U -w "$work/$1.pcap" \
    "udp port 67 or (tcp port 80 and ($word = 0x47455420 or $word = 0x48545450))" 2>/dev/null &
  local dump=$!
  sleep 0.5
  local said
  # The generator fails if a node did; how many is in its line.
  said=$(play "$@" -- bash -c "$storm --server 10.79.0.1 --me 10.79.0.2 --nodes $nodes --timeout 180 || true")
  kill $dump
  wait $dump 2>/dev/null || true
  echo "$said $(python3 tests/bench/latency.py "$work/$1.pcap")"
}

ours() {
  rm -rf "$work/site/.bootstead/"{journal*,lock,control.sock}
  local b=("$binary" --site "$work/site/site.toml" --tree "$work/tree")
  "${b[@]}" check >/dev/null
  "${b[@]}" node arm --all --yes "$nodes" >/dev/null
  # Somebody asks from before the start.
  : >"$work/first"
  inside $ns_c python3 tests/bench/answering.py 10.79.0.1 >"$work/first" &
  local asking=$! began
  until [ -s "$work/first" ]; do sleep 0.02; done
  began=$(date +%s.%N)
  inside $ns_s "${b[@]}" serve >"$work/serve.log" 2>&1 &
  pid=$!
  answering
  # It looks for other DHCP servers first.
  local dhcp=''
  for _ in $(seq 150); do
    if grep -q "DHCP: full on" "$work/serve.log"; then dhcp=$(date +%s.%N); break; fi
    sleep 0.1
  done
  wait $asking || true
  local felt
  felt=$(boot bootstead $pid)
  echo "$felt $(since "$began" "$dhcp" "$work/first")"
  kill -TERM $pid
  wait $pid || true
}
since() { # since BEGAN DHCP FILE: seconds from the start to the first answers, of what answered at all
  awk -v began="$1" -v dhcp="$2" '
    { for (i = 1; i <= NF; i++) if (split($i, word, "=") == 2) at[word[1]] = word[2] }
    END {
      if (dhcp != "") printf "start_dhcp_s=%.1f ", dhcp - began
      for (what in at) printf "start_%s_s=%.3f ", what, at[what] - began
      if (("http" in at) && ("tftp" in at)) printf "start_s=%.3f", (at["http"] > at["tftp"] ? at["http"] : at["tftp"]) - began
      print ""
    }' "$3"
}

peers() {
  cat >"$work/nginx.conf" <<EON
worker_processes 2;
worker_rlimit_nofile 8192;
pid $work/nginx.pid;
error_log $work/nginx.log;
user root;
events { worker_connections 4096; }
http { access_log off; sendfile on; sendfile_max_chunk 0; tcp_nopush on; default_type application/octet-stream;
  server { listen 10.79.0.1:80 backlog=4096; root $work/www; } }
EON
  inside $ns_s nginx -c "$work/nginx.conf" -g 'daemon off;' &
  local nginx=$!
  inside $ns_s dnsmasq --no-daemon --conf-file=/dev/null --port=0 --no-ping --interface=$ns_s --bind-interfaces \
    --dhcp-range=10.79.16.1,10.79.47.254,255.255.0.0,1h --dhcp-leasefile="$work/dnsmasq.leases" --log-facility=/dev/null \
    --dhcp-lease-max=4096 --dhcp-userclass=set:ipxe,iPXE --dhcp-boot=undionly.kpxe \
    --dhcp-boot='tag:ipxe,http://10.79.0.1/scripts/${netX/mac:hexhyp}.ipxe' \
    --enable-tftp --tftp-root="$work/tftp" --tftp-max=4096 --user=root >/dev/null 2>&1 &
  local dnsmasq=$!
  sleep 1
  rm -f "$work/dnsmasq.leases"
  boot dnsmasq+nginx $nginx $dnsmasq
  kill $nginx $dnsmasq
  wait $nginx $dnsmasq 2>/dev/null || true
}

for r in $(seq "$rounds"); do
  felt=$(ours)
  echo "round $r $felt"
  felt=$(peers)
  echo "round $r $felt"
done | tee "$work/rounds"
PYTHONPATH=tests/bench python3 -B - "$work/rounds" "$nodes" <<'EOP'
import sys
import targets
found, nodes = targets.rows(sys.argv[1], r"^round \d+ "), int(sys.argv[2])
peer = "dnsmasq+nginx"
for rows in found.values():
    for row in rows:
        if "cpu_s" in row:
            row["cpu_ms_each"] = row["cpu_s"] * 1000 / nodes
print(f"whole boot, {nodes} nodes, median of {len(found.get('bootstead', []))} rounds (ratio to dnsmasq + nginx)")
said = lambda figure: "-" if figure is None else f"{figure:.2f}"
for key, name in (("seconds", "time, s"), ("cpu_s", "CPU, s"), ("cpu_ms_each", "CPU per node, ms"),
                  ("peak_mb", "peak memory, MB"), ("own_peak_mb", "  without its program"),
                  ("idle_mb", "idle memory, MB"), ("own_idle_mb", "  without its program"),
                  ("dhcp_p99_ms", "DHCP felt p99, ms"), ("script_p99_ms", "script felt p99, ms"),
                  ("at_dhcp_p99_ms", "DHCP served p99, ms"), ("at_script_p99_ms", "script served p99, ms"),
                  ("retransmits", "retransmits"), ("failed", "failed nodes")):
    ours, theirs = targets.median(found, "bootstead", key), targets.median(found, peer, key)
    print(f"  {name:22} bootstead {said(ours):>10}   dnsmasq+nginx {said(theirs):>10}   "
          f"ratio {said(targets.ratio(found, key, peer))}")
for key, name in (("start_http_s", "HTTP"), ("start_tftp_s", "TFTP"), ("start_dhcp_s", "DHCP (looks 4 s for other servers first)")):
    print(f"  from the start until it serves {name}: {said(targets.median(found, 'bootstead', key))} s")
if targets.median(found, peer, "failed"):
    print(f"  the peer failed {targets.median(found, peer, 'failed'):.0f} nodes: its time and CPU are for less work")
targets.say("storm", {
    "whole boot time to dnsmasq + nginx": targets.ratio(found, "seconds", peer),
    "whole boot failed nodes": targets.worst(found, "bootstead", "failed"),
    "memory peak without the binary's own pages, MB": targets.worst(found, "bootstead", "own_peak_mb"),
    "memory idle without the binary's own pages, MB": targets.worst(found, "bootstead", "own_idle_mb"),
    "start to HTTP and TFTP answering, s": targets.worst(found, "bootstead", "start_s"),
})
EOP
