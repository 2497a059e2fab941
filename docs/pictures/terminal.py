#!/usr/bin/env python3
"""Records a session in a terminal, and draws it as terminal.svg, which plays in real time.

    docs/pictures/terminal.py            runs the session, and draws it
    docs/pictures/terminal.py --redraw   draws the last recording again

A bash in a pseudo-terminal runs the commands. Every byte that it prints is kept with its time in terminal.cast, which
`asciinema play` understands too. Nothing is added, left out or slowed down, but for the last picture, which stays a while.
It needs the binaries of Kubernetes in kina's store; the tests are built before the recording begins. Cargo shows where its
target directory is, so that has to be the usual one.
"""

import argparse
import codecs
import fcntl
import html
import json
import os
import pathlib
import pty
import select
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import termios
import time

DIRECTORY = pathlib.Path(__file__).resolve().parent
REPOSITORY = DIRECTORY.parent.parent
PROGRAMS = REPOSITORY / "target" / "debug"
RECORDING = DIRECTORY / "terminal.cast"
PICTURE = DIRECTORY / "terminal.svg"

COLUMNS, ROWS = 98, 34
# The tests are those of examples/operator. The first two lines of the state name the machine's files.
SESSION = [
    "# The first run starts kina's engine, which boots real clusters.",
    "cargo test --test controller",
    "# The next run finds them: each is rewound after a test, and leased to another one.",
    "cargo test --test controller",
    "cargo-kina status | tail -n +3",
]

KEY_SECONDS = 0.03
PAUSE_SECONDS = 0.9
COMMAND_SECONDS_MAX = 120
LAST_PICTURE_SECONDS = 8
# Output within this time is one picture.
PICTURE_SECONDS = 0.02
# A sequence that terminals do not show. Bash prints it when it waits for a command.
PROMPT_MARK = "\x1b]133;A\x07"


# ---------------------------------------------------------------------------------------------------------- recording


def record():
    """Runs the session and writes the recording."""
    runtime = tempfile.mkdtemp(prefix="kina-", dir="/tmp")
    environment = {
        **os.environ,
        "CARGO_TERM_PROGRESS_WHEN": "never",
        "HISTFILE": "",
        "INPUTRC": "/dev/null",
        "KINA_RUNTIME_DIR": runtime,
        "LC_ALL": "C.UTF-8",
        "PATH": f"{PROGRAMS}:{os.environ['PATH']}",
        "PS1": rf"\[{PROMPT_MARK}\]\[\e[1;32m\]$\[\e[0m\] ",
        "TERM": "xterm-256color",
    }
    for name in ("NO_COLOR", "CARGO_TARGET_DIR", "CARGO_TERM_COLOR", "PROMPT_COMMAND"):
        environment.pop(name, None)
    # The engine is part of the tests. The program has to be of the same sources to talk to it.
    for build in (["build", "--bin", "cargo-kina"], ["test", "--test", "controller", "--no-run"]):
        subprocess.run(["cargo", *build], cwd=REPOSITORY, env=environment, check=True)
    try:
        events = session(environment)
    finally:
        subprocess.run([PROGRAMS / "cargo-kina", "stop"], env=environment, check=False)
        shutil.rmtree(runtime, ignore_errors=True)

    printed = "".join(text for _, text in events)
    for secret in (str(pathlib.Path.home()), str(REPOSITORY), runtime, socket.gethostname()):
        if len(secret) > 3 and secret in printed:
            sys.exit(f"the session shows {secret}, which is this machine's: not recorded")
    header = {"version": 2, "width": COLUMNS, "height": ROWS}
    lines = [json.dumps(header)] + [json.dumps([round(moment, 3), "o", text]) for moment, text in events]
    RECORDING.write_text("\n".join(lines) + "\n")


def session(environment):
    """Types the commands into a bash, each when the one before has ended. Returns the output with its times."""
    process, terminal = pty.fork()
    if process == 0:
        os.chdir(REPOSITORY)
        os.execvpe("bash", ["bash", "--norc", "--noprofile"], environment)
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    started = time.monotonic()
    events = []

    def read(seconds, until_prompt=False):
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            if not select.select([terminal], [], [], left)[0]:
                continue
            text = decoder.decode(os.read(terminal, 1 << 16))
            events.append((time.monotonic() - started, text))
            if until_prompt and PROMPT_MARK in text:
                return True
        return not until_prompt

    try:
        if not read(10, until_prompt=True):
            sys.exit("bash has shown no prompt within 10 s")
        # The picture begins with the prompt.
        started = time.monotonic()
        events[:] = [(0, text) for _, text in events]
        for command in SESSION:
            read(PAUSE_SECONDS)
            for key in command:
                os.write(terminal, key.encode())
                read(KEY_SECONDS)
            read(PAUSE_SECONDS / 3)
            os.write(terminal, b"\r")
            if not read(COMMAND_SECONDS_MAX, until_prompt=True):
                sys.exit(f"`{command}` has not ended within {COMMAND_SECONDS_MAX} s")
        read(PAUSE_SECONDS / 3)
    finally:
        os.kill(process, signal.SIGKILL)
        os.waitpid(process, 0)
        os.close(terminal)
    return events


