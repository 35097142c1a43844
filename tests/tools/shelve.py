#!/usr/bin/env python3
"""Owns putting files onto an images shelf as published ones, for tests and benches that need no real image.

Usage: shelve.py SHELF FOLDER FILE...   FOLDER is an image's name, or `loaders`
"""
import hashlib
import json
import os
import shutil
import sys

shelf, folder, *files = sys.argv[1:]
os.makedirs(f"{shelf}/{folder}")
manifest = {"format": 1, "origin": {"made by": "test"}, "files": {}, "stored": {}}
for source in files:
    name = os.path.basename(source)
    to = f"{shelf}/{folder}/{name}"
    shutil.copyfile(source, to)
    with open(to, "rb") as f:
        digest = hashlib.file_digest(f, "sha256").hexdigest()
    info = os.stat(to)
    manifest["stored"][name] = {"size": info.st_size, "mtime_ns": info.st_mtime_ns, "sha256": digest}
    manifest["files"][name] = {"size": info.st_size, "sha256": digest, "at": name}
with open(f"{shelf}/{folder}/manifest.json", "w") as f:
    json.dump(manifest, f)
