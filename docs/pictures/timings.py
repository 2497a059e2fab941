#!/usr/bin/env python3
"""Draws the page of `cargo kina timings` about a real run: timings-light.png and timings-dark.png.

    docs/pictures/timings.py                  runs the tests of examples/operator three times, and draws their page
    docs/pictures/timings.py --from LOG       draws a log that was written for KINA_TIMING_LOG
    docs/pictures/timings.py --chromium PATH  with this browser instead of the first one on PATH

The runs have an engine of their own, which begins with no cluster. They need Chromium, and the binaries of Kubernetes in
kina's store; the tests are built before the first run begins.
"""

import argparse
import os
import pathlib
import shutil
import struct
import subprocess
import sys
import tempfile
import zlib

DIRECTORY = pathlib.Path(__file__).resolve().parent
REPOSITORY = DIRECTORY.parent.parent
BROWSERS = ["chromium", "chromium-browser", "google-chrome-stable", "google-chrome"]
# The window is higher than the page down to its timeline, of which the rest is cut off.
WIDTH, HEIGHT = 1280, 1000
MARGIN_PIXELS = 48
BELOW_TIMELINE = "#timeline ~ *, section ~ section ~ section, footer { display: none; }"
# Pixels for each unit of the page, so that text stays sharp on dense displays.
SCALE = 1.5
COLOURS_MAX = 256
# Chromium's names of the schemes.
SCHEMES = {"light": 1, "dark": 0}
PROGRAM = REPOSITORY / "target" / "debug" / "cargo-kina"
# Those of examples/operator.
TESTS = ["--test", "controller", "--test", "tour"]
RUN_COUNT, THREAD_COUNT = 3, 4
TIMEOUT_SECONDS = 300


def build():
    # The engine is part of the tests. The program has to be of the same sources to talk to it.
    cargo("build", "--bin", "cargo-kina")
    cargo("test", *TESTS, "--no-run")


def cargo(*arguments, **variables):
    environment = {**os.environ, **variables}
    environment.pop("CARGO_TARGET_DIR", None)
    subprocess.run(["cargo", *arguments], cwd=REPOSITORY, env=environment, check=True)


def run_tests(log, runtime):
    """Runs the tests with an engine of its own, which writes the log."""
    count = str(THREAD_COUNT)
    variables = {"KINA_RUNTIME_DIR": runtime, "KINA_SLOTS_MAX": count, "RUST_TEST_THREADS": count}
    try:
        for _ in range(RUN_COUNT):
            cargo("test", *TESTS, KINA_TIMING_LOG=str(log), **variables)
    finally:
        subprocess.run([PROGRAM, "stop"], env={**os.environ, **variables}, check=False)


def make_page(log, page):
    subprocess.run([PROGRAM, "timings", "--from", log, "--output", page], check=True)
    page.write_text(page.read_text().replace("</style>", f"{BELOW_TIMELINE}\n</style>", 1))


def photograph(browser, page, scheme, picture, directory):
    """Takes a picture of the page in a window."""
    profile = directory / f"profile-{scheme}"
    command = [
        browser, "--headless", "--disable-gpu", "--hide-scrollbars", "--no-first-run", "--disable-dev-shm-usage",
        "--force-color-profile=srgb", "--disable-background-networking", "--disable-component-update", "--disable-sync",
        f"--user-data-dir={profile}", f"--window-size={WIDTH},{HEIGHT}", f"--force-device-scale-factor={SCALE}",
        f"--blink-settings=preferredColorScheme={SCHEMES[scheme]}", f"--screenshot={picture}", page.as_uri(),
    ]  # fmt: skip
    if os.getuid() == 0:
        # Its sandbox does not work for root, and the page is our own.
        command.insert(1, "--no-sandbox")
    environment = {**os.environ, "HOME": str(directory)}
    subprocess.run(command, env=environment, check=True, capture_output=True, timeout=TIMEOUT_SECONDS)


# ---------------------------------------------------------------------------------------------------------------- PNG


