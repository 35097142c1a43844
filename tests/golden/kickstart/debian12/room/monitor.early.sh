#!/bin/sh
# In the Debian installer, after the preseed is read.
set -u
REPORT='http://10.77.0.1/v1/nodes/52-54-00-aa-00-01/report'
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
    curl -s --noproxy '*' -m 20 -o /dev/null -D - 'http://10.77.0.1/'
  else
    wget -S -T 20 -O /dev/null 'http://10.77.0.1/' 2>&1
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
