#!/usr/bin/env bash
# Owns: real TFTP and HTTP clients (curl, atftp, busybox) against `bootstead serve`, on a clean link and on one that
# loses packets; the cable pulled and the address taken away while it runs. Needs root.
set -uo pipefail
cd "$(dirname "$0")/../.."
[ "$(id -u)" = 0 ] || { echo "skip - $0 needs root for network namespaces"; exit 0; }
binary=${BOOTSTEAD:-$PWD/target/x86_64-unknown-linux-gnu/release/bootstead}
work=$PWD/.work/netns-http-tftp
state=$work/site/.bootstead
bad=0
verdict() { # NAME COMMAND...: one test
  local name=$1
  shift
  if "$@"; then echo "ok - $name"; else echo "not ok - $name"; bad=1; fi
}
finish() {
  local ns pid
  for ns in http-s http-c; do
    for pid in $(ip netns pids $ns 2>/dev/null); do kill -9 "$pid" 2>/dev/null || true; done
    ip netns del $ns 2>/dev/null || true
  done
}
trap finish EXIT
finish
rm -rf "$work"
mkdir -p "$state/images" "$work/tree/images" "$work/got"
ip netns add http-s
ip netns add http-c
ip link add eth0 netns http-s type veth peer name eth0 netns http-c
ip -n http-s link set lo up
ip -n http-s address add 10.79.0.1/16 dev eth0
# A second address on the same machine: answers must leave from the one that was asked.
ip -n http-s address add 10.79.0.9/16 dev eth0
ip -n http-s link set eth0 up
# The client is the node compute-0001, by its address.
ip -n http-c address add 10.79.16.1/16 dev eth0
ip -n http-c link set eth0 up

head -c 300001 /dev/urandom >"$work/snponly.efi"
head -c 30000001 /dev/urandom >"$work/initrd.gz"
head -c 5000 /dev/urandom >"$work/a+b~c^1.rpm"
head -c 1000 /dev/urandom >"$work/linux"
shelve() { python3 tests/tools/shelve.py "$state/images" "$@"; }
shelve loaders "$work/snponly.efi"
shelve test "$work/linux" "$work/initrd.gz" "$work/a+b~c^1.rpm"
printf 'summary = "test"\nfamily = "el9"\nversion = "9"\narch = "amd64"\nkernel = "linux"\ninitrd = ["initrd.gz"]\ntree = "linux"\n' \
  >"$work/tree/images/test.toml"
cat >"$work/site/site.toml" <<'EOT'
[site]
name = "test"
domain = "test.example"
[server]
address = "10.79.0.1"
provisioning = "provisioning"
dhcp = "off"
[network.provisioning]
cidr = "10.79.0.0/16"
[role.compute]
profile = "compute"
image = "test"
name = "compute-{n:04}"
disk = { min_gib = 10 }
addresses.provisioning = "10.79.16.1-10.79.16.64"
[[node]]
mac = "52:54:00:00:00:01"
role = "compute"
EOT
b=("$binary" --site "$work/site/site.toml" --tree "$work/tree")
ip netns exec http-s "${b[@]}" serve --pcap "$work/pcap" >"$work/log" 2>&1 &
pid=$!
for _ in $(seq 200); do [ -S "$state/control.sock" ] && break; sleep 0.05; done
verdict "the server starts" [ -S "$state/control.sock" ] || { cat "$work/log"; exit 1; }

