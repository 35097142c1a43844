#!/usr/bin/env bash
# Owns: the server's network card is pulled out and put in again (a USB adapter) while nodes boot: what was under way goes
# on, new machines are answered, one sentence says what was wrong; and a state folder that cannot be written is said so.
set -uo pipefail
cd "$(dirname "$0")/../.."
. tests/netns/dhcp-lib.sh
network
cat_script
site
head -c 200001 /dev/urandom >"$work/snponly.efi"
head -c 24000001 /dev/urandom >"$work/i"
printf kernel >"$work/k"
python3 tests/tools/shelve.py "$work/site/.bootstead/images" loaders "$work/snponly.efi"
python3 tests/tools/shelve.py "$work/site/.bootstead/images" test "$work/k" "$work/i"
machine dhcp-a 52:54:00:00:00:01
machine dhcp-b 52:54:00:00:00:02
serve || { cat "$work/server.log"; say_bad "it starts"; exit 1; }
got=$(ask dhcp-a "${pxe[@]}")
verdict "a node gets its address ($got)" [ "${got%% *}" = 10.79.16.1 ]
ip -n dhcp-a address add 10.79.16.1/16 dev eth0
heard() { for _ in $(seq 150); do grep -q "$1" "$work/server.log" && return 0; sleep 0.1; done; return 1; }

# About six seconds of download; the card is away for four of them.
ip netns exec dhcp-a curl -sS --max-time 60 --limit-rate 4M http://10.79.0.1/images/test/i -o "$work/got" 2>"$work/curl.log" &
download=$!
sleep 1.5
before=$(stat -c %s "$work/got")
ip -n dhcp-s link del br0
verdict "the missing address is one sentence" heard 'no longer has the address 10.79.0.1'
ip netns exec dhcp-b busybox udhcpc -i eth0 -n -q -f -t 1 -T 1 -s "$work/udhcpc" "${pxe[@]}" >"$work/none" 2>&1
sleep 1
ip -n dhcp-s link add br0 type bridge forward_delay 0
ip -n dhcp-s address add 10.79.0.1/16 dev br0
ip -n dhcp-s link set br0 up
for m in dhcp-a dhcp-b; do ip -n dhcp-s link set "v-$m" master br0 up; done
verdict "and over when the card is back" heard 'over: this machine no longer has'
wait "$download"
verdict "the download that was under way ($before of 24000001 bytes) goes on and is whole" cmp -s "$work/got" "$work/i"
got=$(TRIES=6 ask dhcp-b "${pxe[@]}")
verdict "another node is answered by the card that came back ($got)" [ "${got%% *}" = 10.79.16.2 ]
got=$(ask dhcp-a "${pxe[@]}")
verdict "the first node has its address still ($got)" [ "${got%% *}" = 10.79.16.1 ]
ip netns exec dhcp-a curl -sS --max-time 30 tftp://10.79.0.1/snponly.efi -o "$work/got"
verdict "TFTP goes on" cmp -s "$work/got" "$work/snponly.efi"
verdict "nothing panicked" bash -c "! grep -q panicked '$work/server.log'"
stop

# A state folder that is read-only: a medium that was mounted so, or a file system that met an error.
state=$work/fixed
mkdir "$state"
mount -t tmpfs -o size=16m tmpfs "$state"
b=("$binary" --site "$work/site/site.toml" --tree "$work/tree" --state "$state")
"${b[@]}" node hold compute-0001 --why "a test" >/dev/null || say_bad "a journal is there"
mount -o remount,ro "$state"
ip netns exec dhcp-s "${b[@]}" serve >"$work/server.log" 2>&1
verdict "on a read-only state folder the server does not start (exit 3)" [ $? = 3 ]
verdict "one sentence says so" [ "$(grep -c 'read-only file system' "$work/server.log")" = 1 ]
sed 's/^/# /' "$work/server.log"
"${b[@]}" node release compute-0001 >"$work/out" 2>&1
verdict "nor can anybody decide anything (exit 3)" [ $? = 3 ]
verdict "with the same sentence" grep -q 'read-only file system' "$work/out"
said=$("${b[@]}" status 2>&1)
verdict "what was decided before can still be read" grep -q 'a test' <<<"$said"
umount "$state"
exit $bad
