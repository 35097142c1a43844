"""What the judges of `cluster` judge: every file, script and setting that plans put on nodes. Part of cluster.py.

The plans come from `bootstead plan --json`; the checks of `verify` stand in no plan, so a copy of the parts in which they
are steps is planned too. A file of no known kind is a mistake.
"""
import base64
import collections
import hashlib
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
SITES = {
    "lab": (ROOT / "tests/lab/cluster.site.toml", "debian12", {}),
    "el9": (HERE / "cluster.site.toml", "el9", {}),
    "debian12": (
        HERE / "cluster.site.toml",
        "debian12",
        {'"el9"': '"debian12"', '"http://mirror.judged.example/cloud/"': '"deb http://mirror.judged.example/cloud bookworm main"'},
    ),
}
# LVS alone: every scheduler, every method and every check at least once, of both families
LVS = [
    # scheduler, method, protocol, check
    ("rr", "dr", "tcp", "tcp"), ("wrr", "dr", "tcp", "http"), ("lc", "dr", "tcp", "script"), ("wlc", "tun", "tcp", "http"),
    ("lblc", "tun", "tcp", "tcp"), ("lblcr", "tun", "udp", "script"), ("dh", "nat", "tcp", "script"), ("sh", "nat", "udp", "udp"),
    ("sed", "nat", "tcp", "tcp"), ("nq", "nat", "tcp", "http"), ("mh", "dr", "udp", "udp"), ("fo", "dr", "tcp", "tcp"), ("ovf", "nat", "tcp", "tcp"),
]
for scheduler, method, protocol, check in LVS:
    values = {"lvs_scheduler": scheduler, "lvs_method": method, "lvs_protocol": protocol, "lvs_check": check,
              "lvs_check_path": "/alive", "lvs_check_script": "/usr/local/sbin/alive", "lvs_persistence_timeout": "300"}
    values = "[vars]\n" + "".join('%s = "%s"\n' % pair for pair in values.items())
    lab = ROOT / "tests/lab/lvs.site.toml"
    SITES["lvs-%s" % scheduler] = (lab, "debian12", {"[vars]\n": values})
    SITES["lvs-%s-el9" % scheduler] = (lab, "el9", {"[vars]\n": values, 'image = "debian12"\nlane = "fast"': 'image = "el9"'})
Item = collections.namedtuple("Item", "site release node name path text")


# what a node fills in


def value_of(kind, name):
    seed = hashlib.sha256(name.encode())
    if kind == "fernet":
        return base64.urlsafe_b64encode(seed.digest()).decode()
    if kind == "cookie":
        return "".join(chr(65 + b % 26) for b in seed.digest()[:20])
    if kind == "uuid":
        h = seed.hexdigest()
        return "-".join((h[:8], h[8:12], h[12:16], h[16:20], h[20:32]))
    if kind == "password":
        return seed.hexdigest()[:32]
    sys.exit("cluster: %s is of kind %s, which is not known here" % (name, kind))


def secrets():
    kinds = {}
    for path in ROOT.glob("profiles/parts/*/part.toml"):
        for name, kind in tomllib.loads(path.read_text()).get("secrets", {}).items():
            # a table has the secret's kind beside its way of rotation
            kinds[name] = kind["kind"] if isinstance(kind, dict) else kind
    return kinds


KINDS = secrets()
# keepalived wants an interface that there is, and not the loopback: it gets one in a network namespace of its own
INTERFACE = "judged0"
# the one of the site's second network
SECOND = "judged1"
NAMESPACE = ["unshare", "--net"] if os.geteuid() == 0 else ["unshare", "--map-root-user", "--net"]


def filled(text):
    def secret(found):
        name, _, length = found[1].partition(":")
        return value_of(KINDS[name], name)[: int(length) if length else None]

    text = re.sub(r"@@secret:([^@]+)@@", secret, text)
    text = re.sub(r"@@interface:10\.80\.[^@]+@@", SECOND, text)
    return re.sub(r"@@interface:[^@]+@@", INTERFACE, text)


# the plans


def tree_with_checks(folder):
    """The parts, with every script of `verify`, `recover`, `backup` and `drill` as a step that a plan shows."""
    shutil.copytree(ROOT / "profiles", folder / "profiles")
    for path in folder.glob("profiles/parts/*/part.toml"):
        part = tomllib.loads(path.read_text())
        rows = [(v["id"], v) for v in part.get("verify", [])]
        rows += [("recover-" + k, {"run": v}) for k, v in part.get("recover", {}).items() if isinstance(v, str)]
        rows += [("backup", part["backup"])] if "backup" in part else []
        rows += [("%s-%s" % (d["id"], k), d | {"run": d[k]}) for d in part.get("drill", []) for k in ("find", "run", "mend") if k in d]
        text = re.split(r"^(?:\[\[(?:verify|drill|probe)\]\]|\[(?:recover|backup)\])$", path.read_text(), maxsplit=1, flags=re.M)[0]
        for name, row in rows:
            text += '[[step]]\nid = "verify-%s"\n' % name
            # a JSON text is a TOML text too
            text += "".join("%s = %s\n" % (k, json.dumps(row[k])) for k in ("on", "when", "run") if k in row)
            if "env" in row:
                text += "env = { %s }\n" % ", ".join("%s = %s" % (k, json.dumps(v)) for k, v in row["env"].items())
        path.write_text(text)
    return folder


