#!/bin/bash
# In Ubuntu's installer, before it looks at disks: chooses the disk and completes /autoinstall.yaml.
set -u
REPORT='http://10.77.0.1:8080/v1/nodes/52-54-00-00-00-01/report'
TOKEN='0123456789abcdef0123456789abcdef'
unset http_proxy https_proxy HTTP_PROXY HTTPS_PROXY all_proxy ALL_PROXY

# percent-encodes its argument
encode() {
  printf '%s' "$1" | tr -c ' -~' ' ' | cut -c 1-900 | sed -e 's/%/%25/g' -e 's/ /%20/g' -e 's/"/%22/g' \
    -e 's/#/%23/g' -e 's/&/%26/g' -e 's/+/%2B/g' -e 's/=/%3D/g' -e 's/?/%3F/g' -e 's/\\/%5C/g' \
    -e 's/\[/%5B/g' -e 's/]/%5D/g' -e 's/{/%7B/g' -e 's/}/%7D/g' -e 's/|/%7C/g' -e 's/</%3C/g' -e 's/>/%3E/g'
}

# report EVENT STEP [DETAIL]: three tries; an installation never fails because it could not report
report() {
  echo "bootstead: $1: $2 ${3-}" >&2
  report_to="$REPORT?event=$1&token=$TOKEN&step=$(encode "$2")&detail=$(encode "${3-}")"
  for report_try in 1 2 3; do
    if command -v curl >/dev/null 2>&1; then
      # on standard input: the token stays out of the list of processes
      printf 'url = "%s"\n' "$report_to" | curl -K - -fsS --noproxy '*' -m 20 -o /dev/null && return 0
    else
      wget -q -T 20 -O /dev/null "$report_to" && return 0
    fi
    sleep "$report_try"
  done
  return 0
}

# stop STEP WHY: says so at home and ends this script
stop() {
  report failed "$1" "$2"
  exit 1
}
report progress "installer started" "$(uname -r)"
# server_time: the server's clock, out of the Date line that every answer has, as YYYY-MM-DD hh:mm:ss
server_time() {
  if command -v curl >/dev/null 2>&1; then
    curl -s --noproxy '*' -m 20 -o /dev/null -D - 'http://10.77.0.1:8080/'
  else
    wget -S -T 20 -O /dev/null 'http://10.77.0.1:8080/' 2>&1
  fi | tr -d '\r' | sed -n 's/^ *[Dd]ate: [A-Z][a-z]*, \([0-9]*\) \([A-Z][a-z]*\) \([0-9]*\) \([0-9:]*\) GMT$/\3-\2-\1 \4/p' | head -n 1 |
    sed -e s/Jan/01/ -e s/Feb/02/ -e s/Mar/03/ -e s/Apr/04/ -e s/May/05/ -e s/Jun/06/ -e s/Jul/07/ -e s/Aug/08/ -e s/Sep/09/ \
      -e s/Oct/10/ -e s/Nov/11/ -e s/Dec/12/
}

set_clock() {
  clock=$(server_time)
  [ -n "$clock" ] || return 0
  clock_there=$(date -u -d "$clock" +%s 2>/dev/null) || return 0
  clock_off=$((clock_there - $(date -u +%s)))
  [ "${clock_off#-}" -gt 60 ] || return 0
  if date -u -s "$clock" >/dev/null 2>&1; then
    # the machine's own, too: the installed system begins with it
    hwclock -u -w >/dev/null 2>&1
    report progress "clock set" "by $clock_off seconds, to the server's $clock"
  else
    report progress "clock not set" "it is $clock_off seconds away from the server's $clock"
  fi
}
set_clock
journalctl --follow --lines=200 --output=cat 2>/dev/null |
  logger --server 10.77.0.1 --port 514 --udp --tag installer >/dev/null 2>&1 &
SYS=/sys
DEV=/dev
# the label of the boot file system of what we install: a refusal says whose it is
MARK=bootstead
ERASE_FOREIGN='no'
# serial numbers of disks whose content may be erased, one per line
APPROVED=''

