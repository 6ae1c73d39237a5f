#!/usr/bin/env python3
"""Draws what the benchmarks measured: for each row the time with Tether and that of what it is compared with.

    bench/plot.py build/bench/bench/results/calls.json docs/calls.svg

The axis is logarithmic. Needs nothing but Python.
"""

import json
import math
import sys
from html import escape

ROW, TEXT, PLOT, MARGIN = 34, 430, 420, 10
COLOURS = {"tether_ms": "#1f77b4", "bare_ms": "#bbbbbb"}
LEGEND = {"tether_ms": "Tether", "bare_ms": "what it is compared with"}


def readable(milliseconds):
    """Three digits in the unit that suits them."""
    for unit, factor in (("s", 1e-3), ("ms", 1), ("us", 1e3)):
        if milliseconds * factor >= 1:
            return f"{milliseconds * factor:.3g} {unit}"
    return f"{milliseconds * 1e6:.3g} ns"


def draw(rows):
    times = [row[key] for row in rows for key in COLOURS if row[key] is not None]
    low = math.floor(math.log10(min(times)))
    high = max(low + 1, math.ceil(math.log10(max(times))))
    width, height = TEXT + PLOT + 150, ROW * (len(rows) + 1) + 2 * MARGIN

    def x(milliseconds):
        return TEXT + PLOT * (math.log10(milliseconds) - low) / (high - low)

    yield (f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
           'font-family="sans-serif" font-size="12">')
    yield f'<rect width="{width}" height="{height}" fill="white"/>'
    for power in range(low, high + 1):
        at = x(10.0 ** power)
        yield f'<line x1="{at:.1f}" x2="{at:.1f}" y1="{MARGIN}" y2="{height - ROW}" stroke="#dddddd"/>'
        yield f'<text x="{at:.1f}" y="{height - MARGIN - 8}" text-anchor="middle">{readable(10.0 ** power)}</text>'
    for number, row in enumerate(rows):
        top = MARGIN + ROW * number
        yield f'<text x="{TEXT - 8}" y="{top + 19}" text-anchor="end">{escape(row["what"])}</text>'
        for place, (key, colour) in enumerate(COLOURS.items()):
            y = top + 3 + 13 * place
            if row[key] is None:
                yield f'<text x="{TEXT + 4}" y="{y + 10}" fill="#888888">never</text>'
                continue
            end = x(row[key])
            yield f'<rect x="{TEXT}" y="{y}" width="{end - TEXT:.1f}" height="11" fill="{colour}"/>'
            yield f'<text x="{end + 4:.1f}" y="{y + 10}">{readable(row[key])}</text>'
    for place, (key, colour) in enumerate(COLOURS.items()):
        y = height - ROW + 6 + 14 * place
        yield f'<rect x="{MARGIN}" y="{y}" width="11" height="11" fill="{colour}"/>'
        yield f'<text x="{MARGIN + 16}" y="{y + 10}">{LEGEND[key]}</text>'
    yield "</svg>"


def main():
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    with open(sys.argv[1], encoding="utf-8") as file:
        rows = [row for row in json.load(file) if "tether_ms" in row]  # others are not times
    with open(sys.argv[2], "w", encoding="utf-8") as file:
        file.write("\n".join(draw(rows)) + "\n")


if __name__ == "__main__":
    main()
