#!/usr/bin/env bash
# Owns the agents' bench: the reference site (5 controllers, 3 database nodes, 1 monitor, 512 computes) planned, and 521
# simulated agents that work through that plan against one server; then the same number of hosts with Ansible, four
# empty steps each over its own `local` connection: the time that a step costs beside the work itself.
# Usage: agents.sh [COMPUTES]       needs root and `make build`; ANSIBLE=ansible-playbook of another place
set -euo pipefail
cd "$(dirname "$0")/../.."
computes=${1:-512}
binary=${BOOTSTEAD:-$PWD/target/x86_64-unknown-linux-gnu/release/bootstead}
work=$PWD/.work/agents
ns=bs-agents
rm -rf "$work"
mkdir -p "$work/site/.bootstead/images" "$work/tree/images"
cargo static --quiet --bench agents
agents=$(find target/x86_64-unknown-linux-gnu/release/deps -name 'agents-*' -type f -perm -u+x -printf '%T@ %p\n' | sort -n | tail -n 1 | cut -d' ' -f2)
finish() {
  local pid
  for pid in $(ip netns pids $ns 2>/dev/null); do kill "$pid" 2>/dev/null || true; done
  sleep 0.3
  ip netns del $ns 2>/dev/null || true
}
trap finish EXIT
finish
ip netns add $ns
ip -n $ns link set lo up
ip -n $ns address add 10.90.0.1/16 dev lo

python3 - "$work" "$computes" <<'EOP'
import hashlib, json, os, sys
work, computes = sys.argv[1], int(sys.argv[2])
site = f"{work}/site"
with open(f"{site}/site.toml", "w") as f:
    f.write('[site]\nname = "reference"\ndomain = "ref.example"\n[server]\naddress = "10.90.0.1"\ndhcp = "off"\n'
            '[network.provisioning]\ncidr = "10.90.0.0/16"\n[cluster]\n'
            '[vip.api]\nnetwork = "provisioning"\naddress = "10.90.0.2"\n[vars]\nrepository = ""\n')
    macs = []
    shared = '"repository", "hosts", "time", '
    split = 'parts = ["repository", "hosts", "time", "vip", "memcached", "client", "keystone", "placement", "nova"]\n'
    roles = [("controller", 5, "10.90.1.1-10.90.1.9", split),
             ("database", 3, "10.90.2.1-10.90.2.9", f'parts = [{shared}"galera", "rabbitmq"]\n'),
             ("monitor", 1, "10.90.3.1-10.90.3.9", ""), ("compute", computes, "10.90.16.1-10.90.31.254", "")]
    for kind, (role, count, addresses, parts) in enumerate(roles):
        f.write(f'[role.{role}]\nimage = "bench"\nname = "{role}-{{n:04}}"\ndisk = {{ min_gib = 10 }}\n{parts}'
                f'addresses.provisioning = "{addresses}"\n')
        for n in range(1, count + 1):
            mac = f"52:54:{kind:02x}:00:{n >> 8:02x}:{n & 255:02x}"
            macs.append(mac)
            f.write(f'[[node]]\nmac = "{mac}"\nrole = "{role}"\n')
open(f"{work}/macs", "w").write("\n".join(macs) + "\n")
with open(f"{work}/tree/images/bench.toml", "w") as f:
    f.write('summary = "bench"\nfamily = "debian12"\nversion = "12"\narch = "amd64"\nkernel = "linux"\n'
            'initrd = ["initrd.gz"]\ntree = "linux"\nsuite = "bookworm"\n')
shelf = f"{site}/.bootstead/images/bench"
os.makedirs(shelf)
manifest = {"format": 1, "origin": {"made by": "bench"}, "files": {}, "stored": {}}
for name in ("linux", "initrd.gz"):
    data = name.encode()
    open(f"{shelf}/{name}", "wb").write(data)
    info, digest = os.stat(f"{shelf}/{name}"), hashlib.sha256(data).hexdigest()
    manifest["stored"][name] = {"size": info.st_size, "mtime_ns": info.st_mtime_ns, "sha256": digest}
    manifest["files"][name] = {"size": info.st_size, "sha256": digest, "at": name}
json.dump(manifest, open(f"{shelf}/manifest.json", "w"))
EOP
b=("$binary" --site "$work/site/site.toml" --tree "$work/tree")
nodes=$(wc -l <"$work/macs")
"${b[@]}" check >/dev/null
"${b[@]}" node arm --all --yes "$nodes" >/dev/null