# prop DEVICE KEY: a property that udev knows
prop() {
  udevadm info --query=property --name="$DEV/$1" 2>/dev/null | sed -n "s/^$2=//p" | head -n 1
}

# every name that a disk goes by, one per line
serials() {
  prop "$1" ID_SERIAL_SHORT
  prop "$1" ID_SCSI_SERIAL
  prop "$1" ID_SERIAL
  tr -d ' ' 2>/dev/null < "$SYS/block/$1/serial"
  tr -d ' ' 2>/dev/null < "$SYS/block/$1/device/serial"
  :
}
wwns() {
  prop "$1" ID_WWN_WITH_EXTENSION
  prop "$1" ID_WWN
  cat "$SYS/block/$1/wwid" 2>/dev/null
  :
}
models() {
  prop "$1" ID_MODEL
  cat "$SYS/block/$1/device/model" 2>/dev/null
  :
}
by_paths() {
  prop "$1" ID_PATH
  prop "$1" DEVLINKS | tr ' ' '\n' | sed -n 's|^/dev/disk/by-path/||p'
}
# one line about a disk for people
about() {
  about_serial=$(serials "$1" | head -n 1)
  echo "$1 ($(($(cat "$SYS/block/$1/size") / 2097152)) GiB, serial ${about_serial:-unknown})"
}

# whole disks that are fixed, writable and no path of a multipath device
usable_disks() {
  for usable in "$SYS"/block/*; do
    n=${usable##*/}
    case $n in loop* | ram* | zram* | sr* | fd* | dm-* | md* | nbd* | zd* | mmcblk*boot* | mmcblk*rpmb | nvme*c*n*) continue ;; esac
    [ -e "$usable/device" ] || continue
    [ "$(cat "$usable/removable" 2>/dev/null)" = 0 ] || continue
    [ "$(cat "$usable/ro" 2>/dev/null)" = 0 ] || continue
    [ "$(cat "$usable/size")" -gt 0 ] || continue
    case $(readlink -f "$usable") in */usb[0-9]*) continue ;; esac
    [ "$(prop "$n" ID_BUS)" != usb ] || continue
    [ "$(prop "$n" DM_MULTIPATH_DEVICE_PATH)" != 1 ] || continue
    [ "$(prop "$n" ID_FS_TYPE)" != mpath_member ] || continue
    if grep -q '^mpath-' "$usable"/holders/*/dm/uuid 2>/dev/null; then continue; fi
    echo "$n"
  done
}

# fits DISK SERIAL WWN MODEL BY-PATH MIN-GIB MAX-GIB: an empty word asks for nothing
fits() {
  fits_size=$(cat "$SYS/block/$1/size")
  [ -z "$2" ] || serials "$1" | grep -Fqx -e "$2" || return 1
  [ -z "$3" ] || wwns "$1" | grep -Fqix -e "$3" || return 1
  [ -z "$4" ] || models "$1" | grep -Fq -e "$4" || return 1
  [ -z "$5" ] || by_paths "$1" | grep -Fqx -e "$5" || return 1
  [ -z "$6" ] || [ "$fits_size" -ge "$(($6 * 2097152))" ] || return 1
  [ -z "$7" ] || [ "$fits_size" -le "$(($7 * 2097152))" ] || return 1
}

# choose WHAT PICK SERIAL WWN MODEL BY-PATH MIN-GIB MAX-GIB: sets CHOSEN to the one disk, or stops
choose() {
  what=$1 pick=$2
  shift 2
  found='' edge=''
  for c in $(usable_disks); do
    fits "$c" "$@" || continue
    size=$(cat "$SYS/block/$c/size")
    if [ -z "$pick" ] || [ "$size" = "$edge" ]; then
      found="$found $c"
    elif [ -z "$edge" ] || { [ "$pick" = smallest ] && [ "$size" -lt "$edge" ]; } ||
      { [ "$pick" = largest ] && [ "$size" -gt "$edge" ]; }; then
      found=" $c" edge=$size
    fi
  done
  seen=''
  for c in $(usable_disks); do seen="$seen, $(about "$c")"; done
  # shellcheck disable=SC2086 # names of disks are single words
  set -- $found
  case $# in
    1) CHOSEN=$1 ;;
    0) stop "choosing the disk" "no disk matches the rule for $what; this machine has: ${seen#, }" ;;
    *) stop "choosing the disk" "$# disks match the rule for $what ($*); this machine has: ${seen#, }" ;;
  esac
}

partitions() {
  for p in "$SYS/block/$1/$1"*; do
    if [ -e "$p/partition" ]; then echo "${p##*/}"; fi
  done
}

