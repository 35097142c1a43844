# Owns the cluster laboratory: real systemd nodes on one machine, each a container of systemd-nspawn with a network
# namespace of its own, on the bridge of the lab (lib.sh), where the server under test has its address.
# To be sourced from the repository's root, after lib.sh.
#
#   nodes_base [--bare]                makes and caches the bare Debian root and, without --bare, the package repository
#   nodes_layer LAYER PACKAGE...       makes and caches a layer with these packages installed, nothing enabled
#   nodes_lab NAME ADDRESS/PREFIX      the lab's network (lab_up), and at exit everything of the nodes goes too
#   node_prepare [--layer LAYER] NAME ADDRESS [MAC]    a freshly installed node, still off; files go to $(node_root NAME)
#   node_boot NAME [SECONDS]           powers it on, also again after a cut or a stop; returns when systemd has started
#   node_up [--layer LAYER] NAME ADDRESS [MAC]         both
#   node_run NAME COMMAND...           runs a command on it, as root, with the caller's stdin; its exit code
#   node_root NAME                     path of its root directory, whether it is on or off
#   node_cut NAME                      pulls its plug: first the link, then everything dies; nobody hears a word
#   node_stop NAME [SECONDS]           orderly power-off
#   node_alive NAME                    whether it is on
#   node_pid NAME                      its PID 1, as this machine sees it
#   node_memory NAME                   MiB that its processes use, by its control group;  node_cpu NAME: seconds
#   node_journal NAME [ARGUMENT...]    journalctl over its journal, also when it is off
#   nodes_down                         ends all nodes, removes all of theirs
#
# A node's disk is an overlay on the bare root (or on a layer), so it survives cuts and costs what it writes. /opt/repo
# is its only package source, a directory repository of what cluster.packages names (with --bare it has none); there is
# no way out of the lab.
# It has all capabilities but the one to set the clock, which is this machine's; chrony runs with -x for that reason.
# The link is made anew at each boot: an address that the cluster had put on it is gone after a cut, as on a machine.
# If there is a function node_link_more, it gets the node's name then and makes more links.
# Cached in $NODES_CACHE until the package lists change; remove that folder to take up the archive's newer versions.
# Files of a run: $LAB_DIR/nodes/NAME (upper: what the node wrote), $LAB_DIR/NAME.console. Needs root.

NODES_CACHE=${BOOTSTEAD_TEST_CLUSTER:-$PWD/.work/cluster}
NODES_SUITE=bookworm
NODES_LIST=${NODES_LIST:-$PWD/tests/lab/cluster.packages}
# What the installer leaves on a disk: systemd and the means to fetch and run an agent, nothing of the cluster.
NODES_BARE="systemd systemd-sysv dbus iproute2 iputils-ping ca-certificates curl procps python3-minimal kmod netbase"

nodes_say() { lab_say "nodes: $*" >&2; }
nodes_wrong() { echo "nodes: $*" >&2; return 1; }

# nodes_until SECONDS COMMAND...: like wait_for, but ten times a second and without words.
nodes_until() {
  local end=$((SECONDS + $1))
  shift
  until "$@" >/dev/null 2>&1; do
    [ $SECONDS -lt "$end" ] || return 1
    sleep 0.1
  done
}

# --- what is cached ---------------------------------------------------------------------------------------------------

nodes_base() {
  local tool bare=${1:-}
  mkdir -p "$NODES_CACHE/repo"
  nodes_source='deb [trusted=yes] file:///opt/repo ./'
  [ "$bare" != --bare ] || nodes_source=
  ! nodes_current "$NODES_CACHE/base" "$(nodes_base_key)" ||
    { [ "$bare" != --bare ] && ! nodes_current "$NODES_CACHE/repo" "$(nodes_repo_key)"; } || return 0
  [ "$(id -u)" = 0 ] || { nodes_wrong "making the bare root needs root: run it with sudo"; return; }
  for tool in mmdebstrap apt-ftparchive systemd-nspawn; do
    command -v $tool >/dev/null || { nodes_wrong "$tool is missing; run: tests/tools/setup.sh lab cluster"; return; }
  done
  mkdir -p "$NODES_CACHE"
  (
    flock -w 1800 9 || { nodes_wrong "$NODES_CACHE/lock is held for 30 minutes; another run is stuck"; exit 1; }
    nodes_make_base && { [ "$bare" = --bare ] || nodes_make_repo; }
  ) 9>"$NODES_CACHE/lock"
}

