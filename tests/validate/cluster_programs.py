"""Judges of `cluster` that ask the program that will read a file. Part of cluster.py.

Each takes a list of items and yields (item, complaint).
"""
import ast
import collections
import concurrent.futures
import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile

from cluster_items import HERE, INTERFACE, NAMESPACE, SECOND, kind_of

# the folder that `cluster` has made: an environment for each release of OpenStack, and `tools`
VENVS = pathlib.Path(sys.argv[1])


def run(words, **more):
    r = subprocess.run([str(w) for w in words], capture_output=True, text=True, timeout=60, **more)
    return r.returncode, (r.stdout + r.stderr).strip()


def each(check):
    """A judge of many items from one that yields the complaints of one text in a file."""

    def judge(many):
        for item in many:
            with tempfile.TemporaryDirectory() as name:
                file = pathlib.Path(name) / (os.path.basename(item.path) or "text")
                file.write_text(item.text)
                for complaint in check(item, file):
                    yield item, complaint

    return judge


@each
def haproxy(item, file):
    status, said = run(["haproxy", "-c", "-f", file])
    if status or re.search(r"\[(WARNING|ALERT)\]", said):
        yield said or "exit status %d" % status
    # not seen by haproxy: two services at one place
    binds = re.findall(r"^ *bind (\S+)", item.text, re.M)
    for twice in {b for b in binds if binds.count(b) > 1}:
        yield "%s is bound twice" % twice


@each
def keepalived(item, file):
    # version 2.2.7 ends its own test where a script is set: a copy without them is judged, and ours looks at the rest
    copy = re.sub(r"^vrrp_script .*?^}\n|^ *track_script \{.*?\}\n", "", item.text, flags=re.S | re.M)
    copy = re.sub(r"^ *MISC_CHECK \{.*?\}\n", "", copy, flags=re.S | re.M)
    copy = re.sub(r"^ *(script_user|notify_(master|backup|fault|stop)) .*\n", "", copy, flags=re.M)
    file.write_text(copy)
    inside = "ip link add %s type veth peer name %s && exec keepalived --config-test -f \"$1\"" % (INTERFACE, SECOND)
    status, said = run([*NAMESPACE, "sh", "-c", inside, "sh", file], start_new_session=True)
    if status or said:
        yield said or "exit status %d" % status
    made = set(re.findall(r"^vrrp_script (\S+) \{", item.text, re.M))
    tracked = {name for block in re.findall(r"track_script \{(.*?)\}", item.text, re.S) for name in block.split()}
    if made != tracked:
        yield "scripts %s are made, %s are tracked" % (sorted(made), sorted(tracked))
    for block in re.findall(r"MISC_CHECK \{(.*?)\}", item.text, re.S):
        if sorted(line.split()[0] for line in block.split("\n") if line.strip()) != ["misc_path", "misc_timeout"]:
            yield "a check by script has its path and its time: %s" % block.strip()
    if ("MISC_CHECK" in item.text or made) and "script_user keepalived_script\n" not in item.text:
        yield "scripts run as root"
    if item.text.count("{") != item.text.count("}"):
        yield "braces do not match"
    if "nopreempt" in item.text and "state BACKUP" not in item.text:
        yield "nopreempt without state BACKUP"


@each
def mariadb(item, file):
    status, said = run(["mariadbd", "--defaults-file=%s" % file, "--help", "--verbose", "--wsrep-on=OFF", "--user=nobody"])
    # no mistakes: there is no data folder here, the shell's limit of open files, and the format of binary logs, which
    # counts for Galera's write sets too, where no binary log is kept
    accepted = r"mysql\.plugin|max_open_files|need to use --log-bin to make --binlog-format work"
    wrong = [l for l in said.splitlines() if re.search(r"\[(ERROR|Warning)\]", l) and not re.search(accepted, l)]
    if status or wrong:
        yield "\n".join(wrong) or said[-300:]


