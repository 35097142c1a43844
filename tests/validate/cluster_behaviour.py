"""What scripts of the parts do, in a world made of stand-ins: programs that play a node's. Part of cluster.py.

The scripts are those that plans carry; their absolute paths are moved into a folder. One planted mistake for each case
shows that it can fail.
"""
import json
import os
import pathlib
import re
import signal
import subprocess
import tempfile
import time

import cluster_items
from cluster_items import ROOT, filled

PROGRAMS = {
    # where the address is: the file `holder`; where it goes when haproxy dies: `then`; it comes back to `returns` once it was seen
    "ip": '[ "$(cat "$W/holder")" != "$HERE" ] || echo "2: eth0 inet 10.0.0.1/32"',
    "vip": 'h=$(cat "$W/holder"); [ "$h" != none ] || { echo "it has 0 holders" >&2; exit 1; }; echo "$h holds it"; [ ! -e "$W/dead" ] || cp "$W/returns" "$W/holder" 2>/dev/null || true',
    "systemctl": """echo "$*" >>"$W/log"
case "$*" in
"stop haproxy") touch "$W/dead"; cp "$W/then" "$W/holder" ;;
"start haproxy") rm -f "$W/dead" ;;
esac""",
    "systemd-run": 'echo "run $*" >>"$W/log"',
    "curl": '[ ! -e "$W/dead" ]',
    # who answers ARP: `arp` has lines of ADDRESS MAC
    "arping": r"""for a; do address=$a; done
while read -r a m; do [ "$a" != "$address" ] || echo "Unicast reply from $a [$m] 1ms"; done <"$W/arp" """,
    # sections of `openstack`: what each command says, or `fails`
    "openstack": 'f="$W/openstack $1 $2"; [ ! -e "$W/fails" ] || exit 1; cat "$f"',
    "placement-status": ":",
    "setpriv": 'for a; do last=$a; done; cat "$W/$last"',
}


