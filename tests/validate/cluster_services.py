"""Judges of `cluster` for monitoring, key-value store and the other shapes. Part of cluster.py; see cluster_programs.py.

Their programs come out of Debian's packages, unpacked by `cluster`, not installed: no service starts where this runs.
"""
import json
import os
import pathlib
import re
import subprocess

from cluster_programs import NAMESPACE, VENVS, each, run

TOOLS = VENVS / "tools/root"


def tool(*words, **more):
    """A program of the unpacked packages, or of this machine."""
    libraries = ":".join(str(TOOLS / p) for p in ("usr/lib/x86_64-linux-gnu", "usr/lib/x86_64-linux-gnu/ceph", "usr/lib", "lib/x86_64-linux-gnu"))
    path = ":".join([str(TOOLS / p) for p in ("usr/bin", "usr/sbin", "sbin", "bin")] + [os.environ["PATH"]])
    environment = os.environ | {"LD_LIBRARY_PATH": libraries, "PATH": path, "PCMK_schema_directory": str(TOOLS / "usr/share/pacemaker")} | more.pop("env", {})
    return run(words, env=environment, **more)


TARGETS = '[{"targets": ["10.0.0.1:9100"], "labels": {"job": "node"}}]'
RULES = "groups: []"


def promtool(folder, config=None, rules=RULES, targets=TARGETS):
    """Judges a whole configuration, the rest of it made up."""
    for name, text in (("rules/cluster.yml", rules), ("targets/cluster.json", targets), ("prometheus.yml", config)):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text.replace("/etc/prometheus/", "%s/" % folder))
    return tool("promtool", "check", "config", folder / "prometheus.yml")


@each
def prometheus(item, file):
    status, said = promtool(file.parent, item.text)
    if status:
        yield said
    # a pattern that matches no file is no mistake to it
    if "1 rule files found" not in said:
        yield "the rules are not found"


CONFIG = """
rule_files: [/etc/prometheus/rules/*.yml]
scrape_configs: [{job_name: cluster, file_sd_configs: [{files: [/etc/prometheus/targets/*.json]}]}]
"""
# what the rules may name: measurements of the exporters of these versions, and the jobs of targets.json.j2
MEASURES = {
    "up", "node_filesystem_avail_bytes", "node_filesystem_size_bytes", "node_filesystem_readonly", "node_memory_MemAvailable_bytes",
    "node_memory_MemTotal_bytes", "node_timex_offset_seconds", "node_network_address_info", "haproxy_backend_active_servers",
    "haproxy_backend_backup_servers", "mysql_global_status_wsrep_cluster_size", "mysql_global_status_wsrep_ready", "mysql_up",
    "etcd_server_has_leader",
}
JOBS = {"node", "haproxy", "galera", "etcd", "prometheus"}
WORDS = {"and", "or", "vector", "count", "abs", "predict_linear", "h", "m", "s"}


@each
def rules(item, file):
    status, said = promtool(file.parent, CONFIG, rules=item.text)
    if status:
        yield said
    for expression in re.findall(r"^ *expr: (.*)$", item.text, re.M):
        for job in re.findall(r'job!?="(\w+)"', expression):
            if job not in JOBS:
                yield "no target has the job %s" % job
        bare = re.sub(r"\{.*?\}", "", expression)
        for name in set(re.findall(r"[a-zA-Z_]\w*", bare)) - MEASURES - WORDS:
            yield "no exporter tells %s" % name


@each
def targets(item, file):
    status, said = promtool(file.parent, CONFIG, targets=item.text)
    if status:
        yield said
        return
    seen = set()
    for entry in json.loads(item.text):
        labels = entry["labels"]
        if set(labels) != {"job", "instance", "role"} or labels["job"] not in JOBS:
            yield "labels are %s" % labels
        for target in entry["targets"]:
            port = re.fullmatch(r"\d+(?:\.\d+){3}:(\d+)", target)
            if not port or not 0 < int(port[1]) < 65536:
                yield "no address: %s" % target
            if target in seen:
                yield "%s is asked twice" % target
            seen.add(target)