# ----------------------------------------------------------------------------------------------------------- terminal


class Screen:
    """The part of a terminal that the session needs. Another control sequence is an error, not a wrong picture."""

    def __init__(self):
        self.rows = [[(" ", "")] * COLUMNS for _ in range(ROWS)]
        self.row, self.column = 0, 0
        self.colour, self.weight = "", ""
        self.pending = ""

    def feed(self, text):
        text = self.pending + text
        self.pending = ""
        at = 0
        while at < len(text):
            if text[at] != "\x1b":
                self.show(text[at])
                at += 1
                continue
            end = sequence_end(text, at)
            if end is None:
                self.pending = text[at:]
                return
            self.control(text[at + 1 : end])
            at = end

    def show(self, character):
        if character == "\n":
            self.next_row()
        elif character == "\r":
            self.column = 0
        elif character == "\b":
            self.column = max(0, self.column - 1)
        elif character >= " ":
            if self.column == COLUMNS:
                self.column = 0
                self.next_row()
            self.rows[self.row][self.column] = (character, f"{self.colour} {self.weight}".strip())
            self.column += 1

    def next_row(self):
        if self.row + 1 == ROWS:
            self.rows.append([(" ", "")] * COLUMNS)
            del self.rows[0]
        else:
            self.row += 1

    def control(self, sequence):
        # Titles and marks, and the choice of the usual characters.
        if sequence[0] == "]" or sequence == "(B":
            return
        if sequence[0] != "[":
            raise ValueError(f"unknown sequence {sequence!r}")
        parameters, kind = sequence[1:-1], sequence[-1]
        if parameters.startswith("?"):
            return
        numbers = [int(number or 0) for number in parameters.split(";")]
        if kind == "m":
            for number in numbers:
                self.style(number)
        elif kind == "K" and numbers[0] in (0, 2):
            start = 0 if numbers[0] == 2 else self.column
            self.rows[self.row][start:] = [(" ", "")] * (COLUMNS - start)
        elif kind == "A":
            self.row = max(0, self.row - max(1, numbers[0]))
        elif kind == "C":
            self.column = min(COLUMNS - 1, self.column + max(1, numbers[0]))
        elif kind == "D":
            self.column = max(0, self.column - max(1, numbers[0]))
        elif kind == "P":
            count = max(1, numbers[0])
            row = self.rows[self.row]
            del row[self.column : self.column + count]
            row.extend([(" ", "")] * (COLUMNS - len(row)))
        else:
            raise ValueError(f"unknown sequence {sequence!r}")

    def style(self, number):
        if number == 0:
            self.colour, self.weight = "", ""
        elif number in (1, 2):
            self.weight = "bold" if number == 1 else "dim"
        elif number == 22:
            self.weight = ""
        elif 30 <= number <= 37 or 90 <= number <= 97:
            self.colour = f"c{number % 10}"
        elif number == 39:
            self.colour = ""
        else:
            raise ValueError(f"unknown style {number}")

    def runs(self, row):
        """The pieces of a row that look alike: their columns, texts and styles."""
        pieces = []
        for column, (character, style) in enumerate(self.rows[row]):
            if pieces and pieces[-1][2] == style:
                pieces[-1][1] += character
            else:
                pieces.append([column, character, style])
        trimmed = []
        for column, text, style in pieces:
            kept = text.lstrip(" ")
            if kept:
                trimmed.append((column + len(text) - len(kept), kept.rstrip(" "), style))
        return tuple(trimmed)


def sequence_end(text, at):
    """The end of the control sequence that begins here, if it is there already."""
    if at + 1 == len(text):
        return None
    if text[at + 1] == "]":
        end = text.find("\x07", at)
        return None if end < 0 else end + 1
    if text[at + 1] == "(":
        return at + 3 if at + 2 < len(text) else None
    if text[at + 1] != "[":
        return at + 2
    for index in range(at + 2, len(text)):
        if "@" <= text[index] <= "~":
            return index + 1
    return None


# ------------------------------------------------------------------------------------------------------------ drawing

CELL_WIDTH, CELL_HEIGHT, FONT_SIZE = 8.4, 19, 14
MARGIN, BAR_HEIGHT = 16, 30
COLOURS = {
    "c0": "#6e7681", "c1": "#ff7b72", "c2": "#56d364", "c3": "#e3b341",
    "c4": "#79c0ff", "c5": "#d2a8ff", "c6": "#56d4dd", "c7": "#e6edf3",
}  # fmt: skip


