#!/usr/bin/env bash
# Owns: other DHCP servers. Before serving: refusal with the other's address and offer; while serving: alarm, strangers
# get nothing, nodes are served; a taken port names its holder.
set -uo pipefail
cd "$(dirname "$0")/../.."
. tests/netns/dhcp-lib.sh
network
cat_script
site
machine dhcp-o 02:00:00:00:00:0d
ip -n dhcp-o address add 10.79.0.2/16 dev eth0
rival() {
  # With its usual ping check, which answers a probe only after three seconds.
  ip netns exec dhcp-o dnsmasq --keep-in-foreground --port=0 --conf-file=/dev/null --interface=eth0 --bind-interfaces \
    --dhcp-range=10.79.200.1,10.79.200.50,1h --dhcp-option=3,10.79.0.2 --dhcp-boot=pxelinux.0 \
    --dhcp-leasefile="$work/dnsmasq.leases" --user=root >"$work/dnsmasq.log" 2>&1 &
  rival_pid=$!
  sleep 0.5
}
doctor() { ip netns exec dhcp-s "$binary" --site "$work/site/site.toml" --tree "$work/tree" doctor --quiet 2>&1; }
rival
serve
wait "$server_pid"; code=$?
verdict "beside dnsmasq it refuses to serve (exit $code)" [ "$code" = 3 ]
verdict "it names the other's address and Ethernet address" grep -q "10.79.0.2 (02:00:00:00:00:0d) answers on br0" "$work/server.log"
verdict "and what it offers" grep -qE 'address 10.79.200.[0-9]+, router 10.79.0.2, .*option 67 "pxelinux.0"|option 67 "pxelinux.0"' "$work/server.log"
verdict "and what to type" grep -q 'tolerate = \["10.79.0.2"' "$work/server.log"
sed -n '/error:/,$p' "$work/server.log"

site 'tolerate = ["10.79.0.2"]'
serve
verdict "tolerated, it serves" kill -0 "$server_pid"
stop
kill "$rival_pid"; wait "$rival_pid" 2>/dev/null
site
forget_journal
serve || cat "$work/server.log"
verdict "with the other one gone it serves" kill -0 "$server_pid"
# The other one comes back while we serve, and some machine takes its offer: that is heard at once.
rival
machine dhcp-p 02:00:00:00:00:77
got=$(TRIES=6 ask dhcp-p)
verdict "the other one serves a stranger ($got), we never said NAK" bash -c "[[ '$got' == 10.79.200.* ]]"
sleep 1.5
verdict "it is an event" [ "$(journal "what LIKE '%rival-heard%10.79.0.2%'" | wc -l)" -ge 1 ]
verdict "and an alarm" grep -q "another DHCP server (10.79.0.2) answers" "$work/server.log"
kill "$rival_pid"; wait "$rival_pid" 2>/dev/null
machine dhcp-y 02:00:00:00:00:78
machine dhcp-a 52:54:00:00:00:01
got=$(TRIES=2 ask dhcp-y "${pxe[@]}")
verdict "a stranger that network-boots now gets silence from us (${got:-nothing})" [ -z "$got" ]
got=$(ask dhcp-a)
verdict "a node of the site is still served ($got)" [ "${got%% *}" = 10.79.16.1 ]
stop

# Started without a cable; then it is plugged into a network that has a server.
site
forget_journal
ports() { for v in dhcp-o dhcp-p dhcp-y dhcp-a; do ip -n dhcp-s link set "v-$v" "$1"; done; }
ports down
serve || cat "$work/server.log"
verdict "without a link it starts" kill -0 "$server_pid"
rival
machine dhcp-z 02:00:00:00:00:79
ports up
sleep 1.5
# Its pings for our own questions come first, three seconds each.
got=$(TRIES=14 ask dhcp-z "${pxe[@]}")
verdict "a stranger on a link that just came up has its address from the other one ($got)" bash -c "[[ '$got' == 10.79.200.* ]]"
verdict "we gave out nothing" [ -z "$(journal "what LIKE '%leased%'")" ]
verdict "and the other one was heard" [ "$(journal "what LIKE '%rival-heard%10.79.0.2%'" | wc -l)" -ge 1 ]
kill "$rival_pid"; wait "$rival_pid" 2>/dev/null
stop

# Port 67 is taken on the same interface (field-pain #25).
ip netns exec dhcp-s dnsmasq --keep-in-foreground --port=0 --conf-file=/dev/null --interface=br0 --bind-interfaces \
  --dhcp-range=10.79.200.1,10.79.200.50,1h --dhcp-leasefile="$work/dnsmasq2.leases" --user=root >"$work/dnsmasq2.log" 2>&1 &
holder=$!
sleep 0.7
serve
wait "$server_pid"; code=$?
verdict "a taken port: exit $code" [ "$code" = 3 ]
verdict "the holder is named with its pid" grep -q "process $holder (dnsmasq)" "$work/server.log"
sed -n '/error:/,$p' "$work/server.log"
verdict "doctor says so before" grep -q "67/udp (DHCP) on br0 is held by dnsmasq (pid $holder)" <(doctor)
kill "$holder"; wait "$holder" 2>/dev/null
# The same program on another interface is in nobody's way.
ip -n dhcp-s link add other0 type veth peer name other1
ip -n dhcp-s address add 192.168.122.1/24 dev other0
ip -n dhcp-s link set other1 up
ip -n dhcp-s link set other0 up
ip netns exec dhcp-s dnsmasq --keep-in-foreground --port=0 --conf-file=/dev/null --interface=other0 --bind-interfaces \
  --dhcp-range=192.168.122.2,192.168.122.50,1h --dhcp-leasefile="$work/dnsmasq3.leases" --user=root >"$work/dnsmasq3.log" 2>&1 &
holder=$!
sleep 0.7
verdict "doctor says that the port is free where it is wanted" \
  grep -q "67/udp (DHCP) is free on br0; dnsmasq (pid $holder) has it elsewhere" <(doctor)
serve || sed -n '/error:/,$p' "$work/server.log"
no_fault() { ! doctor | grep -qF "67/udp (DHCP)"; }
verdict "doctor beside the running server finds no fault with the port" no_fault
verdict "beside libvirt's kind of dnsmasq on another interface it serves" kill -0 "$server_pid"
stop
kill "$holder"; wait "$holder" 2>/dev/null
exit $bad