def smaller(png):
    """The same picture without what is empty below, and with a palette, which needs a third of the bytes.

    Rare shades become the nearest common one.
    """
    width, height, pixels = decoded(png)
    ground = pixels[-1]
    while height > 1 and all(pixel == ground for pixel in pixels[(height - 1) * width : height * width]):
        height -= 1
    height = min(height + MARGIN_PIXELS, len(pixels) // width)
    counts = {}
    for pixel in pixels:
        counts[pixel] = counts.get(pixel, 0) + 1
    palette = sorted(counts, key=counts.get, reverse=True)[:COLOURS_MAX]
    places = {colour: index for index, colour in enumerate(palette)}
    for colour in counts:
        if colour not in places:
            places[colour] = min(
                range(len(palette)),
                key=lambda index: sum((one - other) ** 2 for one, other in zip(palette[index], colour)),
            )
    rows = bytearray()
    for row in range(height):
        rows.append(0)
        rows.extend(places[pixel] for pixel in pixels[row * width : (row + 1) * width])
    header = struct.pack(">IIBBBBB", width, height, 8, 3, 0, 0, 0)
    parts = [(b"IHDR", header), (b"PLTE", bytes(value for colour in palette for value in colour))]
    parts += [(b"IDAT", zlib.compress(bytes(rows), 9)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(kind, content) for kind, content in parts)


def chunk(kind, content):
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def decoded(png):
    """The width, the height and the colours of a picture with 8 bits for each of red, green and blue."""
    at, data, header = 8, b"", None
    while at < len(png):
        (length,) = struct.unpack(">I", png[at : at + 4])
        kind, content = png[at + 4 : at + 8], png[at + 8 : at + 8 + length]
        if kind == b"IHDR":
            header = struct.unpack(">IIBBBBB", content)
        elif kind == b"IDAT":
            data += content
        at += length + 12
    width, height, depth, colour_type, _, _, interlaced = header
    if depth != 8 or colour_type not in (2, 6) or interlaced:
        sys.exit("the browser writes a kind of PNG that this script does not read")
    size = 3 if colour_type == 2 else 4
    data = zlib.decompress(data)
    line, pixels = bytearray(width * size), []
    for row in range(height):
        start = row * (width * size + 1)
        line = unfiltered(data[start], bytearray(data[start + 1 : start + 1 + width * size]), line, size)
        pixels.extend(tuple(line[index : index + 3]) for index in range(0, len(line), size))
    return width, height, pixels


def unfiltered(kind, line, above, size):
    """A line of pixels without the filter of this kind: see section 9 of the specification of PNG."""
    for index, value in enumerate(line):
        left = line[index - size] if index >= size else 0
        up = above[index]
        corner = above[index - size] if index >= size else 0
        if kind == 1:
            value += left
        elif kind == 2:
            value += up
        elif kind == 3:
            value += (left + up) // 2
        elif kind == 4:
            distances = [(abs(left + up - corner - other), order) for order, other in enumerate((left, up, corner))]
            value += (left, up, corner)[min(distances)[1]]
        line[index] = value & 255
    return line


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--from", dest="log", type=pathlib.Path, help="a log to draw, instead of a new run")
    parser.add_argument("--chromium", default=next(filter(shutil.which, BROWSERS), None))
    arguments = parser.parse_args()
    if arguments.chromium is None:
        sys.exit("there is no Chromium on PATH: install one, or name one with --chromium")
    # Short, because sockets have short names.
    with tempfile.TemporaryDirectory(prefix="kina-", dir="/tmp") as name:
        directory = pathlib.Path(name)
        log = arguments.log
        build()
        if log is None:
            log = directory / "timings.jsonl"
            run_tests(log, name)
        page = directory / "page.html"
        make_page(log.resolve(), page)
        for scheme in SCHEMES:
            raw = directory / "raw.png"
            photograph(arguments.chromium, page, scheme, raw, directory)
            picture = DIRECTORY / f"timings-{scheme}.png"
            picture.write_bytes(smaller(raw.read_bytes()))
            print(f"{picture.name}: {picture.stat().st_size} bytes")


if __name__ == "__main__":
    main()
