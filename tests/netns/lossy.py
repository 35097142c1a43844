#!/usr/bin/env python3
"""Owns a bad cable: forwards frames between two interfaces, loses some and doubles some, both ways.

Usage: lossy.py INTERFACE INTERFACE LOST-PERCENT DOUBLED-PERCENT     until it is killed

In user space, because not every kernel that tests run on has the netem queue.
"""
import random
import select
import socket
import sys

PACKET_OUTGOING = 4
ends = []
for name in sys.argv[1:3]:
    end = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
    end.bind((name, 0))
    ends.append(end)
lost, doubled = float(sys.argv[3]) / 100, float(sys.argv[4]) / 100
print("ready", flush=True)
while True:
    for end in select.select(ends, [], [])[0]:
        frame, source = end.recvfrom(65536)
        if source[2] == PACKET_OUTGOING or random.random() < lost:
            continue
        other = ends[1 - ends.index(end)]
        for _ in range(2 if random.random() < doubled else 1):
            other.send(frame)
