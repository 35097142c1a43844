#!/usr/bin/env python3
"""Owns how long a server took, as seen on its own cable: from a request's packet to its answer's, of a capture.

Usage: latency.py FILE.pcap   prints: at_dhcp_p99_ms=N at_dhcp_max_ms=N at_script_p99_ms=N at_script_max_ms=N
DHCP: DISCOVER to OFFER and REQUEST to ACK by transaction (a repeated request counts from its first packet). Script: the
GET of a text to the first packet of its answer, by connection. The capture holds UDP port 67 and those TCP packets that
begin with "GET " or "HTTP"; tests/bench/storm.sh makes it.
"""
import struct
import sys


def packets(path):
    with open(path, "rb") as f:
        data = f.read()
    scale = {0xA1B2C3D4: 1e-6, 0xA1B23C4D: 1e-9}[struct.unpack_from("<I", data)[0]]
    at = 24
    while at + 16 <= len(data):
        secs, fraction, kept, _ = struct.unpack_from("<IIII", data, at)
        yield secs + fraction * scale, data[at + 16:at + 16 + kept]
        at += 16 + kept


def message_type(dhcp):
    at = 240
    while at + 2 < len(dhcp) and dhcp[at] != 255:
        if dhcp[at] == 0:
            at += 1
            continue
        if dhcp[at] == 53:
            return dhcp[at + 2]
        at += 2 + dhcp[at + 1]
    return 0


asked, took = {}, {"dhcp": [], "script": []}
for when, frame in packets(sys.argv[1]):
    ip = frame[14:]
    if len(ip) < 28 or ip[0] >> 4 != 4:
        continue
    rest = ip[(ip[0] & 15) * 4:]
    if ip[9] == 17 and len(rest) > 250:
        kind = message_type(rest[8:])
        key = (rest[12:16], {1: 1, 2: 1, 3: 3, 5: 3, 6: 3}.get(kind))
        if kind in (1, 3):
            asked.setdefault(key, when)
        elif key in asked:
            took["dhcp"].append(when - asked.pop(key))
    elif ip[9] == 6 and len(rest) > 20:
        body = rest[(rest[12] >> 4) * 4:]
        if body.startswith(b"GET "):
            if b"ipxe" in body.split(b"\r\n")[0]:
                asked[(ip[12:16], rest[:2])] = when
        elif body.startswith(b"HTTP"):
            key = (ip[16:20], rest[2:4])
            if key in asked:
                took["script"].append(when - asked.pop(key))
words = []
for what, all_ in took.items():
    all_.sort()
    p99 = all_[min(len(all_) - 1, len(all_) * 99 // 100)] if all_ else 0
    words.append(f"at_{what}_p99_ms={p99 * 1000:.1f} at_{what}_max_ms={(all_ or [0])[-1] * 1000:.1f}")
print(" ".join(words))
