"""What the rendered scripts do at the single steps of an installation: fetching, the clock, sizes of volumes, the boot
loader's words, logs. On made-up machines, by the shells that the installers have."""
import glob
import http.server
import json
import os
import re
import shutil
import subprocess
import tempfile
import threading
import time
import urllib.parse

from machine import Disk, Machine

COUNT = 0
SERVER = "http://10.77.0.1"


class Files(http.server.BaseHTTPRequestHandler):
    """Gives a script under every name, after it was busy for a while."""

    def do_GET(self):
        self.server.asked += 1
        ready = self.server.asked > self.server.busy
        self.send_response(200 if ready else 503)
        self.end_headers()
        if ready:
            self.wfile.write(b"echo ran >> ran\n")

    def log_message(self, *_):
        pass


def give(busy=0):
    server = http.server.HTTPServer(("127.0.0.1", 0), Files)
    server.asked, server.busy = 0, busy
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server


def tools(folder, names, made):
    """A folder of programs: links to real ones, and ones of our own."""
    os.makedirs(os.path.join(folder, "bin"))
    for name in names:
        os.symlink(shutil.which(name), os.path.join(folder, "bin", name))
    for name, text in made.items():
        path = os.path.join(folder, "bin", name)
        with open(path, "w") as f:
            f.write("#!/bin/bash\n" + text + "\n")
        os.chmod(path, 0o755)
    return {"PATH": os.path.join(folder, "bin"), "LC_ALL": "C"}


def run(shell, text, folder, env):
    words = shell.split()
    return subprocess.run([shutil.which(words[0])] + words[1:] + ["-c", text], cwd=folder, env=env, text=True, capture_output=True,
                          timeout=120, stdin=subprocess.DEVNULL)


def fetches(text, shell):
    """A script is asked for until the server gives it, and run once; where it never comes, nothing runs and that is a failure."""
    for busy, want in ((0, (True, "ran\n")), (3, (True, "ran\n")), (10 ** 6, (False, ""))):
        server = give(busy)
        with tempfile.TemporaryDirectory() as folder:
            env = tools(folder, ("wget", "curl", "rm", "seq", "sh", "bash"), {"sleep": "exit 0"})
            command = text.replace(SERVER, "http://127.0.0.1:%d" % server.server_port)
            command = command.replace("/tmp/", folder + "/").replace("/run/", folder + "/")
            r = run(shell, command, folder, env)
            ran = open(os.path.join(folder, "ran")).read() if os.path.exists(os.path.join(folder, "ran")) else ""
            if (r.returncode == 0, ran) != want or server.asked > 40:
                yield "fetching with %s, busy %d times: status %d, ran %r, asked %d times" % (shell, busy, r.returncode, ran, server.asked)
        server.shutdown()


def clock(text, shell, tool):
    """A clock that is years away is set to the server's; one that is a few seconds away is left alone."""
    server = give()
    part = text[text.index("# server_time:"):text.index("\nset_clock\n") + 11].replace(SERVER, "http://127.0.0.1:%d" % server.server_port)
    for behind, off in ((0, 0), (20, 0), (10 ** 8, 10 ** 8), (-(10 ** 6), -(10 ** 6))):
        with tempfile.TemporaryDirectory() as folder:
            made = {"date": 'case "$*" in "-u +%%s") echo $(($(/bin/date +%%s) - %d)) ;; *" -s "*) echo "$*" > set ;; *) /bin/date "$@" ;; esac' % behind,
                    "hwclock": 'echo "$*" > hwclock'}
            env = tools(folder, ("tr", "sed", "head", tool), made)
            r = run(shell, 'report() { echo "$*"; }\n' + part, folder, env)
            path = os.path.join(folder, "set")
            said = open(path).read().split() if os.path.exists(path) else None
            if off == 0:
                if said or r.stdout:
                    yield "clock with %s, %d s behind: set to %s" % (shell, behind, said)
                continue
            at = "%s %s" % (said[2], said[3]) if said else ""
            there = time.strptime(at, "%Y-%m-%d %H:%M:%S") if at else time.gmtime(0)
            close = abs(time.mktime(there) - time.mktime(time.gmtime())) < 60
            if not close or not os.path.exists(os.path.join(folder, "hwclock")) or "clock set" not in r.stdout:
                yield "clock with %s, %d s behind: set to %r, said %r %r" % (shell, behind, at, r.stdout, r.stderr)
    server.shutdown()


YAML = """import json
def safe_load(file):
    return json.loads(file.read().split("\\n", 1)[1])
def safe_dump(document, file):
    json.dump(document, file)
"""


