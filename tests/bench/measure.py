#!/usr/bin/env python3
"""Owns what a server cost: processor seconds and peak memory (PSS) of processes and all their children.

Usage: measure.py PID...   samples until its standard input is closed, then prints:
cpu_s=N peak_mb=N idle_mb=N own_peak_mb=N own_idle_mb=N
"own" leaves out the pages of the program's own file: the kernel may drop and read those again as it likes.
"""
import os
import select
import sys

TICK = os.sysconf("SC_CLK_TCK")


def tree(roots):
    parents = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                with open(f"/proc/{name}/stat") as f:
                    parents[int(name)] = int(f.read().rsplit(")", 1)[1].split()[1])
            except OSError:
                pass
    found, grew = set(roots), True
    while grew:
        more = {p for p, parent in parents.items() if parent in found} - found
        found |= more
        grew = bool(more)
    return found


def cpu(pids):
    total = 0
    for p in pids:
        try:
            with open(f"/proc/{p}/stat") as f:
                fields = f.read().rsplit(")", 1)[1].split()
            # utime, stime, and those of children that ended and were waited for
            total += sum(int(x) for x in fields[11:15])
        except OSError:
            pass
    return total / TICK


def pss(pids):
    """All of it, and what of it is not the program's own file; MiB."""
    total, own = 0, 0
    for p in pids:
        try:
            program = os.readlink(f"/proc/{p}/exe")
            with open(f"/proc/{p}/smaps") as f:
                of_program, pages = False, 0
                for line in f:
                    name, rest = line.split(None, 1)
                    if not name.endswith(":"):
                        # A mapping: addresses, rights, offset, device, inode, path.
                        of_program = rest.rstrip("\n").endswith(program)
                    elif name == "Pss:":
                        pages = int(rest.split()[0])
                        total, own = total + pages, own + pages
                    elif name == "Anonymous:" and of_program:
                        # Pages of the file that were written to are memory like any other.
                        own -= max(0, pages - int(rest.split()[0]))
        except (OSError, ValueError):
            pass
    return total / 1024, own / 1024


roots = [int(a) for a in sys.argv[1:]]
start, seen = cpu(tree(roots)), 0.0
idle, own_idle = pss(tree(roots))
peak, own_peak = idle, own_idle
while not select.select([sys.stdin], [], [], 0.1)[0]:
    pids = tree(roots)
    now, own_now = pss(pids)
    peak, own_peak, seen = max(peak, now), max(own_peak, own_now), max(seen, cpu(pids))
print(f"cpu_s={max(seen, cpu(tree(roots))) - start:.3f} peak_mb={peak:.1f} idle_mb={idle:.1f} "
      f"own_peak_mb={own_peak:.1f} own_idle_mb={own_idle:.1f}")
