#!/usr/bin/env bash
# Owns the whole-boot bench: 512 simulated nodes boot at once, against Bootstead and against dnsmasq + nginx, in the
# same network and the same run; prints what the nodes felt and the ratios.
# Usage: storm.sh [NODES] [ROUNDS]       needs root and `make build`; KERNEL_MIB and INITRD_MIB set the sizes (10, 60)
set -euo pipefail
cd "$(dirname "$0")/../.."
nodes=${1:-512} rounds=${2:-2}
binary=$PWD/target/x86_64-unknown-linux-gnu/release/bootstead
work=$PWD/.work/storm
ns_s=bs-storm-s ns_c=bs-storm-c
rm -rf "$work"
mkdir -p "$work/site/.bootstead/images" "$work/www/scripts" "$work/www/ks" "$work/tftp"
cargo static --quiet --bench storm
storm=$(find target/x86_64-unknown-linux-gnu/release/deps -name 'storm-*' -type f -perm -u+x -printf '%T@ %p\n' | sort -n | tail -n 1 | cut -d' ' -f2)

finish() {
  local ns pid
  for ns in $ns_s $ns_c; do
    for pid in $(ip netns pids $ns 2>/dev/null); do kill "$pid" 2>/dev/null || true; done
  done
  sleep 0.5
  ip netns del $ns_s 2>/dev/null || true
  ip netns del $ns_c 2>/dev/null || true
}
trap finish EXIT
finish
ip netns add $ns_s
ip netns add $ns_c
ip link add storm-s netns $ns_s type veth peer name storm-c netns $ns_c
for pair in "$ns_s storm-s 10.79.0.1" "$ns_c storm-c 10.79.0.2"; do
  read -r ns dev address <<<"$pair"
  ip -n $ns link set lo up
  ip -n $ns address add "$address/16" dev "$dev"
  ip -n $ns link set "$dev" up
done

# The bits: a kernel, an initrd, a loader of 108 KiB (undionly.kpxe's size). Random, so that nothing compresses.
head -c $((${KERNEL_MIB:-10} << 20)) /dev/urandom >"$work/www/vmlinuz"
head -c $((${INITRD_MIB:-60} << 20)) /dev/urandom >"$work/www/initrd.img"
head -c 108847 /dev/urandom >"$work/tftp/undionly.kpxe"

# Bootstead's site: the nodes by MAC, the image on its shelf, all armed.
python3 - "$work" "$nodes" <<'EOP'
import hashlib, json, os, sys
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
os.makedirs(f"{work}/tree/images")
with open(f"{work}/tree/images/storm.toml", "w") as f:
    f.write('summary = "bench"\nfamily = "el9"\nversion = "9"\narch = "amd64"\nkernel = "vmlinuz"\n'
            'initrd = ["initrd.img"]\ntree = "tree"\n')
shelf = f"{site}/.bootstead/images"
for folder, files in (("storm", {"vmlinuz": f"{work}/www/vmlinuz", "initrd.img": f"{work}/www/initrd.img"}),
                      ("loaders", {"undionly.kpxe": f"{work}/tftp/undionly.kpxe"})):
    os.makedirs(f"{shelf}/{folder}")
    manifest = {"format": 1, "origin": {"made by": "bench"}, "files": {}, "stored": {}}
    for name, source in files.items():
        to = f"{shelf}/{folder}/{name}"
        os.link(source, to)
        digest = hashlib.sha256(open(to, "rb").read()).hexdigest()
        info = os.stat(to)
        manifest["stored"][name] = {"size": info.st_size, "mtime_ns": info.st_mtime_ns, "sha256": digest}
        manifest["files"][name] = {"size": info.st_size, "sha256": digest, "at": name}
    with open(f"{shelf}/{folder}/manifest.json", "w") as f:
        json.dump(manifest, f)
EOP

play() { # prints the generator's line and the server's cost; pids of the servers as arguments
  exec 7> >(python3 tests/bench/measure.py "$@" >"$work/cost")
  local measure=$!
  ip netns exec $ns_c "$storm" --server 10.79.0.1 --me 10.79.0.2 --nodes "$nodes" --timeout 180 >"$work/felt" || true
  exec 7>&-
  wait $measure || true
  echo "$(cat "$work/felt") $(cat "$work/cost")"
}

