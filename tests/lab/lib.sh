# Owns the lab: a private network in a namespace of its own and blank QEMU machines on it. To be sourced.
#
#   lab_up NAME ADDRESS/PREFIX     namespace NAME with a bridge br0 that has the address; cleans up at exit
#   in_lab COMMAND...              runs a command inside
#   lab_disk M GIB                 a blank disk for machine M (serial number DISK-M)
#   lab_start M FIRMWARE MAC [QEMU ARGUMENT...]   powers machine M on; FIRMWARE: bios | uefi
#   lab_cut M                      pulls its plug;  lab_alive M: whether it runs
#   lab_reset M                    presses its reset button
#   wait_for SECONDS WHAT COMMAND...   until COMMAND succeeds; on time-out says WHAT did not happen
#
# Software emulation unless LAB_ACCEL=kvm says otherwise: a /dev/kvm that exists but cannot run guests is common in
# nested machines. All files of the run lie in $LAB_DIR: M.disk, M.serial (console), M.pcap (its packets), M.pid.
# Machines are ended by pid only. Needs root. Nothing leaves the namespace: it has no link to the outside.

LAB_DIR=${LAB_DIR:-.work/lab}
LAB_NS=
LAB_PIDS=()

lab_say() { printf '%s %s\n' "$(date -u +%H:%M:%S)" "$*"; }

lab_up() {
  LAB_NS=$1
  mkdir -p "$LAB_DIR"
  LAB_DIR=$(cd "$LAB_DIR" && pwd)
  if ip netns list | grep -qw "$LAB_NS"; then
    lab_say "a namespace $LAB_NS is left over from an earlier run; removing it"
    lab_kill_namespace
  fi
  ip netns add "$LAB_NS"
  trap lab_down EXIT
  trap 'exit 130' INT TERM
  in_lab ip link set lo up
  in_lab ip link add br0 type bridge stp_state 0 forward_delay 0
  in_lab ip address add "$2" dev br0
  in_lab ip link set br0 up
}

in_lab() { ip netns exec "$LAB_NS" "$@"; }

# Ends whatever still runs inside the namespace, by pid, and removes it.
lab_kill_namespace() {
  local pid left=50
  for pid in $(ip netns pids "$LAB_NS" 2>/dev/null); do kill "$pid" 2>/dev/null; done
  while [ $left -gt 0 ] && [ -n "$(ip netns pids "$LAB_NS" 2>/dev/null)" ]; do
    sleep 0.1
    left=$((left - 1))
  done
  for pid in $(ip netns pids "$LAB_NS" 2>/dev/null); do kill -9 "$pid" 2>/dev/null; done
  ip netns del "$LAB_NS" 2>/dev/null
  return 0
}

lab_down() {
  local status=$?
  trap - EXIT
  [ -z "$LAB_NS" ] || lab_kill_namespace
  [ "${LAB_KEEP_DISKS:-}" ] || rm -f "$LAB_DIR"/*.disk "$LAB_DIR"/*.vars
  exit $status
}

lab_disk() { qemu-img create -q -f qcow2 "$LAB_DIR/$1.disk" "${2}G"; }

lab_start() {
  local m=$1 firmware=$2 mac=$3
  shift 3
  local tap=t-$m
  if ! in_lab ip link show "$tap" >/dev/null 2>&1; then
    in_lab ip tuntap add "$tap" mode tap
    in_lab ip link set "$tap" master br0
    in_lab ip link set "$tap" up
  fi
  local args=(-name "$m" -accel "${LAB_ACCEL:-tcg}" -cpu max -m "${LAB_MEMORY:-1024}" -nodefaults -display none -no-user-config
    -serial "file:$LAB_DIR/$m.serial" -monitor "unix:$LAB_DIR/$m.monitor,server=on,wait=off"
    -pidfile "$LAB_DIR/$m.pid" -daemonize -uuid "$(lab_uuid "$m")"
    -object rng-random,id=rng0,filename=/dev/urandom -device virtio-rng-pci,rng=rng0
    -netdev "tap,id=n0,ifname=$tap,script=no,downscript=no"
    -object "filter-dump,id=dump0,netdev=n0,file=$LAB_DIR/$m.pcap,maxlen=2048"
    -drive "id=d0,if=none,format=qcow2,cache=unsafe,discard=unmap,file=$LAB_DIR/$m.disk"
    -device "virtio-blk-pci,drive=d0,serial=DISK-$m,bootindex=2")
  case $firmware in
    # QEMU's own ROM is iPXE; it is what the machine's network card would bring.
    bios) args+=(-machine pc -device "virtio-net-pci,netdev=n0,mac=$mac,bootindex=1") ;;
    uefi)
      [ -e "$LAB_DIR/$m.vars" ] || cp /usr/share/OVMF/OVMF_VARS_4M.fd "$LAB_DIR/$m.vars"
      # No ROM: the firmware's own network stack is a true UEFI PXE client.
      args+=(-machine q35 -device "virtio-net-pci,netdev=n0,mac=$mac,bootindex=1,romfile="
        -drive if=pflash,format=raw,readonly=on,file=/usr/share/OVMF/OVMF_CODE_4M.fd
        -drive "if=pflash,format=raw,file=$LAB_DIR/$m.vars")
      ;;
    *) echo "lab: firmware is bios or uefi, not $firmware" >&2; return 2 ;;
  esac
  in_lab qemu-system-x86_64 "${args[@]}" "$@"
}

# A fixed UUID per machine name: firmware sends it as option 97.
lab_uuid() { printf '%s' "$1" | sha256sum | sed -E 's/^(.{8})(.{4}).(.{3}).(.{3})(.{12}).*/\1-\2-4\3-8\4-\5/'; }

lab_pid() { cat "$LAB_DIR/$1.pid" 2>/dev/null; }
lab_alive() { local p; p=$(lab_pid "$1") && [ -n "$p" ] && kill -0 "$p" 2>/dev/null; }

lab_cut() {
  local p left=50
  p=$(lab_pid "$1") || return 0
  kill -9 "$p" 2>/dev/null
  while kill -0 "$p" 2>/dev/null && [ $left -gt 0 ]; do sleep 0.1; left=$((left - 1)); done
  rm -f "$LAB_DIR/$1.pid" "$LAB_DIR/$1.monitor"
}

lab_reset() { lab_monitor "$1" system_reset; }

lab_monitor() {
  python3 - "$LAB_DIR/$1.monitor" "$2" <<'EOP'
import socket, sys, time
s = socket.socket(socket.AF_UNIX); s.settimeout(5); s.connect(sys.argv[1])
s.recv(4096); s.sendall(sys.argv[2].encode() + b"\n"); time.sleep(0.3)
EOP
}

wait_for() {
  local limit=$1 what=$2 start=$SECONDS
  shift 2
  until "$@" >/dev/null 2>&1; do
    if [ $((SECONDS - start)) -ge "$limit" ]; then
      echo "lab: after $limit s still not: $what" >&2
      return 1
    fi
    sleep 1
  done
  echo $((SECONDS - start))
}
