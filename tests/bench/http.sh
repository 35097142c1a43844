#!/usr/bin/env bash
# Owns the HTTP bench: Bootstead beside nginx, in the same network and the same run: small files (wrk, 256
# connections) and bulk (many clients fetch 60 MiB at once).
# Usage: http.sh [CLIENTS] [ROUNDS]       needs root and `make build`
set -euo pipefail
cd "$(dirname "$0")/../.."
clients=${1:-128} rounds=${2:-3}
work=$PWD/.work/http ns_s=bs-http-s ns_c=bs-http-c
. tests/bench/net.sh
head -c $((60 << 20)) /dev/urandom >"$work/www/bulk"
head -c 6000 /dev/urandom >"$work/www/small"
chmod -R a+rX "$work/www"
shelve bench "$work/www/bulk" "$work/www/small"
cat >"$work/nginx.conf" <<EON
worker_processes 2;
worker_rlimit_nofile 8192;
pid $work/nginx.pid;
error_log $work/nginx.log;
user root;
events { worker_connections 4096; }
http { access_log off; sendfile on; sendfile_max_chunk 0; tcp_nopush on; keepalive_requests 1000000000;
  default_type application/octet-stream;
  server { listen 10.79.0.1:80 backlog=4096; root $work/www; rewrite ^/images/bench/(.*)\$ /\$1 break; } }
EON

# wrk prints "Requests/sec: N" and its totals
small() {
  play "$1" "${@:3}" -- bash -c "wrk -t 2 -c 256 -d 6s http://10.79.0.1$2 |
    awk '/Requests.sec/ { print \"rate=\" \$2 } /requests in/ { print \"requests=\" \$1 } /Non-2xx|Socket errors/ { print \"failed=1\" }'"
}
bulk() {
  play "$1" "${@:2}" -- "$fetch" bulk --server 10.79.0.1:80 --path /images/bench/bulk --bytes $((60 << 20)) \
    --clients "$clients" --rounds 2
}

round() {
  small "$1-file" /images/bench/small "${@:2}"
  small "$1-script" /autoexec.ipxe "${@:2}"
  bulk "$1-bulk" "${@:2}"
}
printf '#!ipxe\nexit\n%0800d\n' 0 >"$work/www/autoexec.ipxe"
for _ in $(seq "$rounds"); do
  ours
  round bootstead $pid
  kill -TERM $pid
  wait $pid || true
  inside $ns_s nginx -c "$work/nginx.conf" -g 'daemon off;' &
  pid=$!
  sleep 0.5
  round nginx $pid
  kill $pid
  wait $pid 2>/dev/null || true
done >"$work/rounds"
for what in file script bulk; do
  grep -- "-$what " "$work/rounds" | sed "s/-$what / /" |
    python3 -c '
import re, sys
for line in sys.stdin:
    f = {k: float(v) for k, v in re.findall(r"(\w+)=([0-9.]+)", line)}
    if f.get("requests"):
        line = line.rstrip() + " us_each=%.3f\n" % (f["cpu_s"] / f["requests"] * 1e6)
    sys.stdout.write(line)' >"$work/$what"
done
echo "HTTP, a file of 6 kB, wrk, 256 connections"
table "$work/file" nginx rate us_each peak_mb failed
echo "HTTP, a small text from memory (nginx: a file), wrk, 256 connections"
table "$work/script" nginx rate us_each peak_mb failed
echo "HTTP, $clients clients x 2 x 60 MiB"
table "$work/bulk" nginx seconds cpu_s peak_mb failed
PYTHONPATH=tests/bench python3 -B - "$work" <<'EOP'
import sys
import targets
small, bulk = targets.rows(f"{sys.argv[1]}/file"), targets.rows(f"{sys.argv[1]}/bulk")
targets.say("http", {
    "HTTP small files rate to nginx": targets.ratio(small, "rate", "nginx"),
    "HTTP bulk CPU to nginx": targets.ratio(bulk, "cpu_s", "nginx"),
    "HTTP bulk failed clients": targets.worst(bulk, "bootstead", "failed"),
})
EOP