def plan(site, tree, folder):
    path, release, changes = SITES[site]
    text = path.read_text()
    for old, new in changes.items():
        assert old in text, old
        text = text.replace(old, new)
    copy = folder / (site + ".site.toml")
    copy.write_text(text)
    words = [os.environ["BOOTSTEAD"], "plan", "--tree", tree, "--site", copy, "--state", folder / "state", "--json"]
    r = subprocess.run(words, capture_output=True, text=True)
    if r.returncode:
        sys.exit("cluster: no plan of %s: %s" % (copy, r.stderr.strip()))
    return release, json.loads(r.stdout)["steps"]


def scripts_of(step):
    """Scripts that a step runs, with a name for each."""
    if step["kind"] == "run":
        yield "run", step["script"]
    if step.get("unless"):
        yield "unless", step["unless"]
    if step.get("start"):
        yield "start", step["start"]
    for key in ("ready", "check"):
        check = step.get(key) or {}
        if "run" in check:
            yield key, check["run"]["script"]


def items():
    """Everything to judge, once for each text: (kind, Item)."""
    found = {}

    def add(kind, item):
        found.setdefault((kind, item.path, item.text, item.release if kind == "openstack" else ""), (kind, item))

    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        checked = tree_with_checks(folder)
        for site in SITES:
            for tree, wanted in ((ROOT, lambda i: True), (checked, lambda i: ".verify-" in i)):
                release, steps = plan(site, tree, folder)
                steps = [s for s in steps if wanted(s["id"])]
                if not steps:
                    sys.exit("cluster: the plan of %s from %s is empty" % (site, tree))
                for s in steps:
                    step, where = s["step"], (site, release, s["node"])
                    if step["kind"] == "file":
                        kind = kind_of(step["path"], step["content"])
                        add(kind, Item(*where, s["id"], step["path"], filled(step["content"])))
                    if step["kind"] == "sysctl":
                        for key, value in step["values"].items():
                            add("sysctl", Item(*where, s["id"], step["file"], "%s = %s\n" % (key, value)))
                    for use, script in scripts_of(step):
                        add("step", Item(*where, "%s (%s)" % (s["id"], use), "", filled(script)))
                        for wish in re.findall(r"register <<END\n(.*?)^END$", script, re.S | re.M):
                            add("wanted", Item(*where, s["id"], "", wish))
    return list(found.values())


PATHS = [
    (r"^/etc/prometheus/prometheus\.yml$", "prometheus"),
    (r"^/etc/prometheus/rules/", "rules"),
    (r"^/etc/prometheus/targets/", "targets"),
    (r"^/etc/default/etcd$|^/etc/etcd/etcd\.conf$", "etcd"),
    (r"/mysqld_exporter\.cnf$", "mariadb"),
    (r"/corosync\.conf$", "corosync"),
    (r"/corosync/authkey$", "authkey"),
    (r"/cib\.xml$", "cib"),
    (r"^/etc/drbd\.d/", "drbd"),
    (r"^/etc/modules-load\.d/", "modules"),
    (r"^/etc/ceph/ceph\.conf$", "ceph"),
    (r"^/etc/exports\.d/", "exports"),
    (r"/openmpi-default-hostfile$", "hostfile"),
    (r"/openmpi-mca-params\.conf$", "openmpi"),
    (r"^/etc/munge/munge\.key$", "munge"),
    (r"/haproxy\.cfg$", "haproxy"),
    (r"/keepalived\.conf$", "keepalived"),
    (r"/(mysql|my\.cnf\.d)/.*\.cnf$", "mariadb"),
    (r"^/etc/(nova|keystone|placement|glance|neutron)/.*\.(conf|ini)$", "openstack"),
    (r"^/etc/httpd/conf\.d/", "httpd"),
    (r"^/etc/systemd/system/", "systemd"),
    (r"^/etc/(default|sysconfig)/|/(openrc|etcdrc)$|/rabbitmq-env\.conf$", "settings"),
    (r"^/etc/apt/sources\.list\.d/", "apt"),
    (r"^/etc/yum\.repos\.d/", "dnf"),
    (r"^/etc/hosts$", "hosts"),
    (r"/(fernet|credential)-keys/\d+$", "key"),
    (r"/\.erlang\.cookie$", "cookie"),
    (r"^/etc/rabbitmq/.*\.conf$", "rabbitmq"),
    (r"^/usr/lib/python3/.*\.py$", "python"),
    (r"^/etc/libvirt/", "libvirt"),
    (r"^/etc/memcached\.conf$", "memcached"),
]


def kind_of(path, content):
    first = content.split("\n", 1)[0]
    if re.match(r"#!.*python", first):
        return "python"
    if first.startswith("#!"):
        return "script"
    return next((kind for pattern, kind in PATHS if re.search(pattern, path)), "unknown")