client() { timeout 60 ip netns exec http-c "$@"; }
same() { cmp -s "$1" "$2"; }
heard() { for _ in $(seq 100); do grep -q "$1" "$work/log" && return 0; sleep 0.1; done; return 1; }
curl_tftp() { client curl -sS --max-time 50 "$@" -o "$work/got/x"; }
tftps() { # WHERE: every client, every odd name
  curl_tftp tftp://10.79.0.1/snponly.efi
  verdict "curl, TFTP$1" same "$work/got/x" "$work/snponly.efi"
  curl_tftp --tftp-blksize 1468 tftp://10.79.0.1//EFI/Boot/SNPONLY.EFI
  verdict "curl, TFTP with blocks of 1468 and another spelling of the name$1" same "$work/got/x" "$work/snponly.efi"
  # atftp gives up on a repeated OACK, which RFC 2347 has the server send when the answer to the first was lost (also
  # when it was only late): such a try says nothing about the server, and the client is started again, as a boot ROM is.
  for _ in 1 2 3 4 5; do
    client atftp --option "blksize 65464" --option "windowsize 8" --get --remote-file 'snponly.efi' --local-file "$work/got/a" 10.79.0.1 >"$work/got/a.log" 2>&1
    grep -q 'unexpected OACK' "$work/got/a.log" || break
  done
  verdict "atftp asks for blocks of 65464 and windows of 8$1" same "$work/got/a" "$work/snponly.efi"
  client busybox tftp -b 1400 -g -r '\boot\snponly.efi' -l "$work/got/b" 10.79.0.1 2>/dev/null
  verdict "busybox tftp with backslashes$1" same "$work/got/b" "$work/snponly.efi"
  client busybox tftp -g -r "$(printf 'snponly.efi\377')" -l "$work/got/c" 10.79.0.1 2>/dev/null
  verdict "a name that ends with 0xFF$1" same "$work/got/c" "$work/snponly.efi"
}
tftps ""
curl_tftp tftp://10.79.0.1/no/such.efi 2>/dev/null
verdict "a file that is not there is said at once (curl: 68)" [ $? = 68 ]
client busybox tftp -p -l "$work/linux" -r linux 10.79.0.1 2>/dev/null
verdict "writing is refused" [ $? != 0 ]

u=http://10.79.0.1/images/test
client curl -sS $u/initrd.gz -o "$work/got/h"
verdict "curl, 30 MB over HTTP" same "$work/got/h" "$work/initrd.gz"
head -c 12345678 "$work/initrd.gz" >"$work/got/part"
client curl -sS -C - $u/initrd.gz -o "$work/got/part"
verdict "curl goes on with a part" same "$work/got/part" "$work/initrd.gz"
client busybox wget -q -O "$work/got/w" "$u/a%2Bb~c^1.rpm"
verdict "busybox wget, a package's name" same "$work/got/w" "$work/a+b~c^1.rpm"
len=$(client curl -sSI $u/linux | tr -d '\r' | awk -F': ' 'tolower($1) == "content-length" {print $2}')
verdict "HEAD has the length" [ "$len" = 1000 ]
verdict "no path leaves the tree" [ "$(client curl -sS --path-as-is -o /dev/null -w '%{http_code}' $u/../../../../etc/passwd)" = 404 ]
verdict "the operator's routes are not on the network" \
  [ "$(client curl -sS -o /dev/null -w '%{http_code}' -X POST http://10.79.0.1/v1/nodes/compute-0001/arm)" = 404 ]

# 5 of 100 packets are lost on the way in, both kinds of traffic.
ip netns exec http-s nft add table inet bad
ip netns exec http-s nft add chain inet bad in '{ type filter hook input priority 0; }'
ip netns exec http-s nft add rule inet bad in iif eth0 numgen random mod 100 \< 5 drop
tftps ", 5 % lost"
client curl -sS $u/initrd.gz -o "$work/got/h2"
verdict "curl, 30 MB over HTTP, 5 % lost" same "$work/got/h2" "$work/initrd.gz"
ip netns exec http-s nft delete table inet bad