ours() {
  rm -rf "$work/site/.bootstead/"{journal*,lock,control.sock}
  local b=("$binary" --site "$work/site/site.toml" --tree "$work/tree")
  "${b[@]}" check >/dev/null
  "${b[@]}" node arm --all --yes "$nodes" >/dev/null
  ip netns exec $ns_s "${b[@]}" serve >"$work/serve.log" 2>&1 &
  local pid=$! t=$EPOCHREALTIME
  until [ -S "$work/site/.bootstead/control.sock" ]; do sleep 0.02; kill -0 $pid || { cat "$work/serve.log" >&2; exit 1; }; done
  sleep 7
  play $pid
  kill -TERM $pid
  wait $pid || true
}

peers() {
  cat >"$work/nginx.conf" <<EON
worker_processes 2;
pid $work/nginx.pid;
error_log $work/nginx.log;
events { worker_connections 4096; }
http { access_log off; sendfile on; sendfile_max_chunk 0; tcp_nopush on; default_type application/octet-stream;
  server { listen 10.79.0.1:80 backlog=4096; root $work/www; } }
EON
  ip netns exec $ns_s nginx -c "$work/nginx.conf" -g 'daemon off;' &
  local nginx=$!
  ip netns exec $ns_s dnsmasq --no-daemon --conf-file=/dev/null --port=0 --no-ping --interface=storm-s --bind-interfaces \
    --dhcp-range=10.79.16.1,10.79.47.254,255.255.0.0,1h --dhcp-leasefile="$work/dnsmasq.leases" --log-facility=/dev/null \
    --dhcp-lease-max=4096 --dhcp-userclass=set:ipxe,iPXE --dhcp-boot=undionly.kpxe \
    --dhcp-boot='tag:ipxe,http://10.79.0.1/scripts/${netX/mac:hexhyp}.ipxe' \
    --enable-tftp --tftp-root="$work/tftp" --tftp-max=4096 --user=root >/dev/null 2>&1 &
  local dnsmasq=$!
  sleep 1
  rm -f "$work/dnsmasq.leases"
  play $nginx $dnsmasq
  kill $nginx $dnsmasq
  wait $nginx $dnsmasq 2>/dev/null || true
}

for r in $(seq "$rounds"); do
  echo "round $r bootstead     $(ours)"
  echo "round $r dnsmasq+nginx $(peers)"
done | tee "$work/rounds"
python3 - "$work/rounds" "$nodes" <<'EOP'
import re, statistics, sys
rows = {}
for line in open(sys.argv[1]):
    who = line.split()[2]
    rows.setdefault(who, []).append({k: float(v) for k, v in re.findall(r"(\w+)=([0-9.]+)", line)})
mean = {w: {k: statistics.median(r.get(k, 0) for r in rs) for k in rs[0]} for w, rs in rows.items()}
a, b = mean["bootstead"], mean["dnsmasq+nginx"]
nodes = int(sys.argv[2])
print(f"whole boot, {nodes} nodes, median of {len(rows['bootstead'])} rounds (ratio to dnsmasq + nginx)")
for key, name in (("seconds", "time, s"), ("cpu_s", "CPU, s"), ("peak_mb", "peak memory, MB"), ("idle_mb", "idle memory, MB"),
                  ("dhcp_p99_ms", "DHCP p99, ms"), ("script_p99_ms", "script p99, ms"), ("retransmits", "retransmits"), ("failed", "failed nodes")):
    ratio = f"{a[key] / b[key]:.2f}" if b[key] else "-"
    print(f"  {name:18} bootstead {a[key]:10.2f}   dnsmasq+nginx {b[key]:10.2f}   ratio {ratio}")
if b["failed"]:
    print(f"  the peer failed {b['failed']:.0f} nodes: its time and CPU are for less work")
lost = sum(r.get("failed", nodes) for r in rows["bootstead"])
sys.exit(f"storm: bootstead failed {lost:.0f} nodes" if lost else 0)
EOP
