#!/usr/bin/env python3
"""Writes src/kickstart/lint/dialects.tsv: which kickstart commands and options exist in which dialect.

Facts read out of pykickstart's handlers (names of commands and options only). Needs pykickstart 3.78.
Usage: dialects.py > src/kickstart/lint/dialects.tsv
"""
from pykickstart.base import DeprecatedCommand, RemovedCommand
from pykickstart.version import makeVersion, versionMap

DIALECTS = ["RHEL7", "RHEL8", "RHEL9", "RHEL10"] + ["F%d" % n for n in range(29, 41)]


def options(command):
    parser = getattr(command, "op", None)
    if parser is None:
        return {}
    out = {}
    for action in parser._actions:
        for flag in action.option_strings:
            if flag.startswith("--"):
                out[flag] = bool(getattr(action, "deprecated", False))
    out.pop("--help", None)
    return out


table = {}
for dialect in DIALECTS:
    assert dialect in versionMap, dialect
    for name, command in makeVersion(dialect).commands.items():
        if command is None or isinstance(command, RemovedCommand):
            continue
        old = isinstance(command, DeprecatedCommand)
        table.setdefault((name, "-"), []).append(dialect + ("~" if old else ""))
        for flag, deprecated in options(command).items():
            table.setdefault((name, flag), []).append(dialect + ("~" if deprecated else ""))

print("# command\toption (-: the command itself)\tdialects that have it (~: deprecated there)")
print("# dialects: " + " ".join(DIALECTS))
for (name, flag), where in sorted(table.items()):
    print("%s\t%s\t%s" % (name, flag, "all" if where == DIALECTS else " ".join(where)))