def volumes(early, name):
    """On the chosen disk every volume that grows gets its share, none more than it may, all of them fit."""
    user_data = open(early.replace(".early.sh", ".autoinstall.yaml")).read()
    script = re.search(r"^python3 - [^\n]*\n(.*?)^END_OF_FILE$", open(early).read(), re.S | re.M).group(1)
    least = int(re.search(r"^NEED_MIB=(\d+)", open(early).read(), re.M).group(1))
    most = {k: int(v) for k, v in re.findall(r'^    "(vol-\S+)": \(\d+, (\d+)\),$', script, re.M)}
    for disk in (least, 20 * 1024, 64 * 1024, 1000 * 1024):
        for firmware, parts in (("bios", 1), ("uefi", 538)):
            with tempfile.TemporaryDirectory() as folder:
                with open(os.path.join(folder, "yaml.py"), "w") as f:
                    f.write(YAML)
                path = os.path.join(folder, "autoinstall.yaml")
                with open(path, "w") as f:
                    f.write(user_data)
                words = ["python3", "-", "/dev/sda", firmware, str(disk - least)]
                r = subprocess.run(words, input=script.replace("/autoinstall.yaml", path), text=True, capture_output=True, env={"PYTHONPATH": folder, "PATH": os.environ["PATH"]})
                if r.returncode:
                    yield "volumes of %s: %s" % (name, r.stderr[-300:])
                    continue
                config = json.load(open(path))["autoinstall"]["storage"]["config"]
            sizes = {i["id"]: i["size"] for i in config if i["id"].startswith("vol-")}
            rest = disk - parts - 1024 - 4
            for size in sizes.values():
                rest -= 0 if size == -1 else int(size[:-1])
            grown = {k: (rest if sizes[k] == -1 else int(sizes[k][:-1])) for k in most}
            over = {k: v for k, v in grown.items() if most[k] and v > most[k]}
            # what is not given to anybody is less than what a volume would have taken
            endless = [k for k in most if not most[k]]
            left = 0 if endless else rest
            ends = [i for i, s in enumerate(sizes.values()) if s == -1]
            full = all(v == most[k] for k, v in grown.items() if most[k])
            if rest < 0 or over or ends not in ([], [len(sizes) - 1]) or bool(ends) != bool(endless) or (left > 128 and not full):
                yield "volumes of %s on %d MiB, %s: %s" % (name, disk, firmware, sizes)
            # shares are alike: an endless volume grows at least as much as each that has a largest size
            lows = {k: int(v) for k, v in re.findall(r'^    "(vol-\S+)": \((\d+), \d+\),$', script, re.M)}
            for e in endless:
                if any(grown[e] - lows[e] + 8 < grown[k] - lows[k] for k in most):
                    yield "volumes of %s on %d MiB: %s got less than its share: %s" % (name, disk, e, grown)


def in_target(late):
    """update-grub runs with /dev, /proc and /sys: by curtin, or by hand where there is none; what is mounted is taken down."""
    part = re.search(r"^in_target\(\) \{.*?^\}\n", late, re.S | re.M).group(0) + "ROOT=/target\nin_target update-grub\n"
    record = 'echo "${0##*/} $*" >> calls'
    for made, status, want in (
            ({"curtin": record}, 0, ["curtin in-target --target=/target -- update-grub"]),
            ({"mount": record, "umount": record, "chroot": record + "; exit 7"}, 7,
             ["mount --bind /%s /target/%s" % (d, d) for d in ("dev", "proc", "sys")] + ["chroot /target update-grub", "umount /target/sys /target/proc /target/dev"])):
        with tempfile.TemporaryDirectory() as folder:
            r = run("bash", part, folder, tools(folder, (), made))
            calls = open(os.path.join(folder, "calls")).read().splitlines()
            if (r.returncode, calls) != (status, want):
                yield "update-grub in the new system: status %d, %s" % (r.returncode, calls)


def failures(text):
    """%onerror sends the end of the log of what was running; %post keeps both logs for root alone."""
    onerror = re.search(r"^%onerror[^\n]*\n(.*?)^%end", text, re.S | re.M).group(1)
    installing = "bootstead: progress: installing packages\n"
    for logs, want in (({"pre": "odd\n", "anaconda": "x\n"}, "odd"), ({"pre": "odd\n" + installing, "anaconda": "no space\n"}, "no space"),
                       ({"pre": installing, "post": "bad sector\n", "anaconda": "x\n"}, "bad sector")):
        with tempfile.TemporaryDirectory() as folder:
            machine = Machine(folder, {})
            for name, said in logs.items():
                machine.put("tmp/anaconda.log" if name == "anaconda" else "tmp/bootstead-%s.log" % name, said)
            machine.run(onerror.replace("/tmp/anaconda.log", folder + "/tmp/anaconda.log"))
            sent = urllib.parse.unquote(machine.read("reports"))
            if "event=failed" not in sent or want not in sent:
                yield "%%onerror with %s: %s" % (logs, sent)
    keep = re.search(r"^keep_logs\(\) \{.*?^\}\n", text, re.S | re.M).group(0)
    with tempfile.TemporaryDirectory() as folder:
        machine = Machine(folder, {})
        for name in ("pre", "post"):
            machine.put("tmp/bootstead-%s.log" % name, name)
        os.makedirs(os.path.join(folder, "root/var/log"))
        machine.run("ROOT=%s/root\ntrap keep_logs EXIT\n%sexit 1\n" % (folder, keep))
        for name in ("pre", "post"):
            path = os.path.join(folder, "root/var/log/bootstead-%s.log" % name)
            if not os.path.exists(path) or os.stat(path).st_mode & 0o777 != 0o600 or open(path).read() != name:
                yield "the log of %%%s is not kept" % name


