"""Judges of `cluster` for what no program can be asked about. Part of cluster.py; see cluster_programs.py for their form."""
import base64
import configparser
import ipaddress
import json
import pathlib
import re

from cluster_programs import each


@each
def dnf(item, file):
    parser = configparser.ConfigParser(interpolation=None)
    try:
        parser.read_string(item.text)
    except configparser.Error as e:
        yield str(e)
        return
    for name in parser.sections():
        keys = set(parser[name])
        if keys - {"name", "baseurl", "enabled", "gpgcheck", "gpgkey"} or {"name", "baseurl"} - keys:
            yield "[%s] has the keys %s" % (name, sorted(keys))
        elif not re.match(r"(https?|file|ftp)://", parser[name]["baseurl"]):
            yield "baseurl is no URL"
        elif (parser[name].get("gpgcheck") == "1") != ("gpgkey" in parser[name]):
            yield "[%s] looks at signatures without a key, or has a key and does not" % name
        elif "gpgkey" in parser[name] and not re.match(r"(https?|file)://", parser[name]["gpgkey"]):
            yield "gpgkey is no URL"
    if not parser.sections() and "the sources that the installation left" not in item.text:
        yield "it names no repository"


def lines(text):
    return [l for l in text.splitlines() if l.strip() and not l.startswith("#")]


@each
def hosts(item, file):
    owner = {}
    for line in lines(item.text):
        try:
            ipaddress.ip_address(line.split()[0])
        except ValueError:
            yield "no address: %s" % line
        for name in line.split()[1:]:
            if not re.fullmatch(r"[a-z0-9]([a-z0-9.-]*[a-z0-9])?", name):
                yield "no name: %s" % line
            if line.startswith("127.") and not name.startswith("localhost"):
                yield "at the loopback: %s" % line
            if ":" not in line.split()[0] and owner.setdefault(name, line.split()[0]) != line.split()[0]:
                yield "%s has two addresses" % name
    if item.node not in owner:
        yield "%s itself is not there" % item.node


@each
def key(item, file):
    try:
        good = len(base64.urlsafe_b64decode(item.text)) == 32 and len(item.text) == 44
    except ValueError:
        good = False
    if not good:
        yield "no Fernet key: 32 bytes in 44 characters and nothing else"


@each
def cookie(item, file):
    if not re.fullmatch(r"[A-Z]{20}", item.text):
        yield "no cookie: 20 capital letters and nothing else"


RABBITMQ = [
    (r"listeners\.tcp\.\d+", r"\d+(\.\d+){3}:\d+"),
    (r"cluster_name", r"[\w.-]+"),
    (r"cluster_partition_handling", r"ignore|autoheal|pause_minority"),
    (r"cluster_formation\.peer_discovery_backend", r"classic_config"),
    (r"cluster_formation\.randomized_startup_delay_range\.(min|max)", r"\d+"),
    (r"cluster_formation\.classic_config\.nodes\.\d+", r"rabbit@[a-z0-9-]+"),
    (r"(vm_memory_high_watermark|disk_free_limit)\.absolute", r"\d+([kMG]i?B)?"),
    (r"log\.file\.level", r"debug|info|warning|error|critical|none"),
]


@each
def rabbitmq(item, file):
    seen = set()
    for line in lines(item.text):
        name, sep, value = (p.strip() for p in line.partition("="))
        if not any(re.fullmatch(k, name) and re.fullmatch(v, value) for k, v in RABBITMQ):
            yield "no setting: %s" % line
        if name in seen:
            yield "%s stands twice" % name
        seen.add(name)


@each
def libvirt(item, file):
    known = {"unix_sock_group", "unix_sock_rw_perms", "auth_unix_ro", "auth_unix_rw", "host_uuid_source"}
    for line in lines(item.text):
        found = re.fullmatch(r'(\w+) = (?:"[^"]*"|\d+)', line)
        if not found or found[1] not in known:
            yield "no setting: %s" % line


@each
def memcached(item, file):
    for line in lines(item.text):
        if not re.fullmatch(r"-[mpUc] \d+|-u [a-z]\w*|-l \d+(\.\d+){3}|-P /\S+", line):
            yield "no option: %s" % line


@each
def exports(item, file):
    known = {"rw", "ro", "sync", "no_subtree_check", "root_squash"}
    for line in lines(item.text):
        found = re.fullmatch(r"(/\S*) ([\d./]+)\(([a-z_,]+)\)", line)
        if not found or set(found[3].split(",")) - known:
            yield "no export: %s" % line
            continue
        try:
            ipaddress.ip_network(found[2])
        except ValueError as e:
            yield str(e)
    if not lines(item.text):
        yield "nothing is exported"


@each
def hostfile(item, file):
    seen = set()
    for line in lines(item.text):
        try:
            ipaddress.ip_address(line)
        except ValueError:
            yield "no address: %s" % line
        if line in seen:
            yield "%s stands twice" % line
        seen.add(line)


@each
def openmpi(item, file):
    known = {"btl_tcp_if_include": r"[\d.]+/\d+", "oob_tcp_if_include": r"[\d.]+/\d+", "plm_rsh_agent": r"ssh"}
    for line in lines(item.text):
        name, _, value = (p.strip() for p in line.partition("="))
        if name not in known or not re.fullmatch(known[name], value):
            yield "no parameter: %s" % line


@each
def munge(item, file):
    if not re.fullmatch(r"[0-9a-f]{64}", item.text):
        yield "no key: 32 to 1024 bytes, here 64, and nothing else"


@each
def modules(item, file):
    for line in lines(item.text):
        if not re.fullmatch(r"[a-z0-9_]+", line):
            yield "no module: %s" % line


@each
def sysctl(item, file):
    found = re.fullmatch(r"([a-z0-9_]+(?:\.[A-Za-z0-9_-]+)+) = (\S.*)\n", item.text)
    if not found:
        yield "no setting: %s" % item.text
    elif not (pathlib.Path("/proc/sys") / found[1].replace(".", "/")).exists():
        yield "this kernel has no %s" % found[1]


@each
def wanted(item, file):
    try:
        wish = json.loads(item.text)
    except ValueError as e:
        yield str(e)
        return
    if set(wish) - {"projects", "roles", "users", "services"}:
        yield "register knows no %s" % sorted(wish)
    for service in wish.get("services", []):
        for url in service["endpoints"].values():
            if not re.fullmatch(r"http://\d+(\.\d+){3}:\d+(/\S*)?", url):
                yield "no endpoint: %s" % url


@each
def unknown(item, file):
    yield "nobody judges such a file: give its kind a judge, see tests/validate/cluster.py"
