#!/usr/bin/env bash
# Owns: real DHCP clients (busybox udhcpc, ISC dhclient, ISC dhcrelay) against `bootstead serve`, on a clean link and
# on one that loses and doubles packets; strangers; people who sit on addresses.
set -uo pipefail
cd "$(dirname "$0")/../.."
. tests/netns/dhcp-lib.sh
network
cat_script
site
machine dhcp-a 52:54:00:00:00:01
machine dhcp-b 52:54:00:00:00:02
machine dhcp-x 02:00:00:00:00:99
# Somebody sits on the first pool address and on a node's, and does not answer ping (field-pain #12).
machine dhcp-q 02:00:00:00:00:66
ip netns exec dhcp-q sysctl -qw net.ipv4.icmp_echo_ignore_all=1
ip -n dhcp-q address add 10.79.64.1/16 dev eth0
ip -n dhcp-q address add 10.79.16.7/16 dev eth0
serve || { cat "$work/server.log"; say_bad "the server starts"; exit 1; }
say_ok "the server starts"

got=$(ask dhcp-a)
verdict "udhcpc of a node gets its own address, its name and the router ($got)" [ "$got" = "10.79.16.1 compute-0001 10.79.0.1" ]
got=$(ask dhcp-a -B)
verdict "so it does with the broadcast bit ($got)" [ "${got%% *}" = 10.79.16.1 ]
got=$(ask dhcp-a -x 0x3d:ff00112233445566 -V d-i)
verdict "and with another client identifier and vendor class ($got)" [ "${got%% *}" = 10.79.16.1 ]
verdict "the lease is in the journal" [ "$(journal "what LIKE '%leased%10.79.16.1\"%'" | wc -l)" -ge 3 ]
got=$(ask dhcp-a -r 10.79.99.99)
verdict "a node that wakes with a wrong address gets its own ($got)" [ "${got%% *}" = 10.79.16.1 ]

dhclient() { ip netns exec dhcp-b dhclient -4 -lf "$work/leases" -pf "$work/pid" -sf /bin/true "$@" eth0 >"$work/dhclient.log" 2>&1; }
touch "$work/leases"
dhclient -1
verdict "dhclient of a node is bound to its own address" grep -q "fixed-address 10.79.16.2" "$work/leases"
verdict "with option 67 absent: an installed system boots nothing" bash -c "! grep -q filename '$work/leases'"
# It gives back by unicast, so it must have the address.
ip -n dhcp-b address add 10.79.16.2/16 dev eth0
dhclient -r
sleep 0.5
verdict "and gives it back" [ -n "$(journal "what LIKE '%lease-released%'")" ]

got=$(TRIES=2 ask dhcp-x)
verdict "a stranger gets silence (${got:-nothing})" [ -z "$got" ]
got=$(ask dhcp-x "${pxe[@]}")
verdict "a stranger that network-boots gets a pool address, not the one somebody sits on ($got)" \
  bash -c "[[ '$got' == 10.79.64.* && '${got%% *}' != 10.79.64.1 ]]"
verdict "who sits there is named" bash -c "[[ '$(journal "what LIKE '%address-in-use%10.79.64.1\"%'" | head -1)' == *02:00:00:00:00:66* ]]"
first=${got%% *}
got=$(ask dhcp-x "${pxe[@]}" -x 0x3d:00aabbccddeeff)
verdict "it keeps that address with another client identifier ($got)" [ "${got%% *}" = "$first" ]

machine dhcp-d 52:54:00:00:00:07
got=$(WAIT=2 ask dhcp-d)
sleep 1.5
verdict "a node is offered its own address without delay though somebody sits on it ($got)" [ "${got%% *}" = 10.79.16.7 ]
verdict "and the culprit is on its timeline" \
  bash -c "[[ '$(journal "mac = '52:54:00:00:00:07' AND what LIKE '%address-in-use%'" | head -1)' == *02:00:00:00:00:66* ]]"

# A relay in the provisioning network, and then one of another network: its machines are not ours to give addresses to.
space dhcp-r
ip link add up0 netns dhcp-r type veth peer name v-relay netns dhcp-s
ip -n dhcp-s link set v-relay master br0 up
ip -n dhcp-r address add 10.79.0.9/16 dev up0
ip -n dhcp-r link set up0 up
space dhcp-f
ip link add eth0 netns dhcp-f address 52:54:00:00:00:08 type veth peer name down0 netns dhcp-r
ip -n dhcp-r address add 10.79.200.1/24 dev down0
ip -n dhcp-r link set down0 up
ip -n dhcp-f link set eth0 up
relay() { # relay LOG: until `relay_end`
  ip netns exec dhcp-r dhcrelay -4 -d -a -m append -id down0 -iu up0 10.79.0.1 >"$1" 2>&1 &
  relay_pid=$!
  sleep 1
}
relay_end() {
  kill "$relay_pid"
  wait "$relay_pid" 2>/dev/null || true
}
relay "$work/relay.log"
got=$(ask dhcp-f)
verdict "behind ISC dhcrelay, with option 82 added and echoed ($got)" [ "${got%% *}" = 10.79.16.8 ]
got=$(ask dhcp-f -B)
verdict "and with the broadcast bit ($got)" [ "${got%% *}" = 10.79.16.8 ]
verdict "the relay complains of nothing" bash -c "! grep -qiE 'invalid|discard|bogus|not to be' '$work/relay.log'"
relay_end
ip -n dhcp-r address del 10.79.200.1/24 dev down0
ip -n dhcp-r address add 10.78.0.1/24 dev down0
ip -n dhcp-s route add 10.78.0.0/24 via 10.79.0.9
relay "$work/relay-foreign.log"
got=$(TRIES=2 ask dhcp-f)
verdict "a node that is relayed from another network gets nothing (${got:-nothing})" [ -z "$got" ]
verdict "the relay did pass it on" grep -q "Forwarded BOOTREQUEST" "$work/relay-foreign.log"
verdict "and its timeline says from which network it was heard" \
  bash -c "[[ '$(journal "mac = '52:54:00:00:00:08' AND what LIKE '%refused%'" | tail -1)' == *'network of 10.78.0.1'* ]]"
relay_end

# A bad cable: 5 % of the packets lost, 5 % doubled, both ways, between br0 and the bridge of these machines.
ip -n dhcp-s link add br1 type bridge forward_delay 0
ip -n dhcp-s link set br1 up
for end in 0 1; do
  ip -n dhcp-s link add "cable$end" type veth peer name "plug$end"
  ip -n dhcp-s link set "plug$end" master "br$end" up
  ip -n dhcp-s link set "cable$end" up
done
ip netns exec dhcp-s python3 tests/netns/lossy.py cable0 cable1 5 5 >"$work/lossy.log" 2>&1 &
names=()
for n in $(seq 20 39); do
  name=dhcp-l$n
  machine "$name" "52:54:00:00:00:$(printf %02x "$n")"
  ip -n dhcp-s link set "v-$name" master br1
  names+=("$name:10.79.16.$n")
done
pids=()
for pair in "${names[@]}"; do
  (TRIES=8 ask "${pair%%:*}" >"$work/${pair%%:*}.got") &
  pids+=($!)
done
wait "${pids[@]}"
right=0
for pair in "${names[@]}"; do [[ $(cat "$work/${pair%%:*}.got") == "${pair##*:} "* ]] && right=$((right + 1)); done
verdict "twenty nodes at once over a link that loses and doubles: $right of 20" [ "$right" = 20 ]

verdict "nothing panicked" bash -c "! grep -q panicked '$work/server.log'"
stop
exit $bad