nodes_wanted() { sed -E 's/#.*//; s/[[:space:]]+//g; /^$/d' "$NODES_LIST"; }
# A key stands for what was asked for and for the recipe: what an older one made is made anew.
nodes_base_key() { { echo "$NODES_SUITE $NODES_BARE"; declare -f nodes_make_base; } | sha256sum | cut -c1-16; }
nodes_repo_key() { { nodes_base_key; nodes_wanted | sort -u; declare -f nodes_make_repo; } | sha256sum | cut -c1-16; }

# nodes_current FOLDER KEY: whether FOLDER was made for KEY.
nodes_current() { [ "$(cat "$1.key" 2>/dev/null)" = "$2" ] && [ -d "$1" ]; }

# apt source lines for the suite: the Debian archives that this machine's apt uses.
nodes_sources() {
  local signed=/usr/share/keyrings/debian-archive-keyring.gpg sites main security
  # shellcheck disable=SC2016 # apt fills these in
  sites=$(apt-get indextargets --format '$(SITE) $(ORIGIN) $(LABEL)' 'Created-By: Packages' | sort -u)
  main=$(sed -n 's/ Debian Debian$//p' <<<"$sites" | head -n 1)
  security=$(sed -n 's/ Debian Debian-Security$//p' <<<"$sites" | head -n 1)
  [ -n "$main" ] || { nodes_wrong "this machine's apt knows no Debian mirror; run: apt-get update"; return; }
  echo "deb [signed-by=$signed] $main $NODES_SUITE main"
  echo "deb [signed-by=$signed] $main $NODES_SUITE-updates main"
  [ -z "$security" ] || echo "deb [signed-by=$signed] $security $NODES_SUITE-security main"
}

# How this machine's apt reaches the network, and nothing else of its configuration.
nodes_apt_network() { apt-config dump | grep -iE '^Acquire::(http|ftp|Retries|Queue|Check-|ForceIP)' || true; }