@each
def httpd(item, file):
    modules = "/usr/lib/apache2/modules"
    # the accounts and the folders of the logs are made by packages that are not here
    text = re.sub(r"\buser=\w+ group=\w+", "user=nobody group=nogroup", item.text)
    text = re.sub(r"/var/log/\w+/", "%s/" % file.parent, text)
    load = "".join("LoadModule %s_module %s/mod_%s.so\n" % (m, modules, m) for m in ("mpm_event", "authz_core", "authz_host", "wsgi"))
    file.write_text("ServerName judged\nDefaultRuntimeDir %s\nPidFile pid\nErrorLog /dev/null\n%sListen 127.0.0.1:1\n%s" % (file.parent, load, text))
    status, said = run(["apache2", "-t", "-f", file])
    if status or said != "Syntax OK":
        yield said


@each
def systemd(item, file):
    units = file.parent / "units"
    rest = pathlib.PurePath(item.path).relative_to("/etc/systemd/system")
    target = units / rest
    target.parent.mkdir(parents=True)
    # our own programs are files of the plan, judged as scripts
    target.write_text(re.sub(r"/usr/libexec/bootstead/\S+", "/bin/true", item.text))
    unit = target
    if rest.parent.suffix == ".d":
        unit = units / rest.parent.stem
        unit.write_text("[Unit]\nDescription=judged\n[Service]\nExecStart=/bin/true\n")
    environment = os.environ | {"SYSTEMD_UNIT_PATH": "%s:" % units}
    status, said = run(["systemd-analyze", "verify", "--man=no", unit], env=environment)
    mine = [l for l in said.splitlines() if str(units) in l or unit.name in l]
    if status or mine:
        yield "\n".join(mine) or said


def python(many):
    for item in many:
        try:
            # EL9's own Python
            ast.parse(item.text, feature_version=(3, 9))
        except SyntaxError as e:
            yield item, str(e)
    yield from compiled(many)


@each
def compiled(item, file):
    status, said = run(["/usr/bin/python3", "-W", "error", "-m", "py_compile", file])
    if status:
        yield said


def shells(many):
    """sh -n and shellcheck, all in one call: it takes longer to begin than to judge."""
    with tempfile.TemporaryDirectory() as name:
        folder, by_file, groups = pathlib.Path(name), {}, collections.defaultdict(list)
        for n, item in enumerate(many):
            shell = "bash" if item.text.startswith("#!/bin/bash") else "sh"
            file = folder / str(n)
            # what only sets variables is read by another program
            skip = "# shellcheck disable=SC2034\n" if kind_of(item.path, item.text) == "settings" else ""
            file.write_text(item.text if item.text.startswith("#!") else skip + item.text)
            by_file[str(file)] = item
            groups[shell].append(str(file))
            status, said = run([shell, "-n", file])
            if status or said:
                yield item, said
        for shell, files in groups.items():
            _, said = run(["shellcheck", "-s", shell, "-f", "json", "-e", "SC1091", *files])
            for c in json.loads(said):
                yield by_file[c["file"]], "line %d: SC%d %s" % (c["line"], c["code"], c["message"])


def openstack(many):
    # a process for each service: two of them name different options alike, and one process cannot hold both
    groups = collections.defaultdict(dict)
    for n, item in enumerate(many):
        groups[item.release, item.path.split("/")[2]][str(n)] = item

    def ask(release, jobs):
        jobs = [{"id": n, "path": i.path, "text": i.text} for n, i in jobs.items()]
        words = [VENVS / release / "bin/python", "-W", "ignore", HERE / "options.py"]
        return subprocess.run([str(w) for w in words], input=json.dumps(jobs), capture_output=True, text=True, timeout=120)

    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        answers = {key: pool.submit(ask, key[0], jobs) for key, jobs in groups.items()}
    for key, answer in answers.items():
        r = answer.result()
        if r.returncode:
            sys.exit("not ok - cluster: the judge of %s's files of %s failed: %s" % (key[1], key[0], r.stderr[-2000:]))
        for n, complaints in json.loads(r.stdout).items():
            for c in complaints:
                yield groups[key][n], c


@each
def apt(item, file):
    # what it would fetch from every source that it understands; nothing is fetched
    list_file = file.with_suffix(".list")
    list_file.write_text(item.text)
    status, said = run(["apt-get", "-o", "Dir::Etc::sourcelist=%s" % list_file, "-o", "Dir::Etc::sourceparts=-", "--print-uris", "update"])
    if status or "InRelease" not in said:
        yield said or "it names no source"
