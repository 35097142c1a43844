# Owns what the benches share: two namespaces and a cable (each end is named as its namespace), a control group for each,
# a site with one image, the generator. Sourced after `work`, `ns_s`, `ns_c` are set; leaves `binary`, the generator
# `fetch` (or the one that `generator` names), and the functions `inside`, `play`, `ours`, `table`.
target=target/x86_64-unknown-linux-gnu/release
# BOOTSTEAD and GENERATOR name other builds of the two programs.
binary=${BOOTSTEAD:-$PWD/$target/bootstead}
rm -rf "$work"
mkdir -p "$work/site/.bootstead/images" "$work/tree/images" "$work/www"
if [ -z "${GENERATOR:-}" ]; then
  generator=${generator:-fetch}
  cargo static --quiet --bench $generator
  GENERATOR=$(find $target/deps -name "$generator-*" -type f -perm -u+x -printf '%T@ %p\n' | sort -n | tail -n 1 | cut -d' ' -f2)
fi
fetch=$GENERATOR

finish() {
  local ns pid
  for ns in "$ns_s" "$ns_c"; do
    for pid in $(ip netns pids "$ns" 2>/dev/null); do kill "$pid" 2>/dev/null || true; done
  done
  sleep 0.5
  for ns in "$ns_s" "$ns_c"; do
    ip netns del "$ns" 2>/dev/null || true
    rmdir /sys/fs/cgroup{,/cpu,/cpuacct}/"$ns" 2>/dev/null || true
  done
}
trap finish EXIT
finish
ip netns add "$ns_s"
ip netns add "$ns_c"
ip link add "$ns_s" netns "$ns_s" type veth peer name "$ns_c" netns "$ns_c"
ip -n "$ns_s" link set lo up
ip -n "$ns_s" address add 10.79.0.1/16 dev "$ns_s"
ip -n "$ns_s" link set "$ns_s" up
ip -n "$ns_c" address add 10.79.0.2/16 dev "$ns_c"
ip -n "$ns_c" link set "$ns_c" up

# Servers and clients each have a control group of the same raised weight: a server of many processes gets no more
# of a busy machine than one of one thread, and the time of children that ended counts too.
v1=/sys/fs/cgroup/cpuacct
for ns in "$ns_s" "$ns_c"; do
  if [ -d $v1 ]; then
    mkdir -p "$v1/$ns" "/sys/fs/cgroup/cpu/$ns"
    echo 16384 >"/sys/fs/cgroup/cpu/$ns/cpu.shares"
  else
    echo +cpu >/sys/fs/cgroup/cgroup.subtree_control
    mkdir -p "/sys/fs/cgroup/$ns"
    echo 1600 >"/sys/fs/cgroup/$ns/cpu.weight"
  fi
done
inside() { # NAMESPACE COMMAND...: becomes the command, in the namespace and its control group
  if [ -d $v1 ]; then
    echo $BASHPID >"$v1/$1/cgroup.procs"
    echo $BASHPID >"/sys/fs/cgroup/cpu/$1/cgroup.procs"
  else
    echo $BASHPID >"/sys/fs/cgroup/$1/cgroup.procs"
  fi
  exec ip netns exec "$@"
}
used() { # processor microseconds of the servers so far
  if [ -d $v1 ]; then echo $(($(cat "$v1/$ns_s/cpuacct.usage") / 1000)); else
    awk '/^usage_usec/ { print $2 }' "/sys/fs/cgroup/$ns_s/cpu.stat"; fi
}

# shelve FOLDER FILE...: puts files onto Bootstead's shelf.
shelve() { python3 tests/tools/shelve.py "$work/site/.bootstead/images" "$@"; }

cat >"$work/site/site.toml" <<'EOT'
[site]
name = "bench"
domain = "bench.example"
[server]
address = "10.79.0.1"
provisioning = "provisioning"
dhcp = "off"
[network.provisioning]
cidr = "10.79.0.0/16"
[role.compute]
profile = "compute"
image = "bench"
name = "compute-{n:04}"
disk = { min_gib = 10 }
addresses.provisioning = "10.79.16.1-10.79.47.254"
[[node]]
mac = "52:54:00:00:00:01"
role = "compute"
EOT
cat >"$work/tree/images/bench.toml" <<'EOT'
summary = "bench"
family = "el9"
version = "9"
arch = "amd64"
kernel = "bulk"
initrd = []
EOT

# play WHO PIDS... -- COMMAND...: prints "WHO" with what the clients felt and what the servers cost.
play() {
  local who=$1 pids=()
  shift
  while [ "$1" != -- ]; do pids+=("$1"); shift; done
  shift
  exec 7> >(python3 tests/bench/measure.py "${pids[@]}" >"$work/cost")
  local measure=$!
  sleep 0.3
  local before
  before=$(used)
  (inside "$ns_c" "$@") >"$work/felt" || echo "failed=999999" >"$work/felt"
  local spent=$(($(used) - before))
  exec 7>&-
  wait $measure || true
  echo "$who $(tr '\n' ' ' <"$work/felt") $(cat "$work/cost") cpu_s=$((spent / 1000000)).$(printf %06d $((spent % 1000000)))"
}

ours() { # starts Bootstead; its pid in `pid`
  rm -rf "$work/site/.bootstead/"{journal*,lock,control.sock}
  inside "$ns_s" "$binary" --site "$work/site/site.toml" --tree "$work/tree" serve --no-dhcp >"$work/serve.log" 2>&1 &
  pid=$!
  answering
}
answering() { # waits until the server with `pid` answers
  until [ -S "$work/site/.bootstead/control.sock" ]; do sleep 0.02; kill -0 $pid || { cat "$work/serve.log" >&2; exit 1; }; done
}

# table FILE FIRST UNIT...: medians per server, ratios to FIRST.
table() {
  python3 - "$@" <<'EOP'
import re, statistics, sys
rows, first = {}, sys.argv[2]
for line in open(sys.argv[1]):
    who, rest = line.split(" ", 1)
    rows.setdefault(who, []).append({k: float(v) for k, v in re.findall(r"(\w+)=([0-9.]+)", rest)})
keys = sys.argv[3:]
med = {w: {k: statistics.median(r.get(k, 0) for r in rs) for k in keys} for w, rs in rows.items()}
print("  " + "server".ljust(22) + "".join(k.rjust(22) for k in keys) + f"   (median of {len(rows[first])}; ratio to {first})")
for who, m in med.items():
    cells = (f"{m[k]:.2f}" + (f" ({m[k] / med[first][k]:.2f})" if med[first][k] else "") for k in keys)
    print("  " + who.ljust(22) + "".join(c.rjust(22) for c in cells))
EOP
}