# The plan by itself: time, and the same bytes twice.
for n in 1 2; do
  before=$EPOCHREALTIME
  "${b[@]}" plan --json >"$work/plan$n.json"
  took=$(awk "BEGIN { printf \"%.3f\", $EPOCHREALTIME - $before }")
done
cmp "$work/plan1.json" "$work/plan2.json" || { echo "agents: two plans of one site differ" >&2; exit 1; }
steps=$(python3 -c 'import json,sys; print(len(json.load(open(sys.argv[1]))["steps"]))' "$work/plan1.json")
echo "plan for $nodes nodes: $steps steps in $took s, the same bytes twice"

ip netns exec $ns "${b[@]}" serve --no-dhcp >"$work/serve.log" 2>&1 &
server=$!
until [ -S "$work/site/.bootstead/control.sock" ]; do
  sleep 0.02
  kill -0 $server || { cat "$work/serve.log" >&2; exit 1; }
done
sleep 0.5
exec 7> >(python3 tests/bench/measure.py $server >"$work/cost")
measure=$!
ip netns exec $ns "$agents" --server 10.90.0.1 --http 80 --agents 8443 --state "$work/site/.bootstead" \
  --macs "$work/macs" --steps "$steps" --timeout 900 >"$work/felt" &
crowd=$!
until grep -q joined= "$work/felt"; do
  sleep 0.1
  kill -0 $crowd || { echo "agents: the generator ended early" >&2; exit 1; }
done
"${b[@]}" apply --yes --json >"$work/applied" || { cat "$work/applied" >&2; exit 1; }
status=0
wait $crowd || status=1
exec 7>&-
wait $measure || true
done=$("${b[@]}" steps --json | python3 -c 'import json,sys; s=json.load(sys.stdin)["steps"]; print(sum(x["status"] == "done" for x in s))')
[ "$done" = "$steps" ] || { echo "agents: $done of $steps steps are done in the journal" >&2; status=1; }
kill -TERM $server
wait $server || true
cat "$work/felt"

# The peer: as many hosts, raw steps, no facts, 50 forks.
ansible=${ANSIBLE:-$(command -v ansible-playbook || true)}
if [ -n "$ansible" ]; then
  python3 - "$work" "$nodes" <<'EOP'
import sys
work, nodes = sys.argv[1], int(sys.argv[2])
with open(f"{work}/hosts", "w") as f:
    f.writelines(f"node{n:04} ansible_connection=local ansible_python_interpreter={sys.executable}\n" for n in range(nodes))
with open(f"{work}/play.yml", "w") as f:
    f.write("- hosts: all\n  gather_facts: false\n  tasks:\n" + "    - raw: 'true'\n" * 4)
EOP
  before=$EPOCHREALTIME
  ANSIBLE_LOCALHOST_WARNING=false "$ansible" -f 50 -i "$work/hosts" "$work/play.yml" >"$work/ansible.log" 2>&1 &
  playing=$!
  exec 7> >(python3 tests/bench/measure.py $playing >"$work/peer-cost")
  measure=$!
  wait $playing || { tail -n 5 "$work/ansible.log" >&2; status=1; }
  peer=$(awk "BEGIN { printf \"%.3f\", $EPOCHREALTIME - $before }")
  exec 7>&-
  wait $measure || true
fi
python3 - "$work" "$steps" "$nodes" "${peer:-0}" <<'EOP'
import re, sys
work, steps, nodes, peer = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4])
read = lambda f: {k: float(v) for k, v in re.findall(r"(\w+)=([0-9.]+)", open(f"{work}/{f}").read())}
felt, cost = read("felt"), read("cost")
print(f"{nodes} agents, {steps} steps against one server:")
print(f"  makespan      {felt['seconds']:8.1f} s   {felt['seconds'] / steps * 1000:.2f} ms per step")
print(f"  server's CPU  {cost['cpu_s']:8.1f} s   {cost['cpu_s'] / steps * 1000:.2f} ms per step")
print(f"  server's memory, peak {cost['peak_mb']:.1f} MB (idle {cost['idle_mb']:.1f} MB)")
if peer:
    per, other = felt["seconds"] / steps, peer / (nodes * 4)
    theirs = read("peer-cost")
    print(f"  Ansible, {nodes} hosts x 4 empty steps, 50 forks: {peer:.1f} s, {other * 1000:.2f} ms per step, peak {theirs['peak_mb']:.0f} MB")
    print(f"  ratio, time per step: {per / other:.3f}")
EOP
exit $status
