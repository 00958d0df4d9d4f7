#!/usr/bin/env python3
"""Makes docs/run.svg of what a run really prints on a terminal.

Build first (`cargo build --release`), then: python3 docs/picture.py
"""
import html
import os
import pty
import re

COMMAND = ["target/release/vibes-mock", "run", "happy-path", "--speed", "4x"]
COLOURS = {"31": "#ff7b72", "32": "#7ee787", "33": "#e3b341", "34": "#79c0ff", "36": "#76e3ea"}
WIDTH, LINE, LEFT, TOP = 8.4, 20, 16, 40


def terminal_output():
    output = []

    def read(fd):
        data = os.read(fd, 4096)
        output.append(data)
        return data

    os.environ.update(TERM="xterm-256color", COLUMNS="120")
    devnull = os.open(os.devnull, os.O_WRONLY)
    saved = os.dup(1)
    os.dup2(devnull, 1)
    pty.spawn(COMMAND, read)
    os.dup2(saved, 1)
    return b"".join(output).decode().replace("\r", "").splitlines()


def spans(line):
    colour = None
    for piece in re.split(r"(\x1b\[[0-9;]*m)", line):
        if piece.startswith("\x1b"):
            codes = piece[2:-1].split(";")
            colour = next((COLOURS[code] for code in codes if code in COLOURS), None)
        elif piece:
            text = html.escape(piece).replace(" ", "&#160;")
            yield f'<tspan fill="{colour}">{text}</tspan>' if colour else text


def main():
    lines = ["$ vibes-mock " + " ".join(COMMAND[1:])] + terminal_output()
    columns = max(len(re.sub(r"\x1b\[[0-9;]*m", "", line)) for line in lines)
    width, height = int(columns * WIDTH + 2 * LEFT), TOP + len(lines) * LINE
    rows = "\n".join(
        f'<text x="{LEFT}" y="{TOP + at * LINE}">{"".join(spans(line))}</text>'
        for at, line in enumerate(lines)
    )
    with open("docs/run.svg", "w", encoding="utf-8") as svg:
        svg.write(
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
            f'viewBox="0 0 {width} {height}" role="img" aria-label="A run on a terminal">\n'
            f'<rect width="{width}" height="{height}" rx="8" fill="#0d1117"/>\n'
            '<g font-family="ui-monospace,SFMono-Regular,Menlo,Consolas,monospace" '
            f'font-size="14" fill="#e6edf3">\n{rows}\n</g>\n</svg>\n'
        )


main()