# part_of DEVICE OFFSET COUNT: bytes of a device
part_of() {
  dd if="$DEV/$1" bs=1 skip="$2" count="$3" 2>/dev/null
}
# how many of the bytes that come in are not zero
not_zero() {
  tr -d '\000' | wc -c
}

# gpt_header DISK SECTOR: whether a GPT header, or its copy, begins in that sector
gpt_header() {
  [ "$(dd if="$DEV/$1" bs=512 skip="$2" count=1 2>/dev/null | dd bs=8 count=1 2>/dev/null | tr -cd 'A-Z ')" = "EFI PART" ]
}

# what has a name on a disk: partition tables, file systems, LVM, RAID, Ceph, anything that stands on it
recognised() {
  last=$(cat "$SYS/block/$1/size")
  table=$(prop "$1" ID_PART_TABLE_TYPE)
  count=$(partitions "$1" | wc -l)
  # with sectors of 4096 bytes the header is the eighth of 512
  if [ -z "$table" ] && { gpt_header "$1" 1 || gpt_header "$1" 8 || gpt_header "$1" $((last - 1)) || gpt_header "$1" $((last - 8)); }; then
    table='damaged gpt'
  fi
  # a dos table without partitions is a disk signature or boot code alone: some BIOSes write it into blank disks
  if [ "$count" -gt 0 ] || { [ -n "$table" ] && [ "$table" != dos ]; }; then
    many=s
    [ "$count" -ne 1 ] || many=''
    echo "a partition table (${table:-unknown}) with $((count)) partition$many"
  fi
  for b in "$1" $(partitions "$1"); do
    kind=$(prop "$b" ID_FS_TYPE)
    if [ -z "$kind" ] && dd if="$DEV/$b" bs=22 count=1 2>/dev/null | grep -q '^bluestore block device'; then
      kind=ceph_bluestore
    fi
    if [ "$(prop "$b" ID_FS_LABEL)" = "$MARK" ] || [ "$(prop "$b" ID_PART_ENTRY_NAME)" = "$MARK" ]; then
      kind="a system that Bootstead installed (${kind:-its name})"
    fi
    if [ -n "$kind" ]; then echo "$kind on $b"; fi
    for h in "$SYS/class/block/$b/holders"/*; do
      if [ -e "$h" ]; then echo "${h##*/} stands on $b"; fi
    done
  done
}

# what is on a disk, one thing per line; nothing where it is blank: no known signature, the first 64 KiB are zeros
contents() {
  known=$(recognised "$1")
  if [ -n "$known" ]; then
    echo "$known"
    return 0
  fi
  if [ "$(dd if="$DEV/$1" bs=512 count=128 2>/dev/null | wc -c)" -ne 65536 ]; then
    echo "what cannot be read, on $1"
    return 0
  fi
  first=0
  # a boot sector without partitions, as above
  if [ "$(part_of "$1" 510 2 | tr -cd '\125\252' | tr '\252' x)" = Ux ] && [ "$(part_of "$1" 446 64 | not_zero)" -eq 0 ]; then
    first=1
  fi
  if [ "$(dd if="$DEV/$1" bs=512 skip=$first count=$((128 - first)) 2>/dev/null | not_zero)" -ne 0 ]; then
    echo "data of an unknown kind on $1"
  fi
}

