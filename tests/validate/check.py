#!/usr/bin/env python3
"""Judges rendered answer files by the installers' own validators. Usage: check.py FOLDER …  (see `run`)

kickstart   pykickstart, in the family's own version, as rendered and with what %pre wrote on a made-up machine
preseed     debconf-set-selections --checkonly
autoinstall a schema of our own (autoinstall.schema.json says why)
Ignition    ignition-validate
scripts     shellcheck; nft --check for firewalls
A self-test plants a mistake for each of them first: a validator that lets it pass fails the run.
"""
import glob
import hashlib
import json
import os
import re
import subprocess
import sys
import tempfile
import urllib.parse
import warnings
from collections import Counter

import jsonschema
from pykickstart.errors import KickstartError
from pykickstart.parser import KickstartParser
from pykickstart.version import makeVersion

import behaviour
import steps
from machine import Disk, Machine

HERE = os.path.dirname(os.path.abspath(__file__))
# a VLAN on a bond is reported as a second device of the bond's name: the one message that is no mistake
ACCEPTED = re.compile(r"A network device with the name \S+ has already been defined")
SECTION = re.compile(r"^(%(?:pre|post|onerror))[^\n]*\n(.*?)^%end", re.S | re.M)
SCHEMA = json.load(open(os.path.join(HERE, "autoinstall.schema.json")))
seen_scripts = {}


def dialect(family):
    for path in glob.glob(os.path.join(HERE, "../../kickstart", family + ".*.j2")):
        found = re.search(r'^dialect = "(\w+)"', open(path).read(), re.M)
        if found:
            return found.group(1)
    raise SystemExit("no dialect is known for family %s" % family)


def ksvalidator(version, text):
    handler = makeVersion(version)
    parser = KickstartParser(handler, followIncludes=False)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            parser.readKickstartFromString(text)
        except (KickstartError, ValueError) as e:
            return [str(e)]
    return [str(w.message) for w in caught if not ACCEPTED.search(str(w.message))]


def command(words, text):
    r = subprocess.run(words, input=text, text=True, capture_output=True)
    said = (r.stdout + r.stderr).strip()
    return [said or "exit status %d" % r.returncode] if r.returncode or said else []


def shellcheck(text, shell):
    # scripts that differ only in texts that they write and in numbers are one script
    alike = re.sub(r"<<'(\w+)'\n.*?^\1$", "", text, flags=re.S | re.M)
    alike = re.sub(r"^ *echo \".*$|\d+", "", alike, flags=re.M)
    key = (shell, hashlib.sha256(alike.encode()).hexdigest())
    if key not in seen_scripts:
        seen_scripts[key] = command(["shellcheck", "-s", shell, "-f", "gcc", "-e", "SC1091", "-"], text)
    return seen_scripts[key]


def embedded(text):
    """Files inside here-documents that are programs themselves."""
    for path, body in re.findall(r"^put (\S+) \d+ <<'END_OF_FILE'\n(.*?)^END_OF_FILE$", text, re.S | re.M):
        if body.startswith("#!/bin/bash"):
            yield from shellcheck(body, "bash")
        if path.endswith("nftables.conf"):
            yield from firewall(body)


def firewall(text):
    key = ("nft", text)
    if key not in seen_scripts:
        words = ["nft", "--check", "--file", "-"]
        if os.geteuid() == 0:
            words = ["unshare", "--net"] + words
            seen_scripts[key] = command(words, text)
        else:
            seen_scripts[key] = []
    return seen_scripts[key]


def room_disks():
    return {
        "sda": Disk(gib=64, serial="S4EVNX0N100001", model="Bob's \"fast\" $disk"),
        "sdb": Disk(gib=4000, serial="D1", wwn="0x5000c500a1b2c3d4"),
        "nvme0n1": Disk(gib=960, serial="D2", wwn="eui.0025385a91b0c1d2"),
        "sdz": Disk(gib=16, serial="STICK", removable=1),
    }


def kickstart(family, text, firmware):
    version = dialect(family)
    for name, body in SECTION.findall(text):
        yield from shellcheck("#!/bin/bash\n" + body, "bash")
        yield from embedded(body)
        if name != "%pre":
            continue
        for efi in firmware:
            with tempfile.TemporaryDirectory() as folder:
                machine = Machine(folder, room_disks(), re.findall(r"\(nic ([0-9a-f:]{17})\)", body), efi)
                status, said = machine.run(body)
                if status:
                    yield "%%pre fails on a made-up machine (efi: %s): %s" % (efi, said[-500:])
                    continue
                flat = re.sub(r"^%include /tmp/(\S+)$", lambda m: machine.read("tmp/" + m.group(1)).rstrip("\n"), text, flags=re.M)
                yield from ksvalidator(version, flat)
                boot = "part /boot/efi" if efi else "part biosboot"
                if boot not in flat.split("%packages")[0]:
                    yield "no %s for efi: %s" % (boot, efi)