def draw():
    """Reads the recording and writes the picture."""
    lines = RECORDING.read_text().splitlines()
    events = [(moment, text) for moment, _, text in map(json.loads, lines[1:])]
    end = events[-1][0] + LAST_PICTURE_SECONDS
    screen = Screen()
    # The contents of each row, and the places of the cursor, with the times at which they are shown.
    shown, pieces = {}, []

    def change(place, content, moment):
        before, since = shown.get(place, (None, 0))
        if before == content:
            return
        if before and moment > since:
            pieces.append((place, before, since, moment))
        shown[place] = (content, moment)

    for index, (moment, text) in enumerate(events):
        screen.feed(text)
        if index + 1 < len(events) and events[index + 1][0] - moment < PICTURE_SECONDS:
            continue
        for row in range(ROWS):
            change(row, screen.runs(row), moment)
        change("cursor", (screen.row, min(screen.column, COLUMNS - 1)), moment)
    for place, (content, since) in shown.items():
        if content:
            pieces.append((place, content, since, end))
    used = 1 + max(content[0] if place == "cursor" else place for place, content, _, _ in pieces)
    PICTURE.write_text(document(pieces, end, used))
    print(f"{PICTURE.name}: {end - LAST_PICTURE_SECONDS:.1f} s, {used} rows, {PICTURE.stat().st_size} bytes")


def document(pieces, end, row_count):
    width = round(COLUMNS * CELL_WIDTH + 2 * MARGIN)
    height = BAR_HEIGHT + row_count * CELL_HEIGHT + MARGIN + 6
    # Pieces that come and go at the same times share an animation.
    names, frames, body = {}, [], []
    for place, content, since, until in pieces:
        if (since, until) not in names:
            names[since, until] = name = f"t{len(names)}"
            frames.append(f".{name}{{animation-name:{name}}}@keyframes {name}{{{keyframes(since, until, end)}}}")
        classes = names[since, until] + (" z" if until == end else "")
        body.append(f'<g class="{classes}">{cursor(*content) if place == "cursor" else row_text(place, content)}</g>')
    colours = "".join(f".{name}{{fill:{colour}}}" for name, colour in COLOURS.items())
    description = html.escape(" ".join(SESSION[index] for index in (0, 2)).replace("# ", ""))
    return f"""<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" role="img" aria-labelledby="title description">
<title id="title">Tests with kina in a terminal, in real time</title>
<desc id="description">{description}</desc>
<style>
text{{font:{FONT_SIZE}px ui-monospace,SFMono-Regular,Menlo,Consolas,"Liberation Mono","DejaVu Sans Mono",monospace;fill:#e6edf3;white-space:pre}}
.bold{{font-weight:700}}.dim{{opacity:.7}}{colours}
g{{visibility:hidden}}.z{{visibility:visible}}
@media (prefers-reduced-motion:no-preference){{g{{animation:{end:.2f}s step-end infinite}}
{chr(10).join(frames)}
}}
</style>
<rect x=".5" y=".5" width="{width - 1}" height="{height - 1}" rx="8" fill="#0d1117" stroke="#57606a"/>
<circle cx="20" cy="17" r="5.5" fill="#ff5f57"/><circle cx="39" cy="17" r="5.5" fill="#febc2e"/><circle cx="58" cy="17" r="5.5" fill="#28c840"/>
{chr(10).join(body)}
</svg>
"""


def keyframes(since, until, end):
    steps = [("0%", "hidden")] if since else []
    steps.append((f"{since / end * 100:.3f}%", "visible"))
    if until < end:
        steps.append((f"{until / end * 100:.3f}%", "hidden"))
    return "".join(f"{moment}{{visibility:{value}}}" for moment, value in steps)


def row_text(row, runs):
    baseline = BAR_HEIGHT + row * CELL_HEIGHT + 15
    parts = []
    for column, text, style in runs:
        x = MARGIN + column * CELL_WIDTH
        # The width is given, so that columns stay columns in every font.
        attributes = f'x="{x:.1f}" y="{baseline}" textLength="{len(text) * CELL_WIDTH:.1f}"'
        attributes += f' class="{style}"' if style else ""
        parts.append(f"<text {attributes}>{html.escape(text, quote=False)}</text>")
    return "".join(parts)


def cursor(row, column):
    return (
        f'<rect x="{MARGIN + column * CELL_WIDTH:.1f}" y="{BAR_HEIGHT + row * CELL_HEIGHT + 2}" '
        f'width="{CELL_WIDTH}" height="{CELL_HEIGHT - 3}" fill="#8b949e"/>'
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--redraw", action="store_true", help="draw the last recording, without a new session")
    if not parser.parse_args().redraw:
        record()
    draw()


if __name__ == "__main__":
    main()