nodes_make_base() {
  local key dir=$NODES_CACHE/base option options=()
  key=$(nodes_base_key)
  ! nodes_current "$dir" "$key" || return 0
  nodes_say "making the bare $NODES_SUITE root (one to three minutes)"
  rm -rf --one-file-system "$dir" "$dir.new" "$dir.key"
  nodes_sources >"$NODES_CACHE/base.list" || return
  while read -r option; do options+=("--aptopt=$option"); done < <(nodes_apt_network)
  # In namespaces of its own: no mount and no process stays behind, whatever happens to this shell.
  nice timeout 1200 unshare --mount --pid --fork --kill-child mmdebstrap --variant=minbase --mode=root \
    --include="${NODES_BARE// /,}" --aptopt='Apt::Install-Recommends "false"' "${options[@]}" \
    "$NODES_SUITE" "$dir.new" "$NODES_CACHE/base.list" >"$NODES_CACHE/base.log" 2>&1 </dev/null ||
    { tail -n 5 "$NODES_CACHE/base.log" >&2; nodes_wrong "mmdebstrap failed; its words: $NODES_CACHE/base.log"; return; }
  # It has no package source of its own (nodes_source); this machine's proxies are none of its business.
  rm -rf "$dir.new"/etc/apt/apt.conf.d/99mmdebstrap "$dir.new"/var/lib/apt/lists "$dir.new"/var/cache/apt/*.bin
  mkdir -p "$dir.new"/var/lib/apt/lists/partial "$dir.new"/opt/repo
  rm -f "$dir.new"/etc/apt/sources.list.d/*
  : >"$dir.new"/etc/apt/sources.list
  # mmdebstrap copies these from this machine.
  rm -f "$dir.new"/etc/hostname "$dir.new"/etc/resolv.conf
  : >"$dir.new"/etc/resolv.conf
  printf '127.0.0.1\tlocalhost\n' >"$dir.new"/etc/hosts
  : >"$dir.new"/etc/machine-id
  # Nobody can log in on a console that nobody can type at.
  ln -s /dev/null "$dir.new"/etc/systemd/system/console-getty.service
  mv "$dir.new" "$dir"
  echo "$key" >"$dir.key"
  nodes_say "the bare root is $(du -sm "$dir" | cut -f1) MiB"
}

# Each listed package with what it needs beyond the bare root. One by one: installed alone, a package may want another
# alternative of a dependency than beside its neighbours in the list.
nodes_make_repo() {
  local key dir=$NODES_CACHE/repo apt=$NODES_CACHE/apt package
  key=$(nodes_repo_key)
  ! nodes_current "$dir" "$key" || return 0
  nodes_say "downloading what $(nodes_wanted | wc -l) packages need (a minute or two)"
  rm -rf "$apt" "$dir.key"
  mkdir -p "$apt/lists/partial" "$apt/cache" "$apt/empty/apt.conf.d" "$dir/partial"
  nodes_sources >"$apt/sources.list" || return
  {
    nodes_apt_network
    cat <<END
Dir "$apt/empty"; Dir::State "$apt"; Dir::State::lists "$apt/lists"; Dir::State::status "$NODES_CACHE/base/var/lib/dpkg/status";
Dir::Cache "$apt/cache"; Dir::Cache::archives "$dir"; Dir::Etc "$apt/empty"; Dir::Etc::sourcelist "$apt/sources.list";
Dir::Etc::netrc "/etc/apt/auth.conf"; Dir::Etc::netrcparts "/etc/apt/auth.conf.d"; Dir::Log "$apt/empty";
APT::Sandbox::User "root"; APT::Install-Recommends "false"; Acquire::Languages "none"; Acquire::Retries "3";
END
  } >"$apt/apt.conf"
  APT_CONFIG=$apt/apt.conf nice timeout 300 apt-get update -qq -o APT::Update::Error-Mode=any ||
    { nodes_wrong "the indexes of $NODES_SUITE cannot be had from this machine's mirror"; return; }
  while read -r package; do
    APT_CONFIG=$apt/apt.conf nice timeout 600 apt-get install -qq -y --download-only "$package" </dev/null \
      >"$apt/log" 2>&1 ||
      { cat "$apt/log" >&2
        nodes_wrong "$NODES_LIST: $package cannot be had from $NODES_SUITE; correct its name or remove the line"
        return; }
  done < <(nodes_wanted | sort -u)
  # What an earlier list had asked for, or an older version, is in nobody's way.
  (cd "$dir" && rm -rf partial lock Packages Release && nice apt-ftparchive packages . >Packages &&
    apt-ftparchive release . >"$apt/Release" && mv "$apt/Release" Release) ||
    { nodes_wrong "apt-ftparchive cannot index $dir"; return; }
  rm -rf "$apt"
  echo "$key" >"$dir.key"
  nodes_say "the repository has $(find "$dir" -name '*.deb' | wc -l) packages, $(du -sm "$dir" | cut -f1) MiB"
}

# --- layers -----------------------------------------------------------------------------------------------------------

nodes_layer() {
  local layer=$1 key dir=$NODES_CACHE/layers/$1
  shift
  nodes_base || return
  # Not the repository's key: a longer list makes no other layer.
  key=$({ nodes_base_key; printf '%s\n' "$@" | sort -u; declare -f nodes_make_layer; } | sha256sum | cut -c1-16)
  ! nodes_current "$dir" "$key" || return 0
  (
    flock -w 1800 9 || { nodes_wrong "$NODES_CACHE/lock is held for 30 minutes; another run is stuck"; exit 1; }
    nodes_current "$dir" "$key" || nodes_make_layer "$layer" "$key" "$@"
  ) 9>"$NODES_CACHE/lock"
}

# The packages as an agent leaves them that was told not to start services, but nothing is enabled: what is started and
# when is the cluster plan's business. In namespaces of its own, without a network.
nodes_make_layer() {
  local layer=$1 key=$2 dir=$NODES_CACHE/layers/$1 new=$NODES_CACHE/layers/$1.new
  shift 2
  nodes_say "making the layer $layer: $*"
  rm -rf --one-file-system "$dir" "$new" "$dir.key" "$dir.log"
  mkdir -p "$new/upper" "$new/work" "$new/root"
  # shellcheck disable=SC2016 # the inner shell's own arguments
  nice timeout 1200 unshare --mount --net --uts --ipc --pid --fork --kill-child bash -euc '
    cd "$1"; repo=$2; base=$3; shift 3
    # nova-common cannot be installed where the machine does not know its own name.
    hostname localhost
    mount -t overlay -o "lowerdir=$base,upperdir=upper,workdir=work,volatile" layer root
    mount --bind -o ro "$repo" root/opt/repo
    mount -t proc proc root/proc
    mount -t tmpfs tmpfs root/run
    mount -t tmpfs tmpfs root/tmp
    mount --rbind /dev root/dev
    printf "#!/bin/sh\nexit 101\n" >root/usr/sbin/policy-rc.d
    chmod 755 root/usr/sbin/policy-rc.d
    export DEBIAN_FRONTEND=noninteractive LC_ALL=C.UTF-8 PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root
    echo "deb [trusted=yes] file:///opt/repo ./" >root/etc/apt/sources.list
    chroot root apt-get update -q
    chroot root apt-get install -q -y --no-install-recommends "$@"
    rm root/usr/sbin/policy-rc.d
  ' - "$new" "$NODES_CACHE/repo" "$NODES_CACHE/base" "$@" >"$dir.log" 2>&1 </dev/null ||
    { tail -n 5 "$dir.log" >&2; nodes_wrong "the layer $layer could not be made; apt's words: $dir.log"; return; }
  # Also a unit's second name, by which systemd takes it for enabled. A link to nothing is another thing: a mask.
  find "$new/upper/etc/systemd/system" -type l ! -lname /dev/null -delete
  # What installing made up and two nodes may not share; the services make it up again when they start.
  rm -f "$new/upper/etc/openvswitch/system-id.conf" "$new/upper/var/lib/openvswitch/conf.db" \
    "$new/upper/var/lib/rabbitmq/.erlang.cookie"
  [ ! -e "$new/upper/etc/iscsi/initiatorname.iscsi" ] || echo GenerateName=yes >"$new/upper/etc/iscsi/initiatorname.iscsi"
  mv "$new/upper" "$dir"
  rm -rf --one-file-system "$new"
  echo "$key" >"$dir.key"
  nodes_say "the layer $layer is $(du -sm "$dir" | cut -f1) MiB"
}

# --- the lab ----------------------------------------------------------------------------------------------------------

nodes_lab() {
  [ "$(id -u)" = 0 ] || { nodes_wrong "network namespaces and containers need root: run it with sudo"; return; }
  mkdir -p "$LAB_DIR"
  LAB_DIR=$(cd "$LAB_DIR" && pwd)
  LAB_NS=$1
  nodes_gateway=${2%/*}
  nodes_prefix=${2#*/}
  # An earlier run that was killed has left its own.
  nodes_down || return
  lab_up "$1" "$2"
  trap nodes_exit EXIT
}

