#!/usr/bin/env python3
"""Judges every file, script and setting that the cluster half puts on a node. Usage: cluster.py FOLDER (see `cluster`)

Each kind of file (cluster_items.py) goes to the program that will read it (cluster_programs.py, cluster_services.py) or,
where that one cannot be asked (RabbitMQ, libvirt, memcached, /etc/hosts), to a format check of our own
(cluster_formats.py). One planted mistake of each kind (cluster_mistakes.py) must be refused. What some scripts do is seen
among stand-ins for a node's programs (cluster_behaviour.py).
"""
import collections
import re
import sys

import cluster_behaviour as behaviour
import cluster_formats as formats
import cluster_programs as programs
import cluster_services as services
from cluster_items import items
from cluster_mistakes import mistakes

JUDGES = {
    "haproxy": ("haproxy -c", programs.haproxy),
    "keepalived": ("keepalived --config-test", programs.keepalived),
    "mariadb": ("mariadbd --help --verbose", programs.mariadb),
    "openstack": ("oslo-config-validator and the options' types", programs.openstack),
    "httpd": ("apache2 -t", programs.httpd),
    "systemd": ("systemd-analyze verify", programs.systemd),
    "python": ("py_compile, and Python 3.9's grammar", programs.python),
    "script": ("sh -n, shellcheck", programs.shells),
    "step": ("sh -n, shellcheck", programs.shells),
    "settings": ("sh -n, shellcheck", programs.shells),
    "apt": ("apt-get --print-uris update", programs.apt),
    "dnf": ("our own check", formats.dnf),
    "hosts": ("our own check", formats.hosts),
    "key": ("our own check", formats.key),
    "cookie": ("our own check", formats.cookie),
    "rabbitmq": ("our own check", formats.rabbitmq),
    "libvirt": ("our own check", formats.libvirt),
    "memcached": ("our own check", formats.memcached),
    "sysctl": ("our own check, and the kernel", formats.sysctl),
    "wanted": ("JSON, and what register knows", formats.wanted),
    "prometheus": ("promtool check config", services.prometheus),
    "rules": ("promtool check rules, and what the exporters call it", services.rules),
    "targets": ("promtool check config", services.targets),
    "etcd": ("etcd, started with it", services.etcd),
    "corosync": ("corosync -t", services.corosync),
    "authkey": ("corosync -t", services.authkey),
    "cib": ("crm_verify", services.cib),
    "drbd": ("drbdadm dump", services.drbd),
    "ceph": ("ceph-conf --show-config", services.ceph),
    "exports": ("our own check", formats.exports),
    "hostfile": ("our own check", formats.hostfile),
    "openmpi": ("our own check", formats.openmpi),
    "munge": ("our own check", formats.munge),
    "modules": ("our own check", formats.modules),
    "unknown": ("nobody", formats.unknown),
}


def main():
    all_items = items()
    planted = list(mistakes(all_items))
    failed = 0
    for kind, (judge_name, judge) in JUDGES.items():
        good = [item for k, item in all_items if k == kind]
        bad = [(row, item) for row, item in planted if row[0] == kind]
        # one call for both: most of these programs take longer to begin than to judge
        said = collections.defaultdict(list)
        both = good + [item for _, item in bad if item]
        for item, complaint in judge(both) if both else ():
            said[id(item)].append(complaint)
        wrong = [(item, c) for item in good for c in said[id(item)]]
        for item in good:
            # {{ $labels.instance }} is filled in by Prometheus
            for leftover in re.findall(r"@@\w*|\{\{(?! \$).*?\}\}|\{%.*?%\}", item.text):
                wrong.append((item, "a placeholder is left: " + leftover))
        for item, complaint in wrong:
            print("not ok - cluster: %s on %s of site %s: %s" % (item.path or item.name, item.node, item.site, complaint))
        failed += len(wrong)
        if good and not wrong:
            print("ok - cluster: %d of kind %s by %s" % (len(good), kind, judge_name))
        if not good and kind != "unknown":
            print("not ok - cluster: nothing of kind %s was rendered" % kind)
            failed += 1
        for row, item in bad:
            if item is None or not said[id(item)]:
                print("not ok - cluster: the mistake %r for %r in %s %s %s" % (row[3], row[2], kind, row[1], "was let through" if item else "has no place"))
                failed += 1
        if bad and all(item and said[id(item)] for _, item in bad):
            print("ok - cluster: %d planted mistakes of kind %s are refused" % (len(bad), kind))
    for well, what in behaviour.judged():
        print("%s - cluster: %s" % ("ok" if well else "not ok", what))
        failed += not well
    sys.exit(1 if failed else 0)


main()
