#!/usr/bin/env python3
"""Owns what a server cost: processor seconds and peak memory (PSS) of processes and all their children.

Usage: measure.py PID...   samples until its standard input is closed, then prints: cpu_s=N peak_mb=N idle_mb=N
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
    total = 0
    for p in pids:
        try:
            with open(f"/proc/{p}/smaps_rollup") as f:
                total += next(int(line.split()[1]) for line in f if line.startswith("Pss:"))
        except (OSError, StopIteration):
            pass
    return total / 1024


roots = [int(a) for a in sys.argv[1:]]
start, idle, peak, seen = cpu(tree(roots)), pss(tree(roots)), 0.0, 0.0
while not select.select([sys.stdin], [], [], 0.1)[0]:
    pids = tree(roots)
    peak, seen = max(peak, pss(pids)), max(seen, cpu(pids))
print(f"cpu_s={max(seen, cpu(tree(roots))) - start:.3f} peak_mb={max(peak, idle):.1f} idle_mb={idle:.1f}")