nodes_exit() {
  local status=$?
  set +e
  trap '' INT TERM
  nodes_down
  (exit $status)
  lab_down
}

nodes_down() {
  local dir status=0
  for dir in "$LAB_DIR"/nodes/*/; do
    [ ! -d "$dir" ] || node_remove "$(basename "$dir")" || status=1
  done
  [ ! -d "$LAB_DIR/nodes" ] || rmdir --ignore-fail-on-non-empty "$LAB_DIR/nodes"
  while read -r dir; do nodes_cgroup_remove "$dir" || status=1; done < <(nodes_cgroups)
  return $status
}

# --- one node ---------------------------------------------------------------------------------------------------------

node_dir() { echo "$LAB_DIR/nodes/$1"; }
node_root() { echo "$LAB_DIR/nodes/$1/root"; }
node_file() { cat "$LAB_DIR/nodes/$1/$2" 2>/dev/null; }
node_known() { [ -d "$(node_dir "$1")/root" ] || nodes_wrong "no node $1 was prepared in this lab"; }

node_up() {
  node_prepare "$@" || return
  [ "$1" != --layer ] || shift 2
  node_boot "$1"
}

node_prepare() {
  local layer='' lower=$NODES_CACHE/base dir root
  if [ "$1" = --layer ]; then
    layer=$2
    shift 2
    lower=$NODES_CACHE/layers/$layer:$lower
    [ -d "$NODES_CACHE/layers/$layer" ] ||
      { nodes_wrong "no layer $layer; make it with nodes_layer $layer PACKAGE..."; return; }
  fi
  local name=$1 address=$2 mac=${3:-}
  [[ $name =~ ^[a-z0-9][a-z0-9-]{0,12}$ ]] ||
    { nodes_wrong "node name $name: up to 13 small letters, digits and hyphens, for its link's name"; return; }
  [ -d "$NODES_CACHE/base" ] || { nodes_wrong "no bare root in $NODES_CACHE; call nodes_base first"; return; }
  dir=$(node_dir "$name")
  root=$dir/root
  [ ! -d "$dir" ] || node_remove "$name" || return
  mkdir -p "$dir/upper" "$dir/work" "$root"
  # volatile: the node's fsync waits for no disk. This machine's page cache outlives the node, so nothing is lost.
  mount -t overlay -o "lowerdir=$lower,upperdir=$dir/upper,workdir=$dir/work,volatile" "$LAB_NS-$name" "$root" ||
    { nodes_wrong "cannot mount the overlay of $name on $root"; return; }
  [ -n "$mac" ] || mac=52:54:00:$(printf '%s' "$name" | sha256sum | sed -E 's/^(..)(..)(..).*/\1:\2:\3/')
  echo "$address" >"$dir/address"
  echo "$mac" >"$dir/mac"
  echo "$name" >"$root/etc/hostname"
  [ -z "$nodes_source" ] || echo "$nodes_source" >"$root/etc/apt/sources.list"
  printf '127.0.0.1\tlocalhost\n127.0.1.1\t%s\n' "$name" >"$root/etc/hosts"
  printf '%s' "$LAB_NS-$name" | sha256sum | cut -c1-32 >"$root/etc/machine-id"
  # All nodes share this machine's clock and none may set it; chrony does all else that it does.
  mkdir -p "$root/etc/systemd/system/chrony.service.d"
  cat >"$root/etc/systemd/system/chrony.service.d/lab.conf" <<'END'
[Unit]
ConditionCapability=
[Service]
ExecStart=
ExecStart=!/usr/sbin/chronyd -x $DAEMON_OPTS
END
}

