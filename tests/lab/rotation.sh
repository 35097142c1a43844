# Owns the proof that a working cluster's secrets can be made anew: all that the plan changes by itself at once, then those
# that want a person's hand, as their own sentences say it. To be sourced after cluster.sh; cluster_done was called.
#
#   rotation        counts in $passed

# What is typed by standard input stands on no command line.
database() { node_run ctl1 sh -c "read -r MYSQL_PWD; export MYSQL_PWD; exec mariadb -h $vip -u nova -e 'SELECT 1' nova" <<<"$1" >/dev/null 2>&1; }
broker() { node_run ctl2 rabbitmqctl -q authenticate_user openstack <<<"$1" >/dev/null 2>&1; }
person() { node_run ctl3 sh -c '. /root/openrc; read -r OS_PASSWORD; export OS_PASSWORD; OS_WAIT=4 timeout 20 /usr/libexec/bootstead/register --token' <<<"$1" >/dev/null 2>&1; }
nova_conf() { node_run "$1" sed -n "s/^$2.*$3:\([^@:]*\)@.*/\1/p" /etc/nova/nova.conf | head -n 1; }
vrrp() { node_run "$1" sed -n 's/^ *auth_pass //p' /etc/keepalived/keepalived.conf | head -n 1; }
# known TOKEN NODE: whether that node's own keystone takes it
known() { in_lab curl -fsS -m 5 -o /dev/null -H "X-Auth-Token: $1" -H "X-Subject-Token: $1" "http://$(address_of "$2"):5000/v3/auth/tokens" 2>/dev/null; }
address_of() { awk -v n="$1" '$1 == n { print $3 }' <<<"$names"; }

# watch_outages: until $work/watched is gone, asks every half second through the address, and who has it
watch_outages() {
  local start now port
  echo "$(date +%s%N) begin" >"$work/outages.txt"
  while [ -e "$work/watched" ]; do
    start=$(date +%s%N)
    for port in 5000 8774; do
      answers $port 2>/dev/null && echo "$start $port"
    done >>"$work/outages.txt"
    [ "$(holders | wc -l)" -le 1 ] || echo "$start two" >>"$work/outages.txt"
    now=$(date +%s%N)
    [ $(((now - start) / 1000000)) -ge 500 ] || sleep 0.3
  done
  echo "$(date +%s%N) end" >>"$work/outages.txt"
}
longest() { # PORT: the longest time without an answer, in seconds, from the begin to the end of the watch
  awk -v port="$1" '$2 == port || $2 == "begin" || $2 == "end" { if (last && $1 - last > most) most = $1 - last; last = $1 } END { printf "%.1f", most / 1e9 }' "$work/outages.txt"
}