# A way that loses large packets without a word (a tunnel, field-pain #37): the first try stands still, the next ones get
# smaller blocks.
ip netns exec http-c nft add table ip tunnel
ip netns exec http-c nft add chain ip tunnel in '{ type filter hook input priority 0; }'
ip netns exec http-c nft add rule ip tunnel in udp sport != 53 ip length \> 1300 counter drop
rm -f "$work/got/x"
curl_tftp --tftp-blksize 1468 --max-time 6 tftp://10.79.0.1/snponly.efi 2>/dev/null
verdict "large packets get lost on this way: the first transfer stands still" [ $? != 0 ]
verdict "the timeline says what it looks like" heard 'large packets may not reach it (MTU); the next try gets blocks of 1024'
curl_tftp --tftp-blksize 1468 tftp://10.79.0.1/snponly.efi
verdict "the next one has smaller blocks and arrives" same "$work/got/x" "$work/snponly.efi"
ip netns exec http-c nft flush table ip tunnel
ip netns exec http-c nft add rule ip tunnel in udp sport != 53 ip length \> 700 counter drop
rm "$work/got/x"
curl_tftp --tftp-blksize 1468 --max-time 6 tftp://10.79.0.1/snponly.efi 2>/dev/null
verdict "and where those get lost, too, the timeline says so" heard 'the next try gets blocks of 512'
rm -f "$work/got/x"
curl_tftp --tftp-blksize 1468 tftp://10.79.0.1/snponly.efi
verdict "blocks of 512 arrive" same "$work/got/x" "$work/snponly.efi"
ip netns exec http-c nft delete table ip tunnel

"${b[@]}" node arm compute-0001 --yes >/dev/null 2>&1
script=$(client curl -sS "http://10.79.0.1/boot.ipxe?mac=52-54-00-00-00-01&platform=efi&arch=x86_64")
answers=$(grep -o 'http://10.79.0.1/a/[^ ]*' <<<"$script" | head -1)
wrong=$(client curl -sS -o /dev/null -w '%{http_code}' -H 'X-RHN-Provisioning-MAC-0: eth0 52:54:00:00:00:02' "$answers")
verdict "another machine's answers are refused ($wrong)" [ "$wrong" = 403 ]
client curl -sS "$answers" -o "$work/got/ks"
verdict "the node's own are served" grep -q compute-0001 "$work/got/ks"
timeline=$("${b[@]}" events --node compute-0001 2>&1)
verdict "TFTP is on the node's timeline" grep -q 'snponly.efi' <<<"$timeline"
verdict "the refusal is on the node's timeline" grep -q 'none of which belongs' <<<"$timeline"
verdict "no token is in the log or on the timeline" bash -c "! grep -q '$(cut -d/ -f6 <<<"$answers")' '$work/log' <(echo \"\$0\")" "$timeline"

ip -n http-c link set eth0 down
verdict "an unplugged cable is one sentence" heard 'the cable of eth0 is unplugged'
ip -n http-c link set eth0 up
verdict "and over when it is back" heard 'over: the cable of eth0'
ip -n http-s address del 10.79.0.1/16 dev eth0
verdict "a lost address is one sentence" heard 'no longer has the address 10.79.0.1'
ip -n http-s address add 10.79.0.1/16 dev eth0
verdict "and over when it is back" heard 'over: this machine no longer has'
ip -n http-c link set eth0 up
curl_tftp tftp://10.79.0.1/snponly.efi
verdict "TFTP goes on after that" same "$work/got/x" "$work/snponly.efi"
verdict "HTTP goes on after that" [ "$(client curl -sS -o /dev/null -w '%{http_code}' $u/linux)" = 200 ]
node=$(ip -n http-c -br link show eth0 | awk '{ gsub(":", "-", $3); print $3 }')
said=$(tcpdump -nn -r "$work/pcap/$node.pcap" 2>/dev/null)
verdict "the node's capture has its read requests" grep -q 'RRQ "snponly.efi"' <<<"$said"
# tcpdump reads TFTP on port 69 only; a reply's own port is another. Opcode 6 is OACK (RFC 2347).
verdict "and the option replies" grep -q . <<<"$(tcpdump -nn -r "$work/pcap/$node.pcap" 'udp[8:2] = 6' 2>/dev/null)"
verdict "and not the blocks after the first" [ "$(stat -c %s "$work/pcap/$node.pcap")" -lt 100000 ]
kill -TERM $pid
wait $pid
verdict "it ends in order" [ $? = 0 ]
exit $bad