node_boot() {
  local name=$1 limit=${2:-120}
  node_known "$name" || return
  ! node_alive "$name" || { nodes_wrong "node $name is on already"; return; }
  node_keep "$name" </dev/null >>"$LAB_DIR/$name.console" 2>&1 &
  echo $! >"$(node_dir "$name")/keeper"
  # A plain `wait` of the caller means the caller's own children.
  disown $!
  nodes_until "$limit" node_started "$name" ||
    { tail -n 5 "$LAB_DIR/$name.console" >&2
      nodes_wrong "node $name has not started after $limit s; its console: $LAB_DIR/$name.console"; }
}

node_started() {
  case $(node_run "$1" systemctl is-system-running) in running | degraded) ;; *) return 1 ;; esac
}

# Keeps a node on: a container that asks for a reboot is started anew, with a link and control groups like new.
node_keep() {
  local name=$1 status=133 group groups arguments
  set +e
  arguments=(--quiet --boot --directory="$(node_root "$name")" --machine="$LAB_NS-$name" --hostname="$name"
    --register=no --keep-unit --network-namespace-path="/run/netns/$LAB_NS-$name"
    --capability=all --drop-capability=CAP_SYS_TIME --resolv-conf=off --timezone=off --link-journal=no
    --console=read-only)
  # What a real node would not have must not help a test of bare nodes.
  [ -z "$nodes_source" ] || arguments+=(--bind-ro="$NODES_CACHE/repo:/opt/repo")
  [ ! -e /dev/net/tun ] || arguments+=(--bind=/dev/net/tun)
  while [ $status = 133 ]; do
    node_link_down "$name"
    node_link_up "$name" || return
    node_cgroups_remove "$name"
    groups=$(node_cgroups "$name")
    while read -r group; do mkdir -p "$group"; done <<<"$groups"
    (
      # 0 means: the process that writes.
      while read -r group; do echo 0 >"$group/cgroup.procs"; done <<<"$groups"
      # Without it the node could not set net.ipv4.ip_nonlocal_bind.
      SYSTEMD_NSPAWN_API_VFS_WRITABLE=network exec systemd-nspawn "${arguments[@]}"
    ) &
    echo $! >"$(node_dir "$name")/supervisor"
    wait $!
    status=$?
    rm -f "$(node_dir "$name")/supervisor"
  done
}

