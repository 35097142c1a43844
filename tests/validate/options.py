#!/usr/bin/env python3
"""Judges OpenStack's configuration files by OpenStack's own option lists. Runs in an environment of one release.

Standard input: JSON, `[{ "id": …, "path": …, "text": … }]`. Standard output: JSON, complaints by id.
oslo-config-validator finds unknown names and sections. It does not look at values, at a section of an authentication
plug-in or at the sections of glance's stores, so these are judged here: every value by its option's own type, the
plug-in's options by the plug-in, and by us what OpenStack takes as any text: addresses and URLs.
"""
import configparser
import ipaddress
import json
import logging
import re
import sys
import tempfile
import urllib.parse

from keystoneauth1 import loading
from oslo_config import cfg, generator, validator

OSLO = ["oslo.log", "oslo.db", "oslo.cache", "oslo.policy", "oslo.middleware", "oslo.concurrency", "oslo.messaging"]
NEUTRON = OSLO + ["neutron", "nova.auth", "placement.auth", "keystonemiddleware.auth_token"]
NAMESPACES = [
    (r"/nova/nova(-compute)?\.conf$", OSLO + ["nova.conf", "keystonemiddleware.auth_token"]),
    (r"/keystone/keystone\.conf$", OSLO + ["keystone"]),
    (r"/placement/placement\.conf$", OSLO + ["placement.conf", "keystonemiddleware.auth_token"]),
    (r"/glance/glance-api\.conf$", OSLO + ["glance.api", "glance.store", "glance.multi_store", "keystonemiddleware.auth_token"]),
    (r"/neutron/neutron\.conf$", NEUTRON + ["neutron.db", "neutron.extensions", "neutron.agent"]),
    (r"/ml2/ml2_conf\.ini$", NEUTRON + ["neutron.ml2"]),
    (r"/ml2/openvswitch_agent\.ini$", NEUTRON + ["neutron.ml2", "neutron.ml2.ovs.agent", "neutron.base.agent"]),
    (r"/neutron/dhcp_agent\.ini$", NEUTRON + ["neutron.dhcp.agent", "neutron.base.agent"]),
    (r"/neutron/l3_agent\.ini$", NEUTRON + ["neutron.l3.agent", "neutron.base.agent"]),
    (r"/neutron/metadata_agent\.ini$", NEUTRON + ["neutron.metadata.agent"]),
]
ADDRESSES = {
    "my_ip", "osapi_compute_listen", "metadata_listen", "novncproxy_host", "server_listen",
    "server_proxyclient_address", "bind_host", "local_ip", "live_migration_inbound_addr", "nova_metadata_host",
}
URLS = re.compile(r"(^|_)(url|uri|connection|endpoint_override|endpoint)$")
# sections that glance makes of `enabled_backends` and for itself: a store's options stand in them
STORES = re.compile(r"^os_glance_(staging|tasks)_store$")


def plain(name):
    return name.replace("-", "_")


def options(namespaces):
    """Option by (section, name), with the former names; what is in no section is in DEFAULT."""
    found = {}
    for _, groups in generator._list_opts(namespaces):
        for group, opts in groups:
            section = getattr(group, "name", group) or "DEFAULT"
            for opt in opts:
                found[section, plain(opt.name)] = opt
                found[section, plain(opt.dest)] = opt
                for old in opt.deprecated_opts:
                    found.setdefault((old.group or section, plain(old.name or opt.name)), opt)
    return found


def once(function):
    """The same answer for the same namespaces: they are listed for every file."""
    answers = {}

    def asked(namespaces):
        key = tuple(namespaces)
        if key not in answers:
            answers[key] = function(namespaces)
        return answers[key]

    return asked


class Said(logging.Handler):
    def __init__(self):
        super().__init__(logging.WARNING)
        self.lines = []

    def emit(self, record):
        self.lines.append(record.getMessage())


def by_validator(namespaces, text, excluded):
    with tempfile.NamedTemporaryFile("w", suffix=".conf") as file:
        file.write(text)
        file.flush()
        words = ["--input-file", file.name]
        for n in namespaces:
            words += ["--namespace", n]
        for section in excluded:
            words += ["--exclude-group", section]
        said = Said()
        logging.root.handlers = [said]
        sys.argv = ["oslo-config-validator"] + words
        try:
            status = validator.main()
        except SystemExit as e:
            status = e.code
    # a deprecated name is only a warning there; here it is a mistake, since the next release takes it away
    return said.lines if status or said.lines else []


def address(value):
    try:
        ipaddress.ip_address(value)
    except ValueError:
        return "is no IP address"


def url(value):
    if value.startswith("rabbit://"):
        hosts, _, rest = value[len("rabbit://"):].partition("/")
        good = all(re.fullmatch(r"[\w-]+:[\w=-]+@[\w.-]+:\d+", h) for h in hosts.split(","))
        return None if good and not rest else "is no list of brokers"
    parts = urllib.parse.urlsplit(value)
    try:
        if not parts.scheme or not parts.hostname or parts.port is None:
            return "is no URL with host and port"
    except ValueError as e:
        return str(e)
    if parts.scheme == "mysql+pymysql" and not (parts.username and parts.password and parts.path.strip("/")):
        return "names no user, password or database"


def by_type(known, parsed, backends):
    plugin = {plain(o.name): o for o in loading.get_auth_plugin_conf_options("password")}
    for section, values in parsed.items():
        for name, value in values.items():
            where = "[%s] %s = %s" % (section, name, value)
            home = "glance_store" if section in backends or STORES.match(section) else section
            opt = known.get((home, plain(name)))
            if opt is None and "auth_type" in values:
                opt = plugin.get(plain(name))
            if opt is None:
                yield where + ": no such option"
                continue
            if not value.strip():
                yield where + ": is empty"
                continue
            wrong = None
            if name in ADDRESSES:
                wrong = address(value)
            elif URLS.search(name) and name != "worker_self_reference_url":
                wrong = url(value)
            if not wrong and "$" not in value:
                try:
                    opt.type(value)
                except ValueError as e:
                    wrong = str(e)
            if wrong:
                yield "%s: %s" % (where, wrong)


def judge(job, cache):
    namespaces = next((n for pattern, n in NAMESPACES if re.search(pattern, job["path"])), None)
    if namespaces is None:
        return ["no namespaces are known for this file"]
    key = tuple(namespaces)
    if key not in cache:
        cache[key] = options(namespaces)
    # strict: a key or a section that stands twice is a mistake too
    parser = configparser.RawConfigParser(default_section=" ", strict=True, delimiters=("=",))
    parser.optionxform = str
    try:
        parser.read_string(job["text"])
    except configparser.Error as e:
        return [str(e)]
    parsed = {s: dict(parser.items(s)) for s in parser.sections()}
    backends = [b.split(":")[0] for b in parsed.get("DEFAULT", {}).get("enabled_backends", "").split(",") if b]
    excluded = backends + [s for s in parsed if STORES.match(s)]
    return by_validator(namespaces, job["text"], excluded) + list(by_type(cache[key], parsed, backends))


def main():
    generator._list_opts = once(generator._list_opts)
    cache = {}
    said = {}
    for job in json.load(sys.stdin):
        said[job["id"]] = judge(job, cache)
    json.dump(said, sys.stdout)


main()