def coreos(ign, flatcar):
    """Nothing is erased before all is here that is needed; Flatcar gets the role's words for the kernel."""
    files = json.load(open(ign))["storage"]["files"]
    script = urllib.parse.unquote(next(f for f in files if f["path"].endswith("install.sh"))["contents"]["source"][len("data:,"):])
    cases = [("", True), ("*config.ign*", False)] + ([("*image.bin.bz2", False), ("*image.bin.bz2.sig", False)] if flatcar else [])
    for missing, good in cases:
        with tempfile.TemporaryDirectory() as folder:
            machine = Machine(folder, {"sda": Disk(gib=64, serial="A")})
            machine.put("run/x", "")
            made = 'mkdir -p "$W/sys/block/sda/sda6"; echo 1 > "$W/sys/block/sda/sda6/partition"; echo ID_PART_ENTRY_NAME=OEM > "$W/udev/sda6"'
            for tool, text in (("flatcar-install", made), ("coreos-installer", ""), ("mount", ""), ("umount", ""), ("sgdisk", ""), ("sync", ""),
                               ("systemctl", ""), ("journalctl", ""), ("logger", "cat > /dev/null")):
                machine.put("bin/" + tool, '#!/bin/bash\nW=%s\necho "%s $*" >> "$W/calls"\n%s\n' % (folder, tool, text), 0o755)
            if missing:
                machine.put("bin/curl", '#!/bin/bash\ncase "$*" in %s) exit 22 ;; esac\n' % missing, 0o755)
            status, said = machine.run(script.replace("/run/", folder + "/run/"))
            calls = machine.read("calls")
            if (status == 0) != good or bool(machine.touched() & {"sda"}) != good:
                yield "%s without %r: status %d, touched %s: %s" % (ign, missing, status, machine.touched(), said[-300:])
            if good and flatcar:
                path = os.path.join(folder, "run/bootstead-oem/grub.cfg")
                words = open(path).read() if os.path.exists(path) else ""
                if words != 'set linux_append="$linux_append console=tty0 console=ttyS0,115200n8"\n' or "mount %s/dev/sda6" % folder not in calls:
                    yield "Flatcar's words for the kernel: %r, %s" % (words, calls)


def check(files):
    """Runs everything on the first files that fit; returns how many went wrong."""
    global COUNT
    base = next((f[:-len("debian12/small/base.disk.sh")] for f in files if f.endswith("debian12/small/base.disk.sh")), None)
    if base is None:
        return 0
    runs = []

    def read(path):
        return open(base + path).read()

    commands = re.findall(r"^d-i \S+_command string (.*)$", read("debian12/small/base.preseed"), re.M)
    settings = json.loads(read("ubuntu/small/base.autoinstall.yaml").split("\n", 1)[1])["autoinstall"]
    commands = [("dash", c) for c in commands] + [("busybox sh", c) for c in commands]
    commands += [("bash", settings[k + "-commands"][0][2]) for k in ("early", "late", "error")]
    for shell, text in commands:
        runs.append(fetches(text, shell))
        COUNT += 3
    for shell, tool, path in (("dash", "wget", "debian12/small/base.early.sh"), ("busybox sh", "wget", "debian12/small/base.early.sh"), ("bash", "curl", "el9/small/base.ks")):
        runs.append(clock(read(path), shell, tool))
        COUNT += 4
    for early in sorted(glob.glob(base + "ubuntu/*/*.early.sh")):
        runs.append(volumes(early, early[len(base):]))
        COUNT += 8
    runs += [in_target(read("ubuntu/small/base.late.sh")), failures(read("el9/small/base.ks"))]
    runs += [coreos(base + "flatcar/small/base.install.ign", True), coreos(base + "fedora-coreos/small/base.install.ign", False)]
    COUNT += 2 + 4 + 4 + 2
    bad = [said for run in runs for said in run]
    for said in bad:
        print("not ok - " + said)
    return len(bad)