def autoinstall(text):
    if not text.startswith("#cloud-config\n"):
        yield "the first line is not #cloud-config"
        return
    validator = jsonschema.Draft7Validator(SCHEMA)
    for error in validator.iter_errors(json.loads(text.split("\n", 1)[1])):
        yield "%s: %s" % ("/".join(map(str, error.absolute_path)), error.message)


def ignition(text):
    with tempfile.NamedTemporaryFile("w", suffix=".ign") as f:
        f.write(text)
        f.flush()
        yield from command(["ignition-validate", f.name], "")
    try:
        files = json.loads(text).get("storage", {}).get("files", [])
    except ValueError as e:
        yield str(e)
        return
    for file in files:
        body = urllib.parse.unquote(file.get("contents", {}).get("source", "")[len("data:,"):])
        if body.startswith("#!/bin/bash"):
            yield from shellcheck(body, "bash")
        if file["path"].endswith(".nft"):
            yield from firewall(body)


def script(text):
    yield from shellcheck(text, "bash" if text.startswith("#!/bin/bash") else "dash")
    yield from embedded(text)


def judge(path, text, family):
    """Which validator a file goes to, and what it said."""
    if path.endswith(".ks"):
        # both kinds of firmware for the plain role, one of them for the others
        firmware = (False, True) if "base" in path else (sum(path.encode()) % 2 == 0,)
        return "kickstart", list(kickstart(family, text, firmware))
    if path.endswith(".preseed"):
        return "preseed", command(["debconf-set-selections", "--checkonly"], text)
    if path.endswith(".autoinstall.yaml"):
        return "autoinstall", list(autoinstall(text))
    if path.endswith(".ign"):
        return "ignition", list(ignition(text))
    if path.endswith(".sh"):
        return "script", list(script(text))
    return None, []


PLANTED = [
    (".ks", r"--utc", "--utcc"),
    (".ks", r"--ondisk=\$OS", "--ondiskk=$OS"),
    (".ks", r"report progress \"finishing\"", "if report finishing"),
    (".preseed", r"d-i time/zone string \S+", "d-i time/zone"),
    (".autoinstall.yaml", r"\"version\": 1", "\"version\": \"1\""),
    (".autoinstall.yaml", r"\"fstype\": \"ext4\"", "\"fstype\": \"ext5\""),
    (".ign", r"3\.3\.0", "9.9.9"),
    (".ign", r"\"path\": \"/etc/", "\"path\": \"etc/"),
    (".sh", r"set -u", "if set -u"),
    (".late.sh", r"chain input", "chian input"),
]


def self_test(files):
    for suffix, good, bad in PLANTED:
        path = next((p for p in files if p.endswith(suffix) and re.search(good, open(p).read())), None)
        if path is None:
            continue
        if suffix == ".late.sh" and os.geteuid() != 0:
            continue
        text = re.sub(good, lambda _: bad, open(path).read(), count=1)
        if not judge(path, text, family_of(path, text))[1]:
            print("validate: the mistake %r in %s was let through" % (bad, path))
            return False
    return True


def family_of(path, text):
    found = re.search(r", family ([\w-]+), made by Bootstead", text.split("\n", 1)[0])
    return found.group(1) if found else ""


def main():
    files = sorted(f for d in sys.argv[1:] for f in glob.glob(os.path.join(d, "**/*"), recursive=True) if os.path.isfile(f))
    good, bad = Counter(), Counter()
    if not self_test(files):
        return 1
    print("ok - every validator finds the mistake that was planted for it")
    for path in files:
        with open(path) as f:
            text = f.read()
        kind, said = judge(path, text, family_of(path, text))
        if kind:
            (bad if said else good)[kind] += 1
        if said:
            print("not ok - %s:\n  %s" % (path, "\n  ".join(said[:5])))
    for kind, count in sorted(good.items()):
        print("ok - %s: %d files" % (kind, count))
    wrong = behaviour.check(files) + steps.check(files)
    cases = behaviour.COUNT + steps.COUNT
    if cases and not wrong:
        print("ok - behaviour on made-up machines: %d cases" % cases)
    print("validate: %s; %d different scripts; %d cases of behaviour; %d bad"
          % (", ".join("%d %s" % (n, k) for k, n in sorted((good + bad).items())), len(seen_scripts),
             cases, sum(bad.values()) + wrong))
    return 1 if sum(bad.values()) + wrong or not good else 0


sys.exit(main())
