#!/usr/bin/env bash
# Owns: no lease is lost and no address given twice when the server is killed under load (perfdhcp), and when the disk
# is full nothing is promised that is not on it.
set -uo pipefail
cd "$(dirname "$0")/../.."
. tests/netns/dhcp-lib.sh
network
cat_script
site
machine dhcp-p 02:00:00:00:00:50
ip -n dhcp-p address add 10.79.0.50/16 dev eth0
machine dhcp-x 02:00:00:00:00:99
machine dhcp-a 52:54:00:00:00:01
ip netns exec dhcp-p tcpdump -i eth0 -U -s 400 -w "$work/acks.pcap" 'udp src port 67' >"$work/tcpdump.log" 2>&1 &
dump=$!
sleep 1
# "PXEClient", for machines that are not in the site get an address only when they network-boot.
load() { # load SECONDS: new machines all the time, 300 a second, as through a relay
  ip netns exec dhcp-p perfdhcp -4 -l eth0 -r 300 -R 20000 -p "$1" -o 60,505845436c69656e74 -s "$2" 10.79.0.1 \
    >"$work/perfdhcp.$2" 2>&1
}
for round in 1 2 3; do
  serve || { cat "$work/server.log"; say_bad "it starts again after kill -9"; }
  load 4 "$round" &
  loading=$!
  sleep "1.$((RANDOM % 900 + 100))"
  kill -9 "$server_pid"
  wait "$server_pid" 2>/dev/null
  wait "$loading"
done
serve || { cat "$work/server.log"; say_bad "it starts again after kill -9"; }
load 3 4
stop
sleep 0.5
kill "$dump"; wait "$dump" 2>/dev/null
python3 - "$work/acks.pcap" "$work/site/.bootstead/journal.sqlite" <<'EOP'
import json, sqlite3, struct, sys
data, at = open(sys.argv[1], "rb").read(), 24
acks, owner, twice, moved = 0, {}, 0, 0
given = {}
while at + 16 <= len(data):
    length = struct.unpack("<I", data[at + 8:at + 12])[0]
    frame, at = data[at + 16:at + 16 + length], at + 16 + length
    dhcp = frame[14 + (frame[14] & 15) * 4 + 8:]
    if len(dhcp) < 243 or dhcp[240:243] != b"\x35\x01\x05":
        continue
    acks += 1
    mac, address = dhcp[28:34].hex(":"), ".".join(map(str, dhcp[16:20]))
    twice += owner.setdefault(address, mac) != mac
    moved += given.setdefault(mac, address) != address
db = sqlite3.connect(f"file:{sys.argv[2]}?mode=ro", uri=True)
leases = {}
for (text,) in db.execute("SELECT what FROM event WHERE what LIKE '%\"leased\"%'"):
    event = json.loads(text)
    leases[event["mac"]] = event["address"]
lost = sum(1 for mac, address in given.items() if leases.get(mac) != address)
def verdict(good, text):
    print(("ok - " if good else "not ok - ") + text)
verdict(acks > 1000, f"{acks} ACKs were sent to {len(given)} machines, over three kill -9")
verdict(twice == 0, f"{twice} addresses were given to two machines")
verdict(moved == 0, f"{moved} machines lost their address to a restart")
verdict(lost == 0, f"{lost} ACKs that left are not in the journal")
sys.exit(bool(twice or moved or lost or acks <= 1000))
EOP
[ $? = 0 ] || bad=1

# A full disk: the state folder on a small file system of its own.
forget_journal
state=$work/small
mkdir -p "$state"
mount -t tmpfs -o size=3m tmpfs "$state"
ip netns exec dhcp-s "$binary" --site "$work/site/site.toml" --tree "$work/tree" --state "$state" serve >"$work/server.log" 2>&1 &
server_pid=$!
for _ in $(seq 1 300); do grep -q "DHCP: full on" "$work/server.log" && break; sleep 0.1; done
got=$(ask dhcp-a)
verdict "with room on the disk a node gets its address ($got)" [ "${got%% *}" = 10.79.16.1 ]
head -c 8M /dev/zero >"$state/filler" 2>/dev/null
# What room is left in files already allocated is used up by asking.
for _ in $(seq 1 40); do
  got=$(TRIES=1 WAIT=1 ask dhcp-a)
  [ -z "$got" ] && break
done
verdict "with a full disk it gets none (${got:-nothing})" [ -z "$got" ]
verdict "one sentence says why" grep -q "DHCP gives no addresses: the disk is full" "$work/server.log"
TRIES=2 ask dhcp-a >/dev/null
verdict "once" [ "$(grep -c "WARN DHCP gives no addresses" "$work/server.log")" = 1 ]
rm "$state/filler"
got=$(ask dhcp-a)
verdict "with room again it goes on by itself ($got)" [ "${got%% *}" = 10.79.16.1 ]
verdict "and says so" grep -q "over: DHCP gives no addresses" "$work/server.log"
stop
umount "$state"
exit $bad