@each
def etcd(item, file):
    """Really started, alone, in a network namespace where it has its address; a mistake ends it at once."""
    values = dict(re.findall(r"^(ETCD_\w+)=(.*)$", item.text, re.M))
    address = re.search(r"//([\d.]+):2380", values.get("ETCD_LISTEN_PEER_URLS", ""))
    if not address:
        yield "it listens nowhere for its peers"
        return
    here = "http://%s:2380" % address[1]
    first = {"ETCD_INITIAL_CLUSTER": "%s=%s" % (values["ETCD_NAME"], here), "ETCD_INITIAL_ADVERTISE_PEER_URLS": here, "ETCD_INITIAL_CLUSTER_STATE": "new"}
    inside = "ip link set lo up && ip address add %s/32 dev lo && exec timeout 3 etcd" % address[1]
    status, said = tool(*NAMESPACE, "sh", "-c", inside, env=values | first | {"ETCD_DATA_DIR": str(file.parent / "data")}, start_new_session=True)
    wrong = [l for l in said.splitlines() if re.search(r"unrecognized environment variable|invalid|[Ee]rror verifying", l)]
    # ended by the time, and it had become ready to serve
    if status != 124 or "serving" not in said or wrong:
        yield "\n".join(wrong) or said[-300:]


KEY = "k" * 128


def corosync_test(folder, config, key=KEY):
    """In a network namespace where the first member's address is this machine's."""
    (folder / "key").write_text(key)
    address = re.search(r"ring0_addr: (\d+\.\d+\.\d+\.\d+)$", config, re.M)
    config = config.replace("transport:", "keyfile: %s/key\n    transport:" % folder) + "system {\n    state_dir: %s\n}\n" % folder
    (folder / "judged.conf").write_text(config)
    inside = "ip link set lo up && ip address add %s/32 dev lo && exec corosync -c %s/judged.conf -t"
    return tool(*NAMESPACE, "sh", "-c", inside % (address[1] if address else "127.0.0.2", folder), start_new_session=True)


@each
def corosync(item, file):
    status, said = corosync_test(file.parent, item.text)
    if status:
        yield said


COROSYNC = """totem {
    version: 2
    crypto_cipher: aes256
    crypto_hash: sha256
    transport: knet
}
nodelist {
    node {
        name: one
        nodeid: 1
        ring0_addr: 10.0.0.1
    }
}
"""


@each
def authkey(item, file):
    status, said = corosync_test(file.parent, COROSYNC, item.text)
    if status:
        yield said


@each
def cib(item, file):
    # that there is a watchdog the running cluster notes by itself (cib-load does the same)
    file.write_text(item.text.replace("<nvpair id=\"bootstead-watchdog", '<nvpair id="bootstead-have" name="have-watchdog" value="true"/><nvpair id="bootstead-watchdog'))
    status, said = tool("crm_verify", "--xml-file", file, "-V")
    if status or "error" in said:
        yield said


@each
def drbd(item, file):
    # version 8.4 is Debian's, 9 is EL's
    program = TOOLS / "lib/drbd/drbdadm-84" if item.release == "debian12" else "drbdadm"
    status, said = tool(program, "-c", file, "dump", "all")
    if status or "resource data {" not in said:
        yield said or "it shows no resource"


@each
def ceph(item, file):
    """What Ceph has read must be what is written: a name that it does not know is not shown, a wrong value is dropped."""
    status, said = tool("ceph-conf", "-c", file, "--show-config", "--name", "osd.0")
    shown = dict(l.split(" = ", 1) for l in said.splitlines() if " = " in l)
    if status or not shown:
        yield said[-300:]
    for line in item.text.splitlines():
        if " = " not in line or line.startswith("#"):
            continue
        name, value = line.split(" = ", 1)
        if name not in shown:
            yield "no option: %s" % name
        elif shown[name] != value and not (re.fullmatch(r"[\d.]+", value) and re.fullmatch(r"[\d.]+", shown[name]) and float(shown[name]) == float(value)):
            yield "%s is read as %s, not %s" % (name, shown[name], value)
    addresses = re.findall(r"\[v2:[\d.]+:3300,v1:[\d.]+:6789\]", item.text)
    words = [w for n, a in enumerate(addresses) for w in ("--addv", "m%d" % n, a)]
    status, said = tool("monmaptool", "--create", "--clobber", "--fsid", shown.get("fsid", ""), *words, file.parent / "map")
    if status or "(%d monitors)" % len(addresses) not in said or len(addresses) != len(shown.get("mon_initial_members", "").split(",")):
        yield "no map of monitors: %s" % said
