# Owns what the laboratories of a cluster share: a site's nodes (real systemd, nodes.sh) are "installed", join, get their
# plan and are verified, all by Bootstead; words and waits of the tests. To be sourced from the repository's root.
#
#   cluster_watched NAME "$0" "$@"   on a terminal: the same again, with the live table of that scene beneath what it says
#   cluster_scene NAME            work folder .work/cluster-NAME; the caller writes $work/site/site.toml then
#   cluster_up                    images, network, server, nodes; each node's agent has joined (counted in $count)
#   cluster_done                  the plan is shown, exactly that one is put to work; verified
#   cluster_end                   server and nodes end; says how many passed
#   install, joined               see installed.sh
#   bootstead ...                 the program, for that site
#   ok TEXT, broken TEXT, soon SECONDS TEXT COMMAND..., since START TEXT SECONDS COMMAND...
#   os ...                        the openstack client on ctl1
#   holders, token, keystone, answers PORT, size NODE N     who has the address, what is asked through it, Galera's size
#
# CLUSTER_KEEP=1: stays up after a failure, until Enter. CLUSTER_BINARY: another bootstead. CLUSTER_TREE: profiles of a
# folder in place of the embedded ones.

. tests/lab/lib.sh
vip=10.78.0.100
controllers=(ctl1 ctl2 ctl3)
passed=0

cluster_watched() {
  local name=$1 script=$2
  shift 2
  { [ -t 1 ] && [ -z "${CLUSTER_WATCHED:-}" ]; } || return 0
  local binary=${CLUSTER_BINARY:-$PWD/target/x86_64-unknown-linux-gnu/release/bootstead}
  [ -x "$binary" ] || return 0
  export CLUSTER_WATCHED=1
  "tests/lab/$(basename "$script")" "$@" 2>&1 |
    "$binary" --site "$PWD/.work/cluster-$name/site/site.toml" status --watch --with-input
  exit
}

cluster_scene() {
  scene_name=$1
  work=$PWD/.work/cluster-$1
  LAB_DIR=$work/lab
  . tests/lab/nodes.sh
  . tests/lab/installed.sh
  binary=${CLUSTER_BINARY:-$PWD/target/x86_64-unknown-linux-gnu/release/bootstead}
  [ "$(id -u)" = 0 ] || { echo "cluster: it makes network namespaces and containers: run it as root" >&2; exit 3; }
  [ -x "$binary" ] || { echo "cluster: $binary is missing; run: make build" >&2; exit 3; }
  cluster_tree=()
  [ -z "${CLUSTER_TREE:-}" ] || cluster_tree=(--tree "$CLUSTER_TREE")
  mkdir -p "$work/site" "$LAB_DIR"
  rm -rf "$work/site/.bootstead"
  mkdir -p "$work/site/.bootstead" "${images:=${BOOTSTEAD_TEST_IMAGES:-$PWD/.work/images}}"
  ln -s "$images" "$work/site/.bootstead/images"
}
bootstead() { "$binary" --site "$work/site/site.toml" "${cluster_tree[@]}" "$@"; }

ok() { passed=$((passed + 1)); echo "ok - $1 ($((SECONDS - begun)) s)"; }
broken() {
  echo "not ok - $1"
  bootstead steps 2>&1 | tail -n 60 | sed 's/^/#   /' || true
  LAB_KEEP_DISKS=1
  echo "# journals: nodes below $LAB_DIR/nodes; the server's log: $work/serve.log"
  if [ "${CLUSTER_KEEP:-}" = 1 ]; then
    echo "# kept up; Enter ends it"
    read -r _ || sleep 3600
  fi
  exit 1
}
# soon SECONDS WHAT COMMAND...
soon() {
  local limit=$1 what=$2
  shift 2
  nodes_until "$limit" "$@" || broken "$what"
}
# since START WHAT SECONDS COMMAND...: how long after START the command succeeded first
since() {
  local from=$1 what=$2 limit=$3
  shift 3
  while ! "$@" >/dev/null 2>&1; do
    [ $((($(date +%s%N) - from) / 1000000000)) -lt "$limit" ] || broken "$what within $limit s of the cut"
    sleep 0.1
  done
  local t=$((($(date +%s%N) - from) / 1000000))
  echo "ok - $what after $((t / 1000)).$((t / 100 % 10)) s"
  passed=$((passed + 1))
}