node_link_up() {
  local ns=$LAB_NS-$1
  # The kernel tears namespaces and links down at its leisure; until then their names are taken.
  nodes_until 20 ip netns add "$ns" && nodes_until 20 node_link_add "$1" &&
    ip -n "$LAB_NS" link set "n-$1" master br0 up && ip -n "$ns" link set lo up &&
    ip -n "$ns" address add "$(node_file "$1" address)/$nodes_prefix" dev eth0 && ip -n "$ns" link set eth0 up &&
    ip -n "$ns" route add default via "$nodes_gateway" && { ! declare -F node_link_more >/dev/null || node_link_more "$1"; }
}
node_link_add() {
  ip -n "$LAB_NS" link add "n-$1" type veth peer name eth0 address "$(node_file "$1" mac)" netns "$LAB_NS-$1"
}
node_link_down() {
  ip -n "$LAB_NS" link del "n-$1" 2>/dev/null
  ip netns del "$LAB_NS-$1" 2>/dev/null
  return 0
}

# PID 1 of a node: the supervisor's child that is number 1 in a namespace of its own, once it is systemd.
node_pid() {
  local supervisor pid
  supervisor=$(node_file "$1" supervisor) || return 1
  for pid in $(pgrep -P "$supervisor"); do
    if [ "$(cat "/proc/$pid/comm" 2>/dev/null)" = systemd ] &&
      awk '/^NSpid:/ { exit !(NF > 2 && $NF == 1) }' "/proc/$pid/status" 2>/dev/null; then
      echo "$pid"
      return 0
    fi
  done
  return 1
}
node_alive() { node_pid "$1" >/dev/null; }

node_run() {
  local name=$1 pid
  shift
  pid=$(node_pid "$name") || { nodes_wrong "node $name is off"; return 255; }
  nsenter --target "$pid" --all -- setpriv --inh-caps=-sys_time --bounding-set=-sys_time \
    env -i HOME=/root LANG=C.UTF-8 TERM="${TERM:-dumb}" PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin "$@"
}

node_cut() {
  local pid
  pid=$(node_pid "$1") || { nodes_wrong "node $1 is off already"; return; }
  # The link first: dying processes would still say FIN and RST, and a failover would look better than it is.
  ip -n "$LAB_NS" link set "n-$1" down
  kill -9 "$pid"
  node_gone "$1" 60
}

node_stop() {
  local pid
  pid=$(node_pid "$1") || { nodes_wrong "node $1 is off already"; return; }
  kill -s RTMIN+4 "$pid"
  ! node_gone "$1" "${2:-120}" || return 0
  node_cut "$1"
  nodes_wrong "node $1 did not power off in order; its plug was pulled"
}

