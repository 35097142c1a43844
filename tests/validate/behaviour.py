"""What the rendered scripts do, on made-up machines: the disk guard, the reports, the first boot's proof."""
import http.server
import os
import re
import shutil
import subprocess
import tempfile
import threading
import urllib.parse

from machine import Disk, Machine

COUNT = 0
NICS = ("52:54:00:aa:00:01",)
LVM = {"ID_FS_TYPE": "LVM2_member"}
OURS = ("1", {"ID_FS_TYPE": "ext4", "ID_FS_LABEL": "bootstead"})
GPT = {"ID_PART_TABLE_TYPE": "gpt"}


def laid(*pieces):
    """Bytes of a disk's start: (offset, bytes)."""
    out = bytearray()
    for at, piece in pieces:
        out.extend(bytes(max(0, at - len(out))))
        out[at:at + len(piece)] = piece
    return bytes(out)


BOOT_SECTOR = laid((0, b"\xfa\x31\xc0 boot code"), (440, b"\x12\x34\x56\x78"), (510, b"\x55\xaa"))
UNFINISHED = (512 * 1024, b"BOOTSTEAD UNFINISHED\n" + bytes(range(240, 256)))
# A GPT header with the disk's identity at its offset 56.
HEADER = (512, laid((0, b"EFI PART"), (56, bytes(range(240, 256)))))
OTHER = (512, laid((0, b"EFI PART"), (56, bytes(range(16)))))