# unfinished DISK: whether all that it holds is an installation by the fast lane that did not get to its end. Its mark is
# 512 KiB behind the start, with the identity of its table behind it; before there is a table, there are zeros.
unfinished() {
  [ "$(part_of "$1" 524288 20 | tr -cd 'A-Z ')" = "BOOTSTEAD UNFINISHED" ] || return 1
  if gpt_header "$1" 1; then
    [ "$(part_of "$1" 568 16 | sha256sum)" = "$(part_of "$1" 524309 16 | sha256sum)" ]
  else
    [ "$(dd if="$DEV/$1" bs=512 count=34 2>/dev/null | not_zero)" -eq 0 ]
  fi
}

# labelled DISK LABEL: whether the file system on the whole disk has this name, as our data disks have
labelled() {
  [ -n "$2" ] && [ "$(prop "$1" ID_FS_LABEL)" = "$2" ]
}

# approved DISK: whether a person put its serial number or WWN into erase
approved() {
  [ -n "$APPROVED" ] || return 1
  { serials "$1"; wwns "$1"; } | sed '/^[[:space:]]*$/d' | while read -r s; do
    if printf '%s\n' "$APPROVED" | grep -Fqix -e "$s"; then echo yes; fi
  done | grep -q yes
}

# guard WHAT DISK LABEL: stops if the disk holds what nobody gave up; LABEL is that of our data disk, or empty
guard() {
  held=$(contents "$2" | sed '$!s/$/,/' | tr '\n' ' ' | sed 's/ $//')
  [ -n "$held" ] || return 0
  if labelled "$2" "$3" || unfinished "$2" || approved "$2"; then return 0; fi
  [ "$ERASE_FOREIGN" != yes ] || return 0
  named=$({ serials "$2"; wwns "$2"; } | sed '/^[[:space:]]*$/d' | head -n 1)
  if [ -n "$named" ]; then
    todo="if all of that may be erased, put erase = [\"$named\"] into the node's entry of the site file and arm it again"
  else
    todo="it has no serial number that could be named in erase; wipe it by hand, then arm the node again"
  fi
  stop "checking the disk" "$1 is $(about "$2"), which holds $held; nothing was written; $todo"
}

# data_disk NAME DISK LABEL KEEP: an ext4 file system on the whole disk, unless ours is there and kept
data_disk() {
  if [ "$4" = keep ] && labelled "$2" "$3"; then
    report progress "data disk $1 kept" "$(about "$2")"
    return 0
  fi
  erase_disk "$2"
  mkfs.ext4 -q -F -L "$3" "$DEV/$2" || stop "data disks" "cannot make a file system on $2"
  udevadm settle --timeout=30
  report progress "data disk $1 made" "$(about "$2")"
}

# release DEVICE: takes down what stands on a block device, the top first
release() {
  local holder
  for holder in "$SYS/class/block/$1/holders"/*; do
    [ -e "$holder" ] || continue
    holder=${holder##*/}
    release "$holder"
    swapoff "$DEV/$holder" 2>/dev/null
    case $holder in
      md*) mdadm --stop "$DEV/$holder" ;;
      dm-*) dmsetup remove --retry "$(cat "$SYS/class/block/$holder/dm/name")" ;;
      bcache*) echo 1 > "$SYS/class/block/$holder/bcache/stop" ;;
    esac || stop "taking down the old stack" "$holder on $1 cannot be stopped"
  done
}

# zero_ends DEVICE: LVM, RAID, ZFS and file systems keep their signatures in the first or last MiB
zero_ends() {
  ends=$(cat "$SYS/class/block/$1/size")
  [ "$ends" -gt 4096 ] || { dd if=/dev/zero of="$DEV/$1" bs=512 count="$ends" 2>/dev/null; return 0; }
  dd if=/dev/zero of="$DEV/$1" bs=512 count=2048 2>/dev/null || return 1
  dd if=/dev/zero of="$DEV/$1" bs=512 count=2048 seek=$((ends - 2048)) 2>/dev/null
}

