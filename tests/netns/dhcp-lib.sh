# Owns the network of the DHCP tests. To be sourced by tests/netns/dhcp*.sh.
#
# One namespace `dhcp-s` with a bridge br0 (10.79.0.1/16) and the server; every client, rival and squatter has a
# namespace of its own on that bridge. All is in namespaces: nothing leaves this machine. Needs root.

binary=${BOOTSTEAD:-$PWD/target/x86_64-unknown-linux-gnu/release/bootstead}
work=$PWD/.work/netns-$(basename "$0" .sh)
spaces=()
server_pid=

say_ok() { echo "ok - $1"; }
say_bad() { echo "not ok - $1"; bad=1; }
# verdict NAME COMMAND...: one test
verdict() { local name=$1; shift; if "$@"; then say_ok "$name"; else say_bad "$name"; fi; }
bad=0

space() { # space NAME
  ip netns del "$1" 2>/dev/null || true
  ip netns add "$1"
  ip -n "$1" link set lo up
  spaces+=("$1")
}

finish() {
  local s pid
  for s in "${spaces[@]}"; do
    for pid in $(ip netns pids "$s" 2>/dev/null); do kill -9 "$pid" 2>/dev/null || true; done
  done
  { wait; } 2>/dev/null
  for s in "${spaces[@]}"; do ip netns del "$s" 2>/dev/null || true; done
  for s in $(mount | awk -v w="$work/" 'index($3, w) == 1 {print $3}'); do umount "$s" 2>/dev/null || true; done
}

network() {
  [ "$(id -u)" = 0 ] || { echo "skip - $0 needs root for network namespaces"; exit 0; }
  rm -rf "$work"; mkdir -p "$work/tree/images"
  trap finish EXIT
  trap 'exit 130' INT TERM
  space dhcp-s
  ip -n dhcp-s link add br0 type bridge forward_delay 0
  ip -n dhcp-s address add 10.79.0.1/16 dev br0
  ip -n dhcp-s link set br0 up
  printf 'summary = "test"\nfamily = "el9"\nversion = "9"\narch = "amd64"\nkernel = "k"\ninitrd = ["i"]\n' \
    >"$work/tree/images/test.toml"
}

machine() { # machine NAME MAC: a namespace with eth0 on the bridge
  space "$1"
  ip link add eth0 netns "$1" address "$2" type veth peer name "v-$1" netns dhcp-s
  ip -n dhcp-s link set "v-$1" master br0 up
  ip -n "$1" link set eth0 up
}

site() { # site [LINES OF [server]]: nodes 52:54:00:00:00:01 to :40 are 10.79.16.1 to .64
  mkdir -p "$work/site"
  {
    printf '[site]\nname = "test"\ndomain = "test.example"\n[server]\naddress = "10.79.0.1"\n'
    printf 'provisioning = "provisioning"\ndiscover = true\n%s\n' "${1:-}"
    printf '[network.provisioning]\ncidr = "10.79.0.0/16"\ngateway = "10.79.0.1"\npool = "%s"\n' "${POOL:-10.79.64.1-10.79.127.254}"
    printf '[role.compute]\nprofile = "compute"\nimage = "test"\nname = "compute-{n:04}"\ndisk = { min_gib = 10 }\n'
    printf 'addresses.provisioning = "10.79.16.1-10.79.16.64"\n'
  } >"$work/site/site.toml"
  { echo mac,role; for n in $(seq 1 64); do printf '52:54:00:00:00:%02x,compute\n' "$n"; done; } >"$work/site/nodes.csv"
}

serve() { # starts the server and waits until DHCP serves
  ip netns exec dhcp-s "$binary" --site "$work/site/site.toml" --tree "$work/tree" serve >"$work/server.log" 2>&1 &
  server_pid=$!
  for _ in $(seq 1 100); do
    grep -q "DHCP: full on" "$work/server.log" && return 0
    kill -0 "$server_pid" 2>/dev/null || return 1
    sleep 0.1
  done
  return 1
}
stop() { kill "$server_pid" 2>/dev/null || true; wait "$server_pid" 2>/dev/null || true; }
forget_journal() { rm -rf "$work"/site/.bootstead/journal*; }
journal() { # journal SQL-CONDITION: the events, as JSON lines
  python3 - "$work/site/.bootstead/journal.sqlite" "$1" <<'EOP'
import sqlite3, sys
db = sqlite3.connect(f"file:{sys.argv[1]}?mode=ro", uri=True)
for (text,) in db.execute(f"SELECT what FROM event WHERE {sys.argv[2]} ORDER BY seq"):
    print(text)
EOP
}

# ask NAME [UDHCPC OPTION...]: the address that udhcpc gets, or nothing
ask() {
  local name=$1; shift
  ip netns exec "$name" busybox udhcpc -i eth0 -n -q -f -t "${TRIES:-3}" -T "${WAIT:-1}" -s "$work/udhcpc" "$@" 2>"$work/udhcpc.log" || true
}
cat_script() {
  mkdir -p "$work"
  # Prints what was leased; BOOTFILE and others as busybox names them.
  printf '#!/bin/sh\n[ "$1" = bound ] && echo "$ip ${hostname:-} ${router:-}"\nexit 0\n' >"$work/udhcpc"
  chmod +x "$work/udhcpc"
}
pxe=(-V "PXEClient:Arch:00000:UNDI:002001" -x 0x5d:0000)