# name, rule (pick serial wwn model by-path min max), erase list, disks, expected: the chosen disk, or a part of the refusal
GUARD = [
    ("one disk", "'' '' '' '' '' '' ''", "", {"sda": Disk()}, "sda"),
    ("no disk", "'' 'NOPE' '' '' '' '' ''", "", {"sda": Disk(serial="A")}, "no disk matches"),
    ("two disks", "'' '' '' '' '' '' ''", "", {"sda": Disk(), "sdb": Disk()}, "2 disks match"),
    ("by serial", "'' 'B' '' '' '' '' ''", "", {"sda": Disk(serial="A"), "sdb": Disk(serial="B")}, "sdb"),
    ("a serial is no pattern", "'' 'A.' '' '' '' '' ''", "", {"sda": Disk(serial="AB")}, "no disk matches"),
    ("by SCSI serial", "'' 'B' '' '' '' '' ''", "", {"sda": Disk(serial="5000c5", props={"ID_SCSI_SERIAL": "B"}), "sdb": Disk(serial="C")}, "sda"),
    ("by wwn, any case", "'' '' '0X5000ABC' '' '' '' ''", "", {"sda": Disk(wwn="0x5000abc"), "sdb": Disk()}, "sda"),
    ("by a part of the model", "'' '' '' 'EVO 970' '' '' ''", "", {"sda": Disk(model="SAMSUNG EVO 970 Pro"), "sdb": Disk(model="other")}, "sda"),
    ("by path", "'' '' '' '' 'pci-0000:00:1f.2-ata-1' '' ''", "", {"sda": Disk(props={"ID_PATH": "pci-0000:00:1f.2-ata-1"}), "sdb": Disk(props={"ID_PATH": "pci-0000:00:1f.2-ata-10"})}, "sda"),
    ("by size window", "'' '' '' '' '' '100' '200'", "", {"sda": Disk(gib=32), "sdb": Disk(gib=200), "sdc": Disk(gib=201)}, "sdb"),
    ("smallest", "'smallest' '' '' '' '' '8' ''", "", {"sda": Disk(gib=64), "sdb": Disk(gib=32), "sdc": Disk(gib=4)}, "sdb"),
    ("smallest of equals", "'smallest' '' '' '' '' '' ''", "", {"sda": Disk(gib=32), "sdb": Disk(gib=32), "sdc": Disk(gib=64)}, "2 disks match"),
    ("largest", "'largest' '' '' '' '' '' ''", "", {"sda": Disk(gib=64), "sdb": Disk(gib=128)}, "sdb"),
    ("removable, read-only, USB, loop are no choice", "'' '' '' '' '' '' ''", "",
     {"sda": Disk(removable=1), "sdb": Disk(ro=1), "sdc": Disk(usb=True), "loop0": Disk(), "sr0": Disk(), "dm-0": Disk(), "sdd": Disk()}, "sdd"),
    ("multipath members are no choice", "'' '' '' '' '' '' ''", "",
     {"sda": Disk(holders={"sda": "dm-9"}), "sdb": Disk(props={"ID_FS_TYPE": "mpath_member"}), "sdc": Disk(props={"DM_MULTIPATH_DEVICE_PATH": "1"}), "sdd": Disk()}, "sdd"),
    ("too small", "'' '' '' '' '' '' ''", "", {"sda": Disk(gib=4)}, "too small"),
    ("somebody's LVM", "'' '' '' '' '' '' ''", "", {"sda": Disk(serial="A", parts=[("1", LVM)])}, "LVM2_member on sda1"),
    ("somebody's file system", "'' '' '' '' '' '' ''", "", {"sda": Disk(serial="A", props={"ID_FS_TYPE": "ntfs"})}, "holds ntfs on sda"),
    ("somebody's Ceph, unknown to udev", "'' '' '' '' '' '' ''", "", {"sda": Disk(bytes=b"bluestore block device\nxyz")}, "holds ceph_bluestore"),
    ("a stack that udev does not explain", "'' '' '' '' '' '' ''", "", {"sda": Disk(parts=[("1", {})], holders={"sda1": "md0"})}, "md0 stands on sda1"),
    ("an approved disk", "'' '' '' '' '' '' ''", "A", {"sda": Disk(serial="A", parts=[("1", LVM)])}, "sda"),
    ("another disk was approved", "'' '' '' '' '' '' ''", "B", {"sda": Disk(serial="A", parts=[("1", LVM)])}, "LVM2_member on sda1"),
    ("approved in other letters", "'' '' '' '' '' '' ''", "ab-1", {"sda": Disk(serial="AB-1", parts=[("1", LVM)])}, "sda"),
    ("approved by WWN", "'' '' '' '' '' '' ''", "0x5000abc", {"sda": Disk(wwn="0x5000abc", parts=[("1", LVM)])}, "sda"),
    ("a part of the serial is no approval", "'' '' '' '' '' '' ''", "AB", {"sda": Disk(serial="AB-1", parts=[("1", LVM)])}, "holds"),
    ("our own earlier system", "'' '' '' '' '' '' ''", "", {"sda": Disk(serial="A", parts=[OURS, ("2", LVM)], holders={"sda2": "dm-0"})},
     'a system that Bootstead installed (ext4) on sda1'),
    ("our own earlier system, approved", "'' '' '' '' '' '' ''", "A", {"sda": Disk(serial="A", parts=[OURS, ("2", LVM)], holders={"sda2": "dm-0"})}, "sda"),
    ("the refusal says what to type", "'' '' '' '' '' '' ''", "", {"sda": Disk(serial="A", parts=[OURS])}, 'put erase = ["A"] into'),
    ("a disk that cannot be named", "'' '' '' '' '' '' ''", "", {"sda": Disk(props={"ID_SERIAL": ""}, parts=[OURS])}, "no serial number that could be named"),
    ("partitions of unknown content", "'' '' '' '' '' '' ''", "", {"sda": Disk(serial="A", props=GPT, parts=[("1", {}), ("2", {})])},
     "holds a partition table (gpt) with 2 partitions"),
    ("partitions of unknown content, approved", "'' '' '' '' '' '' ''", "A", {"sda": Disk(serial="A", props=GPT, parts=[("1", {})])}, "sda"),
    ("partitions of a table that udev does not know", "'' '' '' '' '' '' ''", "", {"sda": Disk(parts=[("1", {})])}, "a partition table (unknown) with 1 partition;"),
    ("a GPT without partitions", "'' '' '' '' '' '' ''", "", {"sda": Disk(props=GPT)}, "a partition table (gpt) with 0 partitions"),
    ("half a GPT", "'' '' '' '' '' '' ''", "", {"sda": Disk(bytes=laid(OTHER))}, "damaged gpt"),
    ("data without a name", "'' '' '' '' '' '' ''", "", {"sda": Disk(bytes=laid((40000, b"payroll")))}, "data of an unknown kind on sda"),
    ("boot code alone is blank", "'' '' '' '' '' '' ''", "", {"sda": Disk(props={"ID_PART_TABLE_TYPE": "dos"}, bytes=BOOT_SECTOR)}, "sda"),
    ("boot code and more", "'' '' '' '' '' '' ''", "", {"sda": Disk(bytes=BOOT_SECTOR + b"payroll")}, "data of an unknown kind"),
    ("boot code with an entry that the kernel does not show", "'' '' '' '' '' '' ''", "",
     {"sda": Disk(bytes=BOOT_SECTOR[:446] + b"\x80" + bytes(3) + b"\x8e" + BOOT_SECTOR[451:])}, "data of an unknown kind"),
    ("a fast lane that was cut off early", "'' '' '' '' '' '' ''", "", {"sda": Disk(parts=[OURS], bytes=laid(UNFINISHED))}, "sda"),
    ("a fast lane that was cut off late", "'' '' '' '' '' '' ''", "", {"sda": Disk(props=GPT, parts=[OURS], bytes=laid(HEADER, UNFINISHED))}, "sda"),
    ("a table that somebody made since", "'' '' '' '' '' '' ''", "", {"sda": Disk(props=GPT, parts=[("1", LVM)], bytes=laid(OTHER, UNFINISHED))}, "LVM2_member on sda1"),
]