# Waits until nothing of the node runs any more, then takes its link away.
node_gone() {
  nodes_until "$2" node_ended "$1" || { nodes_wrong "node $1 is still on after $2 s"; return; }
  node_link_down "$1"
}
node_ended() { local keeper; keeper=$(node_file "$1" keeper) || return 0; ! kill -0 "$keeper"; }

node_remove() {
  local name=$1 dir pid
  dir=$(node_dir "$name")
  # Without its PID 1 the supervisor ends by itself, after the last process. One that boots has none yet.
  pid=$(node_pid "$name" || node_file "$name" supervisor) && kill -9 "$pid" 2>/dev/null
  node_gone "$name" 60 || true
  node_link_down "$name"
  node_cgroups_remove "$name"
  if mountpoint -q "$dir/root"; then
    nodes_until 20 umount "$dir/root" ||
      { nodes_wrong "$dir/root is still in use; find out by what: fuser -vm $dir/root"; return; }
  fi
  [ -n "${LAB_KEEP_DISKS:-}" ] || rm -rf --one-file-system "$dir"
}

node_journal() {
  local name=$1
  shift
  node_known "$name" && journalctl --no-pager -D "$(node_root "$name")/var/log/journal" "$@"
}

# --- control groups ---------------------------------------------------------------------------------------------------

# The lab's folders, one per line: in the hierarchy that systemd needs, and in those that count memory and CPU time.
# Version 1: below this shell's own group. Version 2: below the root, as a group with processes cannot share its counters.
nodes_cgroups() {
  local h own top=/sys/fs/cgroup
  if [ -e $top/cgroup.controllers ]; then
    echo "$top/$LAB_NS.nodes"
    return
  fi
  for h in systemd unified memory cpuacct; do
    [ -d "$top/$h" ] || continue
    own=$(awk -F: -v h="$h" '
      h == "unified" && $1 == 0 { print $3 }
      { n = split($2, a, ","); for (i = 1; i <= n; i++) if (a[i] == h || a[i] == "name=" h) print $3 }' /proc/self/cgroup)
    [ -d "$top/$h$own" ] || own=
    own=${own%/}
    echo "$top/$h$own/$LAB_NS.nodes"
  done
}

node_cgroups() {
  local group
  while read -r group; do
    if [ -e "$group/../cgroup.subtree_control" ]; then
      mkdir -p "$group"
      echo '+memory +cpu' | tee "$group/../cgroup.subtree_control" "$group/cgroup.subtree_control" >/dev/null 2>&1
    fi
    echo "$group/$1"
  done < <(nodes_cgroups)
}

node_cgroups_remove() {
  local group
  while read -r group; do nodes_cgroup_remove "$group/$1" || return; done < <(nodes_cgroups)
}

# A control group with all below it. Killed processes leave theirs a moment later than their parents hear of it.
nodes_cgroup_remove() {
  [ ! -d "$1" ] || nodes_until 20 nodes_cgroup_try "$1" || nodes_wrong "processes are left in control group $1"
}
nodes_cgroup_try() { find "$1" -depth -type d -exec rmdir {} \;; [ ! -d "$1" ]; }

# node_counter NAME FILE: the first of its control groups' files of that name.
node_counter() {
  local group
  while read -r group; do
    [ ! -r "$group/$1/$2" ] || { cat "$group/$1/$2"; return 0; }
  done < <(nodes_cgroups)
  return 1
}

# Without file pages: anonymous memory and shared memory, which is what does not go away under pressure.
node_memory() {
  { node_counter "$1" memory.stat || nodes_wrong "no control group counts the memory of node $1"; } |
    awk '/^total_(rss|shmem) / { one += $2 } /^(anon|shmem) / { two += $2 } END { printf "%d\n", (one ? one : two) / 1048576 }'
}

node_cpu() {
  { node_counter "$1" cpuacct.usage || node_counter "$1" cpu.stat | awk '/^usage_usec/ { print $2 * 1000 }'; } |
    awk '{ printf "%.1f\n", $1 / 1000000000 }'
}