rotation() {
  local one by_plan=() starting=() database broker person vrrp watching token new
  while read -r one; do by_plan+=("$one"); done < <(bootstead secrets list | awk '!/never rotated|done by hand/ { print $1 }')
  [ "${#by_plan[@]}" -ge 10 ] || broken "the secrets that a plan changes: ${by_plan[*]}"
  database=$(nova_conf ctl1 connection nova)
  broker=$(nova_conf ctl1 transport_url openstack)
  person=$(node_run ctl1 sh -c '. /root/openrc; echo "$OS_PASSWORD"')
  vrrp=$(vrrp ctl1)
  database "$database" || broken "the password of nova's database opens it"
  broker "$broker" || broken "the brokers' password opens them"
  person "$person" || broken "the administrator's password opens keystone"
  [ -n "$vrrp" ] || broken "keepalived has a password"

  touch "$work/watched"
  watch_outages &
  watching=$!
  : >"$work/rotated.txt"
  for one in "${by_plan[@]}"; do bootstead secrets rotate "$one" >>"$work/rotated.txt" || broken "$one is made anew"; done
  bootstead plan --diff >"$work/rotated-plan.txt"
  bootstead apply --yes --wait 900 >"$work/rotated-apply.txt" || { tail -n 20 "$work/rotated-apply.txt"; broken "the plan with new secrets"; }
  rm "$work/watched"
  wait "$watching"
  ! grep -q two "$work/outages.txt" || broken "two nodes held the address while its password changed"
  ! database "$database" || broken "the old password of nova's database opens no more"
  ! broker "$broker" || broken "the brokers' old password opens no more"
  ! person "$person" || broken "the administrator's old password opens no more"
  for one in "${controllers[@]}"; do [ "$(vrrp "$one")" != "$vrrp" ] || broken "$one has the old VRRP password"; done
  database "$(nova_conf ctl2 connection nova)" || broken "the new password of nova's database opens it"
  broker "$(nova_conf cmp1 transport_url openstack)" || broken "the brokers' new password, of a compute, opens them"
  # Values are in nobody's hands but the nodes'.
  for one in "$(nova_conf ctl2 connection nova)" "$(nova_conf ctl2 transport_url openstack)" "$(vrrp ctl1)"; do
    ! grep -qF -e "$one" "$work"/rotated*.txt "$work/serve.log" || broken "a value stands in what was printed"
    ! bootstead events --json | grep -qF -e "$one" || broken "a value stands in the events"
  done
  bootstead verify >"$work/verify-rotated.txt" || { tail -n 30 "$work/verify-rotated.txt"; broken "verified with new secrets"; }
  bootstead apply --again --yes --wait 900 | grep -q '; 0 changed something' || broken "the same again changes nothing"
  ok "${#by_plan[@]} secrets made anew at once, the old ones open nothing: at most $(longest 5000) s without keystone, $(longest 8774) s without nova, one holder throughout"

  # --- the key that signs tokens, as after a theft
  ! bootstead secrets rotate keystone-fernet-1 >"$work/fernet.txt" 2>&1 || broken "a key that wants a hand is not made anew without one"
  token=$(os token issue -f value -c id) || broken "a token before the new key"
  for one in "${controllers[@]}"; do known "$token" "$one" || broken "$one takes the token"; done
  bootstead secrets rotate keystone-fernet-1 --by-hand >>"$work/fernet.txt"
  bootstead apply --yes --wait 600 >>"$work/fernet.txt" || { tail -n 20 "$work/fernet.txt"; broken "the plan with a new key"; }
  new=$(os token issue -f value -c id) || broken "a token with the new key"
  for one in "${controllers[@]}"; do
    ! known "$token" "$one" || broken "$one takes a token of the old key"
    known "$new" "$one" || broken "$one takes a token of the new key"
  done
  ok "a new key for tokens: every member refuses the old token and takes the new one"

  # --- the cookie of the brokers, as its sentence says: stopped on every member, changed, started on all at once
  for one in "${controllers[@]}"; do node_run "$one" systemctl stop rabbitmq-server || broken "the broker stops on $one"; done
  bootstead secrets rotate rabbitmq-cookie --by-hand >"$work/cookie.txt"
  bootstead apply --yes >>"$work/cookie.txt"
  changed() { [ "$(bootstead steps --json | python3 -c 'import json, sys
print(sum(s["id"] == "rabbitmq.cookie" and s["status"] == "done" for s in json.load(sys.stdin)["steps"]))')" = 3 ]; }
  soon 60 "the cookie is changed on every member" changed
  for one in "${controllers[@]}"; do
    node_run "$one" systemctl start rabbitmq-server &
    starting+=($!)
  done
  for one in "${starting[@]}"; do wait "$one" || broken "a broker starts with the new cookie"; done
  bootstead apply --again --yes --wait 600 >>"$work/cookie.txt" || { tail -n 20 "$work/cookie.txt"; broken "the plan with a new cookie"; }
  bootstead verify --wait 120 >"$work/verify-cookie.txt" || { tail -n 30 "$work/verify-cookie.txt"; broken "verified with a new cookie"; }
  ok "a new cookie: the brokers are one cluster with it, verified"
}