def guard_script(text, rule, erase):
    text = re.sub(r"^choose 'the system disk' .*$", lambda _: "choose 'the system disk' " + rule, text, flags=re.M)
    return re.sub(r"^APPROVED=''$", "APPROVED='%s'" % erase, text, flags=re.M)


def guard(script, shell):
    for name, rule, erase, disks, expected in GUARD:
        with tempfile.TemporaryDirectory() as folder:
            machine = Machine(folder, disks, NICS)
            status, said = machine.run(guard_script(script, rule, erase), shell)
            touched = machine.touched()
            if expected in disks:
                own = {expected} | {expected + s for s, _ in disks[expected].parts}
                if status or touched != own:
                    yield "%s with %s: status %d, touched %s, not %s: %s" % (name, shell, status, touched, own, said[-300:])
            elif status == 0 or touched or expected not in said:
                yield "%s with %s: status %d, touched %s, wanted %r: %s" % (name, shell, status, touched, expected, said[-300:])


def teardown(script, shell):
    """An old stack, LVM on md on a partition, goes top first; the neighbour's stays."""
    with tempfile.TemporaryDirectory() as folder:
        disk = Disk(serial="A", parts=[("1", LVM)], holders={"sda1": "md0"})
        machine = Machine(folder, {"sda": disk, "sdb": Disk(serial="B", parts=[("1", LVM)], holders={"sdb1": "dm-7"})}, NICS)
        os.makedirs(os.path.join(folder, "sys/class/block/md0/holders"))
        machine.put("sys/class/block/dm-3/dm/name", "vg-root\n")
        os.symlink(os.path.join(folder, "sys/class/block/dm-3"), os.path.join(folder, "sys/class/block/md0/holders/dm-3"))
        status, said = machine.run(guard_script(script, "'' 'A' '' '' '' '' ''", "A"), shell)
        calls = [c for c in machine.read("calls").splitlines() if c.startswith(("mdadm", "dmsetup"))]
        want = ["dmsetup remove --retry vg-root", "mdadm --stop %s/dev/md0" % folder]
        if status or calls != want or machine.touched() != {"sda", "sda1"}:
            yield "teardown with %s: status %d, %s, touched %s: %s" % (shell, status, calls, machine.touched(), said[-300:])


def data_disks(script, shell):
    """Of two data disks the kept one keeps its content, the other is made; a foreign one stops everything."""
    def disks(images, scratch):
        return {"sda": Disk(gib=64, serial="S4EVNX0N100001", model="Bob's \"fast\" $disk"),
                "sdb": Disk(wwn="0x5000c500a1b2c3d4", props=images), "sdc": Disk(wwn="eui.0025385a91b0c1d2", props=scratch)}
    ours = {"ID_FS_TYPE": "ext4", "ID_FS_LABEL": "bs-images"}
    for name, found, expected in (
            ("both blank", disks({}, {}), {"sda", "sdb", "sdc"}),
            ("images kept", disks(ours, {"ID_FS_TYPE": "ext4", "ID_FS_LABEL": "bs-scratch"}), {"sda", "sdc"}),
            ("a foreign data disk", disks({"ID_FS_TYPE": "xfs", "ID_FS_LABEL": "payroll"}, {}), set()),
            ("a data disk with partitions", disks({"ID_PART_TABLE_TYPE": "gpt"}, {}), set())):
        with tempfile.TemporaryDirectory() as folder:
            machine = Machine(folder, found)
            status, said = machine.run(script, shell)
            if (status == 0) != bool(expected) or machine.touched() != expected:
                yield "data disks, %s, with %s: status %d, touched %s: %s" % (name, shell, status, machine.touched(), said[-300:])


class Home(http.server.BaseHTTPRequestHandler):
    """A server that is not ready at once: the first answers are 503."""

    def do_GET(self):
        self.server.asked.append(self.path)
        ready = len(self.server.asked) > self.server.busy
        agent = self.server.agent if "/agent.sh?" in self.path else None
        self.send_response(200 if agent and ready else 204 if ready else 503)
        self.end_headers()
        if agent and ready:
            self.wfile.write(agent.encode())

    def log_message(self, *_):
        pass


def home(busy, agent=None):
    """`agent`: the script that a node with a part in a cluster gets; none: 204."""
    server = http.server.HTTPServer(("127.0.0.1", 0), Home)
    server.asked, server.busy, server.agent = [], busy, agent
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server


