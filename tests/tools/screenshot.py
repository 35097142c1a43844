#!/usr/bin/env python3
"""Owns pictures of the terminal for the documents: text with ANSI colours in, SVG (text, so it can be diffed) out.

Usage: tmux capture-pane -e -p -t SESSION | screenshot.py TITLE > docs/NAME.svg
"""
import html
import re
import sys

COLOURS = ["#2e3436", "#ef5350", "#7cb342", "#f9a825", "#42a5f5", "#ab47bc", "#26c6da", "#cfd8dc",
           "#78909c", "#ff8a80", "#b9f6ca", "#ffe57f", "#82b1ff", "#ea80fc", "#84ffff", "#ffffff"]
CELL, LINE, PAD, TOP = 8.4, 18, 14, 40


def spans(line):
    """Splits a line into (text, colour, bold, dim, inverse)."""
    colour, bold, dim, inverse = None, False, False, False
    for part in re.split(r"(\x1b\[[0-9;:]*[A-Za-z])", line):
        if not part.startswith("\x1b["):
            if part:
                yield part, colour, bold, dim, inverse
            continue
        if not part.endswith("m"):
            continue
        codes = [int(c or 0) for c in re.split("[;:]", part[2:-1])] or [0]
        while codes:
            c = codes.pop(0)
            if c == 0:
                colour, bold, dim, inverse = None, False, False, False
            elif c == 1:
                bold = True
            elif c == 2:
                dim = True
            elif c == 22:
                bold = dim = False
            elif c == 7:
                inverse = True
            elif c == 27:
                inverse = False
            elif 30 <= c <= 37:
                colour = COLOURS[c - 30]
            elif 90 <= c <= 97:
                colour = COLOURS[c - 90 + 8]
            elif c == 39:
                colour = None
            elif c == 38 and codes[:1] == [5]:
                n = codes[1]
                colour = COLOURS[n] if n < 16 else "#cfd8dc"
                codes = codes[2:]


title = sys.argv[1] if len(sys.argv) > 1 else ""
lines = sys.stdin.read().rstrip("\n").split("\n")
plain = [re.sub(r"\x1b\[[0-9;:]*[A-Za-z]", "", line) for line in lines]
while plain and not plain[-1].strip():
    plain.pop()
    lines.pop()
width = int(max((len(p.rstrip()) for p in plain), default=1) * CELL + 2 * PAD)
height = len(lines) * LINE + TOP + PAD
out = [f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}" '
       'font-family="DejaVu Sans Mono, Menlo, Consolas, monospace" font-size="14">',
       f'<rect width="{width}" height="{height}" rx="8" fill="#1c2226"/>',
       f'<text x="{width / 2}" y="24" fill="#90a4ae" text-anchor="middle">{html.escape(title)}</text>']
for row, line in enumerate(lines):
    x, y = 0, TOP + (row + 0.8) * LINE
    for text, colour, bold, dim, inverse in spans(line):
        if text.strip():
            style = f' fill="{colour or "#cfd8dc"}"' + (' font-weight="bold"' if bold else "") + \
                (' fill-opacity="0.6"' if dim else "")
            if inverse:
                out.append(f'<rect x="{PAD + x * CELL:.1f}" y="{y - LINE * 0.75:.1f}" width="{len(text) * CELL:.1f}" '
                           f'height="{LINE}" fill="#37474f"/>')
            out.append(f'<text x="{PAD + x * CELL:.1f}" y="{y:.1f}"{style} xml:space="preserve" '
                       f'textLength="{len(text) * CELL:.1f}">{html.escape(text)}</text>')
        x += len(text)
out.append("</svg>")
print("\n".join(out))
