"""A made-up machine: /sys, /dev, udev and the tools that the scripts call, in a folder; every call is recorded.

The scripts that Bootstead renders run on it unchanged but for the places of /sys, /dev, /tmp and /mnt.
"""
import os
import re
import subprocess

GIB = 2097152  # in units of 512 bytes


class Disk:
    """A disk; `parts` are (suffix, udev properties); `holders` maps a device to what stands on it; `bytes` lie at its start."""

    def __init__(self, gib=32, serial="", wwn="", model="", removable=0, ro=0, usb=False, props=None, parts=(), holders=None, bytes=b""):
        self.gib, self.serial, self.wwn, self.model = gib, serial, wwn, model
        self.removable, self.ro, self.usb = removable, ro, usb
        self.props, self.parts, self.holders, self.bytes = props or {}, parts, holders or {}, bytes


TOOLS = {
    "curl": 'cat > "$W/last-url"; cat "$W/last-url" >> "$W/reports"; exit 0',
    "sleep": "exit 0",
    "blockdev": 'echo "blockdev $*" >> "$W/calls"',
    "partprobe": 'echo "partprobe $*" >> "$W/calls"',
    "swapoff": 'exit 1',
    "mdadm": 'echo "mdadm $*" >> "$W/calls"',
    "dmsetup": 'echo "dmsetup $*" >> "$W/calls"',
    "debconf-set": 'echo "debconf-set $*" >> "$W/calls"',
    "mkfs.ext4": 'echo "mkfs $*" >> "$W/calls"; for f; do :; done; echo made > "$f"',
    "udevadm": 'for a; do case $a in --name=*) cat "$W/udev/${a##*/}" 2>/dev/null;; esac; done; exit 0',
    "readlink": 'if [ "$1" = -f ] && [ -e "$2/usb-path" ]; then echo /sys/devices/pci/usb1/1-1/block; else /bin/readlink "$@"; fi',
}


# As much of a blank disk as anybody looks at.
BLANK = 600 * 1024


class Machine:
    def __init__(self, folder, disks, nics=(), efi=False):
        self.folder, self.before = folder, {}
        self.put("reports", "")
        self.put("calls", "")
        for directory in ("dev", "tmp", "sys/class/block", "sys/class/net", "sys/block", "udev", "bin", "mnt"):
            os.makedirs(os.path.join(folder, directory), exist_ok=True)
        for name, disk in disks.items():
            self.disk(name, disk)
        for i, mac in enumerate(nics):
            self.put("sys/class/net/eno%d/address" % (i + 1), mac.upper() + "\n")
            os.makedirs(os.path.join(folder, "sys/class/net/eno%d/device" % (i + 1)))
        if efi:
            os.makedirs(os.path.join(folder, "sys/firmware/efi"))
        for tool, text in TOOLS.items():
            self.put("bin/" + tool, "#!/bin/bash\nW=%s\n%s\n" % (folder, text), 0o755)

    def put(self, path, text, mode=0o644):
        path = os.path.join(self.folder, path)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb" if isinstance(text, bytes) else "w") as f:
            f.write(text)
        os.chmod(path, mode)

    def udev(self, name, props):
        self.put("udev/" + name, "".join("%s=%s\n" % kv for kv in props.items()))

    def device(self, name, content):
        self.before[name] = content
        self.put("dev/" + name, content)

    def disk(self, name, disk):
        base = "sys/block/%s/" % name
        self.put(base + "size", "%d\n" % (disk.gib * GIB))
        self.put(base + "removable", "%d\n" % disk.removable)
        self.put(base + "ro", "%d\n" % disk.ro)
        self.put(base + "device/model", disk.model + "\n")
        if disk.usb:
            self.put(base + "usb-path", "")
        props = {"ID_SERIAL": "X_" + disk.serial, "ID_SERIAL_SHORT": disk.serial, "ID_WWN": disk.wwn, "ID_MODEL": disk.model.replace(" ", "_")}
        self.udev(name, {k: v for k, v in {**props, **disk.props}.items() if v})
        os.symlink("../../block/" + name, os.path.join(self.folder, "sys/class/block", name))
        self.device(name, disk.bytes + bytes(BLANK - len(disk.bytes)))
        for suffix, part_props in disk.parts:
            part = name + suffix
            self.put(base + part + "/partition", "1\n")
            self.put(base + part + "/size", "%d\n" % GIB)
            os.symlink("../../block/%s/%s" % (name, part), os.path.join(self.folder, "sys/class/block", part))
            self.udev(part, part_props)
            self.device(part, b"old content\n")
        for device, holder in disk.holders.items():
            os.makedirs(os.path.join(self.folder, "sys/class/block", device, "holders"), exist_ok=True)
            target = os.path.join(self.folder, "sys/class/block", holder)
            if not os.path.exists(target):
                os.makedirs(target)
                self.put("sys/class/block/%s/dm/name" % holder, holder + "-name\n")
                self.put("sys/class/block/%s/dm/uuid" % holder, ("mpath-1" if holder.startswith("dm-9") else "LVM-1") + "\n")
            os.symlink(target, os.path.join(self.folder, "sys/class/block", device, "holders", holder))

    def run(self, script, shell="bash"):
        """Runs a script on this machine; its exit status and what it said."""
        w = self.folder
        for a, b in (("SYS:-/sys", "SYS:-%s/sys" % w), ("SYS=/sys", "SYS=%s/sys" % w), ("DEV=/dev\n", "DEV=%s/dev\n" % w)):
            script = script.replace(a, b)
        script = re.sub(r"(?<![\w/])/tmp/bootstead", w + "/tmp/bootstead", script)
        r = subprocess.run(shell.split() + ["-c", script], text=True, capture_output=True, timeout=60, stdin=subprocess.DEVNULL,
                           env={"PATH": w + "/bin:" + os.environ["PATH"], "LC_ALL": "C"})
        return r.returncode, r.stderr

    def read(self, path):
        with open(os.path.join(self.folder, path), errors="replace") as f:
            return f.read()

    def touched(self):
        """The devices whose content has changed."""
        out = set()
        for name in os.listdir(os.path.join(self.folder, "dev")):
            path, before = os.path.join(self.folder, "dev", name), self.before.get(name)
            with open(path, "rb") as f:
                # The scripts write at a disk's end, too: then the file is as long as the disk.
                if before is None or os.path.getsize(path) != len(before) or f.read() != before:
                    out.add(name)
        return out