# erase_disk DISK: old stacks down, signatures off; only ever called with a disk that passed the guard
erase_disk() {
  for b in $(partitions "$1") "$1"; do
    swapoff "$DEV/$b" 2>/dev/null
    release "$b"
  done
  for b in $(partitions "$1") "$1"; do
    zero_ends "$b" || stop "erasing the disk" "cannot write to $b"
  done
  blockdev --rereadpt "$DEV/$1" 2>/dev/null || partprobe "$DEV/$1" 2>/dev/null
  udevadm settle --timeout=30
  :
}

udevadm settle --timeout=60
# shellcheck disable=SC2016 # a rule's words are taken as they are
choose 'the system disk' 'smallest' '' '' '' '' '16' ''
OS=$CHOSEN
TAKEN=" $OS "
# shellcheck disable=SC2016
choose 'data disk data' '' '' '' '' '' '2000' ''
case $TAKEN in *" $CHOSEN "*) stop "choosing the disk" "the rule for data disk data gives $CHOSEN, which is taken" ;; esac
TAKEN="$TAKEN$CHOSEN "
DATA_1=$CHOSEN
# the volumes, /boot and the firmware's own partition
NEED_MIB=13928
if [ "$(($(cat "$SYS/block/$OS/size") / 2048))" -lt "$NEED_MIB" ]; then
  stop "choosing the disk" "$(about "$OS") is too small: this role needs $NEED_MIB MiB"
fi
# every guard before the first write
guard "the system disk" "$OS" ''
guard "data disk data" "$DATA_1" bs-data
report progress "disk chosen" "$(about "$OS")"
erase_disk "$OS"
data_disk data "$DATA_1" bs-data keep
FIRMWARE=bios
[ ! -d "$SYS/firmware/efi" ] || FIRMWARE=uefi
SPARE_MIB=$(($(cat "$SYS/block/$OS/size") / 2048 - NEED_MIB))
python3 - "$DEV/$OS" "$FIRMWARE" "$SPARE_MIB" <<'END_OF_FILE' || stop "choosing the disk" "cannot complete /autoinstall.yaml"
import sys
import yaml

disk, firmware, spare = sys.argv[1:]
spare = int(spare)
# volumes that grow: least and largest size in MiB, 0 where there is no largest
grows = {
    "vol-root": (7168, 51200),
    "vol-rabbitmq": (4096, 0),
}
# each gets the same share of the rest, as in the Debian installer, up to its largest size; LVM counts in 4 MiB
sizes = {name: least for name, (least, most) in grows.items()}
hungry = list(grows)
while hungry and spare // len(hungry) >= 4:
    share = spare // len(hungry) // 4 * 4
    for name in list(hungry):
        most = grows[name][1]
        more = max(0, min(share, most - sizes[name])) if most else share
        sizes[name] += more
        spare -= more
        if more < share:
            hungry.remove(name)
with open("/autoinstall.yaml") as file:
    document = yaml.safe_load(file)
settings = document.get("autoinstall", document)
other = "uefi-" if firmware == "bios" else "bios-"
kept = [item for item in settings["storage"]["config"] if not item["id"].startswith(other)]
for item in kept:
    if item["id"] == "os":
        item["path"] = disk
        # under UEFI the boot loader goes to the firmware's partition, not to the disk
        item["grub_device"] = firmware == "bios"
    # -1 stays: all that is left
    if item["id"] in sizes and item["size"] != -1:
        item["size"] = "%dM" % sizes[item["id"]]
settings["storage"]["config"] = kept
with open("/autoinstall.yaml", "w") as file:
    yaml.safe_dump(document, file)
END_OF_FILE
report progress "installing packages"
