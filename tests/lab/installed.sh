# Owns the "installation" of laboratory nodes (nodes.sh): what the fast lane's system does with a disk is done with the
# node's root; the server's side of it is real. To be sourced after nodes.sh; `bootstead` is the program for the lab's site.
#
#   install NAME MAC ADDRESS      an armed node is prepared as its installer would leave it, still off
#   joined NODE...                whether each one's agent has joined
#
# If there is a function installed_more, it gets the node's name at the end of install.

install() { # NAME MAC ADDRESS
  node_prepare "$1" "$3" "$2"
  in_lab python3 - "$2" "$(node_root "$1")" "http://$nodes_gateway" <<'PY'
import json, os, re, sys, urllib.parse, urllib.request
mac, root, server = sys.argv[1:]
get = lambda path: urllib.request.urlopen(server + path, timeout=30).read().decode()
token = re.search(r"bootstead.token=(\w+)", get("/boot.ipxe?mac=" + mac)).group(1)
hyphens = mac.replace(":", "-")
orders = json.loads(get(f"/v1/nodes/{hyphens}/orders?token={token}"))
report = lambda **more: get(f"/v1/nodes/{hyphens}/report?" + urllib.parse.urlencode({"token": token, **more}))
report(event="begin", run="lab")
wanted = ("/etc/bootstead/report", "/etc/bootstead/first-boot", "/etc/hosts", "/etc/hostname",
          "/etc/systemd/system/bootstead-first-boot.service")
for file in orders["files"]:
    if file["path"] in wanted:
        path = root + file["path"]
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "w") as f:
            f.write(file["content"])
        os.chmod(path, file["mode"])
drop = root + "/etc/systemd/system/multi-user.target.d"
os.makedirs(drop, exist_ok=True)
with open(drop + "/bootstead.conf", "w") as f:
    f.write("[Unit]\nWants=bootstead-first-boot.service\n")
report(event="installed")
PY
  ! declare -F installed_more >/dev/null || installed_more "$1"
}
joined() { # NODE...
  local n
  for n in "$@"; do bootstead events --node "$n" --json | grep -q '"agent-joined"' || return 1; done
}