class World:
    def __init__(self, folder, here):
        self.folder, self.here = pathlib.Path(folder), here
        (self.folder / "bin").mkdir()
        for name, text in PROGRAMS.items():
            self.write("bin/" + name, "#!/bin/bash\n%s\n" % text, 0o755)
        self.write("openrc", "")
        self.write("log", "")

    def write(self, name, text, mode=0o644):
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(mode)

    def read(self, name):
        return (self.folder / name).read_text()

    def words(self, script, *more):
        """A script with its paths in here, as words to run."""
        text = filled(script)
        for path in ("/var/lib/bootstead", "/etc/keepalived", "/usr/libexec/keepalived", "/root"):
            text = text.replace(path, str(self.folder))
        text = text.replace("/usr/libexec/bootstead/vip ", "vip ")
        self.write("script", text, 0o755)
        return ["bash" if text.startswith("#!/bin/bash") else "sh", "-eu", str(self.folder / "script"), *more]

    def env(self):
        return os.environ | {"W": str(self.folder), "HERE": self.here, "PATH": "%s/bin:%s" % (self.folder, os.environ["PATH"])}

    def run(self, script, *more):
        r = subprocess.run(self.words(script, *more), env=self.env(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=60)
        return r.returncode, r.stdout.strip().split("\n")[-1]


def steps_of(site, folder, tree=ROOT):
    return cluster_items.plan(site, tree, folder)[1]


def file_of(steps, node, path):
    return next(s["step"]["content"] for s in steps if s["node"] == node and s["step"].get("path") == path)


def failover(steps, mistake):
    """vip-failover on ctl1 of the laboratory: yields (what, whether it is so, what was said)."""
    script = mistake(file_of(steps, "ctl1", "/usr/libexec/bootstead/vip-failover"))
    script = script.replace("PATIENCE=10", "PATIENCE=1")
    conf = file_of(steps, "ctl1", "/etc/keepalived/keepalived.conf")

    def world(folder, holder, then):
        w = World(folder, "ctl1")
        w.write("holder", holder)
        w.write("then", then)
        w.write("keepalived.conf", conf)
        w.write("bootstead-haproxy", file_of(steps, "ctl1", "/usr/libexec/keepalived/bootstead-haproxy"))
        return w

    with tempfile.TemporaryDirectory() as folder:
        w = world(folder, "ctl2", "ctl3")
        w.run(script, "due")
        status, said = w.run(script, "test")
        yield "a member without the address cuts nothing", status == 0 and "haproxy" not in w.read("log"), said
    with tempfile.TemporaryDirectory() as folder:
        w = world(folder, "ctl1", "ctl2")
        w.run(script, "due")
        before = w.run(script, "proven")[0]
        status, said = w.run(script, "test")
        good = status == 0 and "ctl2 holds it" in said and not (w.folder / "dead").exists() and before != 0
        yield "the holder's haproxy is stopped, another member takes the address, haproxy runs again", good, said
        yield "what is proven stays proven", w.run(script, "proven")[0] == 0, ""
        yield "a start is arranged before the stop", re.search(r"run .*start haproxy\nstop haproxy\nstart haproxy\n", w.read("log")), w.read("log")
        w.write("keepalived.conf", conf.replace("unicast_peer {\n", "unicast_peer {\n        10.78.0.14\n"))
        yield "a member more is no reason to test again", w.run(script, "proven")[0] == 0, ""
        w.write("keepalived.conf", conf.replace("advert_int 1", "advert_int 2"))
        yield "another configuration is tested again", w.run(script, "proven")[0] != 0, ""
    for then, sentence in (("ctl1", "still holds"), ("none", "no other member has it alone")):
        with tempfile.TemporaryDirectory() as folder:
            w = world(folder, "ctl1", then)
            w.run(script, "due")
            status, said = w.run(script, "test")
            good = status == 1 and sentence in said and not (w.folder / "dead").exists() and w.run(script, "proven")[0] != 0
            yield "an address that goes to %s is an error, and haproxy runs again" % then, good, said
    with tempfile.TemporaryDirectory() as folder:
        w = world(folder, "ctl1", "ctl2")
        w.write("returns", "ctl1")
        w.run(script, "due")
        status, said = w.run(script, "test")
        yield "an address that comes back to a dead haproxy is an error", status == 1 and "came back" in said, said
    with tempfile.TemporaryDirectory() as folder:
        w = world(folder, "ctl1", "ctl1")
        w.run(script, "due")
        child = subprocess.Popen(w.words(script.replace("PATIENCE=1", "PATIENCE=30"), "test"), env=w.env(), stderr=subprocess.DEVNULL)
        end = time.monotonic() + 20
        while not (w.folder / "dead").exists() and time.monotonic() < end:
            time.sleep(0.02)
        was_dead = (w.folder / "dead").exists()
        child.send_signal(signal.SIGTERM)
        child.wait(20)
        yield "who is interrupted starts haproxy again", was_dead and not (w.folder / "dead").exists(), ""


def holders(steps, mistake):
    """`lvs one` on lb1: who answers for the address, by ARP."""
    script = mistake(file_of(steps, "lb1", "/usr/libexec/bootstead/lvs"))
    address = re.search(r"judge \"\$1\" '?([\d.]+)", script)[1]
    peer = re.search(r"lb2=([\d.]+)", script)[1]
    other, stranger = "02:00:00:00:00:02", "02:00:00:00:00:99"
    for what, holder, arp, verb, good, sentence in (
        ("one director", "lb2", {address: other, peer: other}, "one", True, "lb2 holds"),
        ("this director", "lb1", {peer: other}, "one", True, "lb1 holds"),
        ("a stranger alone", "none", {address: stranger, peer: other}, "one", False, "no member"),
        ("a stranger", "none", {address: stranger, peer: other}, "free", False, "no member"),
        ("two directors", "lb1", {address: other, peer: other}, "one", False, "2 holders"),
        ("nobody", "none", {peer: other}, "one", False, "0 holders"),
        ("nobody", "none", {peer: other}, "free", True, ""),
    ):
        with tempfile.TemporaryDirectory() as folder:
            w = World(folder, "lb1")
            w.write("holder", holder)
            w.write("arp", "".join("%s %s\n" % pair for pair in arp.items()))
            status, said = w.run(script, verb)
            yield "lvs %s: %s" % (verb, what), (status == 0) == good and sentence in said, said


UP = "nova-conductor ctl{n} enabled up\nnova-scheduler ctl{n} enabled up\n"
TABLE = "+--+\n| {} |\n+--+\n"


def computes(steps, mistake):
    """nova's and placement's verify: computes that are not there are named."""
    scripts = {s["id"]: mistake(s["step"]["script"]) for s in steps if s["step"]["kind"] == "run" and ".verify-" in s["id"] and s["node"] == "ctl1"}
    services = "".join(UP.format(n=n) for n in (1, 2, 3)) + "nova-compute cmp1 enabled up\n"
    both, full = "nova-compute cmp2 enabled up\n", "cmp1.lab.example\n"
    hosts = "+--+\n| Cell Name | Cell UUID | Hostname |\n+--+\n| cell1 | 1-2 | cmp1 |\n"
    cells = "+--+\n| Name | UUID |\n+--+\n| cell0 | 0-0 |\n| cell1 | 1-2 |\n"
    for step, files, good, sentence in (
        ("nova.verify-services", {"openstack compute service": services + both}, True, ""),
        ("nova.verify-services", {"openstack compute service": services + "nova-compute cmp2 disabled down\n"}, True, ""),
        ("nova.verify-services", {"openstack compute service": services}, False, "not registered: nova-compute on cmp2"),
        ("nova.verify-services", {"openstack compute service": services + both.replace("up", "down")}, False, "not up: nova-compute on cmp2"),
        ("nova.verify-services", {"openstack compute service": services + both, "fails": ""}, False, ""),
        ("nova.verify-hypervisors", {"openstack hypervisor list": full + "cmp2.lab.example QEMU\n"}, True, ""),
        ("nova.verify-hypervisors", {"openstack hypervisor list": full}, False, "not exactly one hypervisor: cmp2"),
        ("nova.verify-cells", {"list_cells": cells, "list_hosts": hosts + "| cell1 | 1-2 | cmp2 |\n"}, True, ""),
        ("nova.verify-cells", {"list_cells": cells, "list_hosts": hosts}, False, "not mapped to cell1: cmp2"),
        ("nova.verify-cells", {"list_cells": cells + "| cell1 | 3-4 |\n", "list_hosts": hosts + "| cell1 | 1-2 | cmp2 |\n"}, False, "cell0 cell1 cell1"),
        ("nova.verify-cells", {"list_hosts": hosts}, False, "No such file"),
        ("placement.verify-providers", {"openstack resource provider": full + "cmp2.lab.example\n"}, True, ""),
        ("placement.verify-providers", {"openstack resource provider": full}, False, "cmp2 (0)"),
        ("placement.verify-providers", {"openstack resource provider": full + "cmp2\ncmp2.lab.example\n"}, False, "cmp2 (2)"),
    ):
        with tempfile.TemporaryDirectory() as folder:
            w = World(folder, "ctl1")
            for name, text in files.items():
                w.write(name, text)
            status, said = w.run(scripts[step])
            yield "%s: %s" % (step, sentence or ("it is well" if good else "a command fails")), (status == 0) == good and sentence in said, said


CASES = [
    # what is looked at, the mistakes that some case must notice
    (failover, [("systemctl stop haproxy\n", "true\n"), ("trap back EXIT\n", "\n"), ("trap 'exit 1' INT TERM HUP\n", "trap '' INT TERM HUP; trap - EXIT\n"),
                ("-e '/^ *unicast_peer {/,/}/d'", ""), ("if ! noted due", "if false"), ("! here ||", "true ||")]),
    (holders, [('return 1\n    fi\n  done\n  if [ -n', 'true\n    fi\n  done\n  if [ -n'), ("-ne 1", "-gt 9")]),
    (computes, [('-z "$bad"', "1"), ("n != 1", "n > 9"), ('"$n" = 1', '"$n" != 0'), ('= "cell0 cell1 "', '!= ""')]),
]


def judged():
    """(whether it is well, what to print) for each case and each planted mistake."""
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        plans = {failover: steps_of("lab", folder), holders: steps_of("lvs-rr", folder)}
        plans[computes] = steps_of("lab", folder, cluster_items.tree_with_checks(folder))
        for case, planted in CASES:
            for what, good, said in case(plans[case], lambda text: text):
                yield bool(good), "%s%s" % (what, "" if good else ": " + json.dumps(said))
            for there, wrong in planted:
                placed = []

                def mistake(text, there=there, wrong=wrong):
                    placed.append(there in text)
                    return text.replace(there, wrong)

                noticed = not all(good for _, good, _ in case(plans[case], mistake))
                yield noticed and any(placed), "the mistake %r for %r in %s is noticed" % (wrong, there, case.__name__)