serve() {
  # One that was killed leaves its own.
  rm -f "$work/site/.bootstead/control.sock"
  in_lab "$binary" --site "$work/site/site.toml" "${cluster_tree[@]}" serve >>"$work/serve.log" 2>&1 &
  server=$!
  soon 20 "the server answers" test -S "$work/site/.bootstead/control.sock"
}

cluster_up() {
  local name mac address pid booting=()
  # Armed is only what could be installed: the fast lane's system and the role's root are real.
  bootstead image fetch loaders --if-missing
  bootstead image build system --if-missing
  bootstead image build debian12 --if-missing
  # A site that names no source of its own takes the cluster's software from Bootstead, as its nodes do in the field.
  if grep -q /opt/repo "$work/site/site.toml"; then
    nodes_base
  else
    nodes_base --bare
    bootstead image fetch packages-bookworm --if-missing
  fi
  begun=$SECONDS
  nodes_lab "bs-$scene_name" 10.78.0.1/24
  : >"$work/serve.log"
  serve
  names=$(bootstead node list --json | python3 -c 'import json,sys; [print(n["name"], n["mac"], n["address"]) for n in json.load(sys.stdin)]')
  count=$(wc -l <<<"$names")
  bootstead node arm --all --yes "$count" >/dev/null
  while read -r name mac address; do
    install "$name" "$mac" "$address"
  done <<<"$names"
  while read -r name _; do
    node_boot "$name" &
    booting+=($!)
  done <<<"$names"
  for pid in "${booting[@]}"; do
    wait "$pid" || broken "the nodes start"
  done
  # shellcheck disable=SC2046 # node names are words
  soon 120 "every agent joins" joined $(cut -d' ' -f1 <<<"$names")
  ok "$count bare nodes called home and their agents joined"
}

cluster_done() {
  local start=$SECONDS digest name
  bootstead plan >"$work/plan.txt"
  tail -n 2 "$work/plan.txt"
  digest=$(sed -n 's/.*apply --digest \([0-9a-f]*\).*/\1/p' "$work/plan.txt")
  bootstead apply --digest "$digest" --wait 1800 || broken "the plan is done"
  ok "the plan is done in $((SECONDS - start)) s"
  bootstead status --json >"$work/board.json"
  python3 - "$work/board.json" <<'PY' || broken "every node is ready"
import json, sys
phases = {n["name"]: n["phase"] for n in json.load(open(sys.argv[1]))["nodes"]}
assert set(phases.values()) == {"ready"}, phases
PY
  bootstead verify --wait 240 || broken "the cluster is verified"
  ok "verified, $((SECONDS - start)) s after bare nodes"
  while read -r name _; do
    echo "# $name: $(node_memory "$name") MiB, $(node_cpu "$name") s of CPU"
  done <<<"$names"
}

cluster_end() {
  kill -TERM "$server"
  wait "$server" || true
  nodes_down
  echo "$passed passed, 0 failed: $1 in $((SECONDS - begun)) s"
}

holds() { node_run "$1" ip -o -4 addr show to $vip | grep -q .; }
holders() { for n in "${controllers[@]}"; do if node_alive "$n" && holds "$n"; then echo "$n"; fi; done; }
# who_holds: $holder has the address, $others have not
who_holds() {
  local n
  [ "$(holders | wc -l)" = 1 ] || broken "one holder of the address: $(holders | tr '\n' ' ')"
  holder=$(holders)
  others=()
  for n in "${controllers[@]}"; do [ "$n" = "$holder" ] || others+=("$n"); done
}
answers() { in_lab curl -fsS -m 1 -o /dev/null "http://$vip:$1/"; }
keystone() { in_lab curl -sS -m 1 -o /dev/null "http://$vip:5000/v3"; }
token() { node_run "${others[0]}" timeout 15 sh -c '. /root/openrc; OS_WAIT=4 exec /usr/libexec/bootstead/register --token'; }
os() { node_run ctl1 timeout 180 sh -c '. /root/openrc; exec openstack "$@"' openstack "$@"; }
size() { [ "$(node_run "$1" mariadb --protocol=socket -N -B -e "SHOW STATUS LIKE 'wsrep_cluster_size'" | cut -f2)" = "$2" ]; }
