#!/bin/bash
# In Ubuntu's installer, when it has failed.
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
report failed "installer" "$(tail -n 6 /var/log/installer/subiquity-server-debug.log 2>/dev/null | cut -c 1-140)"
