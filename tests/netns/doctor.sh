#!/usr/bin/env bash
# Owns the proof that `bootstead doctor` finds what breaks a visit: a second DHCP server, a taken port, a closed
# firewall, a pulled cable; and that the command it prints opens the firewall. Needs root, dnsmasq, nft.
set -uo pipefail
cd "$(dirname "$0")/../.."
bootstead=$(realpath "${BOOTSTEAD:-target/debug/bootstead}")
dir=$(mktemp -d)
here=ops-doctor-$$ there=ops-other-$$
pids=()
cleanup() {
  for p in "${pids[@]}"; do kill "$p" 2>/dev/null; done
  ip netns del "$here" 2>/dev/null
  ip netns del "$there" 2>/dev/null
  rm -rf "$dir"
}
trap cleanup EXIT
failed=0
expect() { # NAME TEXT OUTPUT: the output has the text
  if grep -qF -- "$2" <<<"$3"; then echo "ok - $1"; else echo "not ok - $1: no \"$2\" in:"; sed 's/^/    /' <<<"$3"; failed=1; fi
}

"$bootstead" init "$dir/site" >/dev/null || exit 1
address=$(sed -n 's/^address = "\([0-9.]*\)".*/\1/p' "$dir/site/site.toml" | head -1)
net=${address%.*}
ip netns add "$here" && ip netns add "$there" || exit 1
ip -n "$here" link set lo up
ip -n "$here" link add eth9 type veth peer name eth9 netns "$there"
ip -n "$here" address add "$address/24" dev eth9
ip -n "$there" address add "$net.99/24" dev eth9
ip -n "$here" link set eth9 up
ip -n "$there" link set eth9 up
doctor() { (cd "$dir/site" && ip netns exec "$here" "$bootstead" doctor "$@" 2>&1); }

clean=$(doctor)
expect "a quiet network is quiet" "no other DHCP server answers on eth9" "$clean"
expect "free ports are free" "67/udp, 69/udp, 80/tcp, 8443/tcp, 514/udp, 514/tcp free" "$clean"
expect "an open firewall is open" "drops nothing that comes in" "$clean"

dns=(dnsmasq -d --conf-file=/dev/null --port=0 --interface=eth9 --bind-interfaces --no-ping)
ip netns exec "$there" "${dns[@]}" "--dhcp-range=$net.150,$net.160" --dhcp-leasefile="$dir/leases" >/dev/null 2>&1 &
pids+=($!)
ip netns exec "$here" "${dns[@]}" --enable-tftp --tftp-root="$dir" >/dev/null 2>&1 &
holder=$!
pids+=("$holder")
ip netns exec "$here" nft -f - <<'N'
table inet filter {
  chain input {
    type filter hook input priority filter; policy drop;
    ct state established,related accept
    iif lo accept
  }
}
N
sleep 1
found=$(doctor)
[ $? = 3 ] && echo "ok - errors end with 3" || { echo "not ok - errors end with 3"; failed=1; }
expect "another DHCP server is named" "$net.99" "$(grep -A3 rivals <<<"$found")"
expect "a taken port names its holder" "is held by dnsmasq (pid $holder)" "$found"
expect "a closed firewall is seen" "no rule lets our ports in" "$found"
grep -o 'nft insert rule.*' <<<"$found" >"$dir/open.sh"
ip netns exec "$here" sh -e "$dir/open.sh" || { echo "not ok - the printed command runs"; failed=1; }
expect "the printed command opens it" "has rules for our ports" "$(doctor --quiet)"
# With a cluster the nodes' agents come, too.
printf '\n[cluster]\n[vip.api]\nnetwork = "provisioning"\naddress = "10.77.0.5"\n' >>"$dir/site/site.toml"
found=$(doctor --quiet)
expect "a cluster needs the agents' port open" "no rule lets our ports in" "$found"
grep -o 'nft insert rule.*' <<<"$found" >"$dir/open.sh"
expect "the printed command names the agents' port" "8443" "$(cat "$dir/open.sh")"
ip netns exec "$here" sh -e "$dir/open.sh" || { echo "not ok - the printed command for a cluster runs"; failed=1; }
expect "the printed command opens the agents' port" "has rules for our ports" "$(doctor --quiet)"
ip -n "$there" link set eth9 down
sleep 1
expect "a pulled cable is seen" "eth9 has no link" "$(doctor --quiet)"
exit "$failed"