def first_boot(script, agent=None, calls=4):
    """Asks until it is heard, runs the agent's script if there is one, then switches itself off with its token."""
    text = re.search(r"^put /etc/bootstead/first-boot 0755 <<'END_OF_FILE'\n(.*?)^END_OF_FILE$", script, re.S | re.M).group(1)
    with tempfile.TemporaryDirectory() as folder:
        # The first try of the agent fails: it is asked for again.
        server = home(busy=2, agent=agent and agent.replace("FOLDER", folder))
        machine = Machine(folder, {})
        machine.put("bin/systemctl", '#!/bin/bash\necho "$*" >> %s/calls\n' % folder, 0o755)
        machine.put("report", "http://127.0.0.1:%d/v1/nodes/x/report 0123456789abcdef\n" % server.server_port)
        r = subprocess.run(["bash", "-c", text.replace("/etc/bootstead/report", folder + "/report")], capture_output=True, text=True,
                           timeout=60, env={"PATH": folder + "/bin:" + os.environ["PATH"]})
        query = urllib.parse.parse_qs(urllib.parse.urlsplit(server.asked[-2]).query) if len(server.asked) > 1 else {}
        if (r.returncode, len(server.asked), os.path.exists(folder + "/report")) != (0, calls, False):
            yield "first boot: status %d, %d calls, %s" % (r.returncode, len(server.asked), r.stderr)
        if not server.asked or server.asked[-1] != "/v1/nodes/x/agent.sh?token=0123456789abcdef":
            yield "first boot: did not ask for its agent: %s" % server.asked
        if agent and machine.read("tries") != "try\ntry\n":
            yield "first boot: the agent's script ran %r" % machine.read("tries")
        if query.get("event") != ["first-boot"] or query.get("token") != ["0123456789abcdef"] or query.get("detail") != [os.uname().release]:
            yield "first boot: asked %s" % server.asked
        if machine.read("calls") != "disable bootstead-first-boot.service\n":
            yield "first boot: did not switch itself off: %r" % machine.read("calls")
        server.shutdown()


def reports(script, shell, tool):
    """A report arrives as it was said, with curl and with wget; the token is in no argument of a program."""
    server = home(busy=1)
    functions = script[script.index("REPORT="):script.index("# stop STEP WHY")]
    functions = re.sub(r"^REPORT=.*$", "REPORT=http://127.0.0.1:%d/r" % server.server_port, functions, flags=re.M)
    said = "100% of a&b=c? #1 + \"two\" [x] {y} \\ | <z>"
    with tempfile.TemporaryDirectory() as folder:
        for name in ("tr", "cut", "sed", "sleep", tool):
            os.symlink(shutil.which(name), os.path.join(folder, name))
        text = functions + "\nreport progress 'a step' '%s'\n" % said
        words = shell.split()
        r = subprocess.run([shutil.which(words[0])] + words[1:] + ["-c", text], capture_output=True, text=True, timeout=60,
                           env={"PATH": folder, "http_proxy": "http://127.0.0.1:9", "LC_ALL": "C"})
    query = urllib.parse.parse_qs(urllib.parse.urlsplit(server.asked[-1]).query) if server.asked else {}
    if len(server.asked) != 2 or query.get("detail") != [said] or query.get("step") != ["a step"] or query.get("event") != ["progress"]:
        yield "report with %s and %s: %s %s" % (shell, tool, server.asked, r.stderr)
    server.shutdown()


def check(files):
    """Runs everything on the first files that fit; returns how many went wrong."""
    global COUNT
    disk = next((f for f in files if f.endswith("debian12/small/base.disk.sh")), None)
    if disk is None:
        return 0
    room, late = disk.replace("small", "room"), disk.replace(".disk.sh", ".late.sh")
    kickstart = disk.replace("debian12", "el9").replace(".disk.sh", ".ks")
    pre = re.search(r"^%pre[^\n]*\n(.*?)^%end", open(kickstart).read(), re.S | re.M).group(1)
    twice = 'echo try >> FOLDER/tries\n[ "$(wc -l < FOLDER/tries)" = 2 ]\n'
    runs = [first_boot(open(late).read()), first_boot(open(late).read(), twice, 6), reports(open(disk).read(), "dash", "wget"), reports(open(disk).read(), "bash", "curl")]
    COUNT = 4
    for shell, text in (("dash", open(disk).read()), ("busybox sh", open(disk).read()), ("bash", pre)):
        runs += [guard(text, shell), teardown(text, shell)]
        COUNT += len(GUARD) + 1
    for shell in ("dash", "busybox sh"):
        runs.append(data_disks(open(room).read(), shell))
        COUNT += 4
    bad = [said for run in runs for said in run]
    for said in bad:
        print("not ok - " + said)
    return len(bad)
