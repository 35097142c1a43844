#!/usr/bin/env python3
"""Owns the bench's targets: what is wanted, and the one form in which a bench says what came of it.

  target  NAME  wanted ≤ X  measured Y  met|missed|unmeasured

Used by the benches as a module (they run at the project's root: PYTHONPATH=tests/bench), and by tests/bench/run:
targets.py FILE BENCH...   sums up the target lines of FILE; those that a bench of BENCH... owes and did not say are
unmeasured. Ends with 1 if any is.
"""
import re
import statistics
import sys

# Bench → name → wanted. "to X" is a ratio: Bootstead's figure divided by that of X, medians of the rounds.
TARGETS = {
    "dhcp": {
        "DHCP burst p99 to Kea": "≤ 0.1",
        "DHCP burst retransmits": "≤ 0",
        "DHCP burst machines without an address": "≤ 0",
        "DHCP ACKs that are not on disk": "≤ 0",
        "perfdhcp rate to Kea": "≥ 1.0",
    },
    "tftp": {
        "TFTP window 1 time to tftpd-hpa": "≤ 0.75",
        "TFTP window 1 CPU to tftpd-hpa": "≤ 0.75",
        "TFTP window 4 time to tftpd-hpa": "≤ 0.75",
        "TFTP window 4 CPU to tftpd-hpa": "≤ 0.75",
        "TFTP failed clients": "≤ 0",
    },
    "http": {
        "HTTP small files rate to nginx": "≥ 1.0",
        "HTTP bulk CPU to nginx": "≤ 1.3",
        "HTTP bulk failed clients": "≤ 0",
    },
    "storm": {
        "whole boot time to dnsmasq + nginx": "≤ 1.0",
        "whole boot failed nodes": "≤ 0",
        "memory peak without the binary's own pages, MB": "≤ 64",
        "memory idle without the binary's own pages, MB": "≤ 20",
        "start to HTTP and TFTP answering, s": "< 1",
    },
}
HOLDS = {"≤": lambda a, b: a <= b, "≥": lambda a, b: a >= b, "<": lambda a, b: a < b}
sys.stdout.reconfigure(encoding="utf-8")


def rows(path, strip=""):
    """Lines `[STRIP...] WHO key=number...` → WHO → one dictionary per line. Of two figures of one name the last one
    counts: the control group's, which has the time of children that ended. What is no number is not there."""
    found = {}
    with open(path) as file:
        for line in file:
            words = re.sub(strip, "", line).split()
            if words:
                figures = re.findall(r"(\w+)=([0-9.]+)(?=\s|$)", line)
                found.setdefault(words[0], []).append({k: float(v) for k, v in figures})
    return found


def column(found, who, key):
    """All that was measured, if it was in every round."""
    all_ = [r.get(key) for r in found.get(who, [])]
    return all_ if all_ and None not in all_ else None


def median(found, who, key):
    all_ = column(found, who, key)
    return None if all_ is None else statistics.median(all_)


def worst(found, who, key):
    all_ = column(found, who, key)
    return None if all_ is None else max(all_)


def ratio(found, key, peer):
    """Bootstead's median divided by the peer's."""
    ours, theirs = median(found, "bootstead", key), median(found, peer, key)
    return None if ours is None or not theirs else ours / theirs


def line(name, wanted, measured):
    sign, limit = wanted.split()
    if measured is None:
        return f"target  {name}  wanted {wanted}  measured -  unmeasured"
    verdict = "met" if HOLDS[sign](measured, float(limit)) else "missed"
    # Enough digits to see why.
    said = f"{measured:.3f}".rstrip("0").rstrip(".") if measured < 10 else f"{measured:.1f}"
    return f"target  {name}  wanted {wanted}  measured {said}  {verdict}"


def say(bench, measured):
    """Prints the line of every target of a bench; ends the program with 1 if one of them was not measured."""
    strange = set(measured) - set(TARGETS[bench])
    assert not strange, f"no such target: {strange}"
    print()
    for name, wanted in TARGETS[bench].items():
        print(line(name, wanted, measured.get(name)))
    sys.exit(int(any(measured.get(name) is None for name in TARGETS[bench])))


def summary(path, benches):
    with open(path, encoding="utf-8") as file:
        said = {}
        for text in file:
            parts = re.split(r" {2,}", text.strip())
            if parts[0] == "target":
                said[parts[1]] = (text.strip(), parts[-1])
    counts = {"met": 0, "missed": 0, "unmeasured": 0}
    for bench in benches:
        for name, wanted in TARGETS.get(bench, {}).items():
            text, verdict = said.get(name, (line(name, wanted, None), "unmeasured"))
            print(text)
            counts[verdict] += 1
    print("targets: " + ", ".join(f"{n} {verdict}" for verdict, n in counts.items()))
    return int(counts["unmeasured"] > 0)


if __name__ == "__main__":
    sys.exit(summary(sys.argv[1], sys.argv[2:]))
