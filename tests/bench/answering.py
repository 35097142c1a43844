#!/usr/bin/env python3
"""Owns when a server answers for the first time: asks over HTTP and TFTP every few milliseconds, from before it starts.

Usage: answering.py SERVER   prints "ready" when it begins to ask, then http=SECONDS tftp=SECONDS since the epoch. A
refusal (no such file) is an answer. Gives up after 30 s and prints what it has.
"""
import socket
import sys
import time

server, every, patience = sys.argv[1], 0.004, 30
found = {}


def http():
    with socket.socket() as s:
        s.settimeout(2)
        try:
            s.connect((server, 80))
            s.sendall(b"GET /autoexec.ipxe HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            return s.recv(12).startswith(b"HTTP/1.1")
        except OSError:
            return False


# Not connected: TFTP answers from a port of the transfer's own.
tftp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
tftp.settimeout(every)


def tftp_answers():
    try:
        tftp.sendto(b"\0\1no-such-file\0octet\0", (server, 69))
        return tftp.recvfrom(2048)[1][0] == server
    except OSError:
        return False


print("ready", flush=True)
until = time.time() + patience
while len(found) < 2 and time.time() < until:
    for name, answers in (("http", http), ("tftp", tftp_answers)):
        if name not in found and answers():
            found[name] = time.time()
    time.sleep(every)
print(" ".join(f"{name}={at:.6f}" for name, at in found.items()), flush=True)
