#!/usr/bin/env python3
"""Draws a trace (TETHER_TRACE) of a few milliseconds: the time lines of its processes.

    docs/pictures/trace.py trace.json > docs/pictures/trace.svg
"""

import html
import json
import sys

COLOURS = {"call": "#7aa6d6", "start": "#c9b458", "spawn": "#c9b458", "encode": "#8d6cab", "decode": "#8d6cab",
           "run": "#5fa777", "queue": "#c4c4c4"}
LEFT, WIDTH, ROW, FONT = 130, 1130, 22, 11


class Span:
    def __init__(self, event, end):
        self.begin, self.end = event["ts"], end
        self.name, self.category = event["name"], event["cat"]


def spans_of_threads(events):
    """{(process, thread): [(depth, span)]}; what has no end ends with its process."""
    last = {}
    for event in events:
        last[event["pid"]] = max(last.get(event["pid"], 0), event["ts"] + event.get("dur", 0))
    open_ones, found = {}, {}
    for event in events:
        track = (event["pid"], event["tid"])
        if event["ph"] == "B":
            open_ones.setdefault(track, []).append(event)
        elif event["ph"] == "E":
            found.setdefault(track, []).append(Span(open_ones[track].pop(), event["ts"]))
        elif event["ph"] == "X":
            found.setdefault(track, []).append(Span(event, event["ts"] + event["dur"]))
    for track, begins in open_ones.items():
        found.setdefault(track, []).extend(Span(begin, last[track[0]]) for begin in begins)
    result = {}
    for track, spans in found.items():
        spans.sort(key=lambda span: (span.begin, -span.end))
        around = []
        for span in spans:
            while around and around[-1].end <= span.begin:
                around.pop()
            result.setdefault(track, []).append((len(around), span))
            around.append(span)
    return result


def rows_of_overlapping(events):
    """{process: [(row, span)]} of spans that are no thread's."""
    open_ones, found, rows = {}, {}, {}
    for event in events:
        key = (event["pid"], event["cat"], event.get("id"))
        if event["ph"] == "b":
            open_ones[key] = event
        elif event["ph"] == "e" and key in open_ones:
            found.setdefault(event["pid"], []).append(Span(open_ones.pop(key), event["ts"]))
    for process, spans in found.items():
        ends = []
        for span in sorted(spans, key=lambda span: span.begin):
            row = next((i for i, end in enumerate(ends) if end <= span.begin), len(ends))
            ends[row:row + 1] = [span.end]
            rows.setdefault(process, []).append((row, span))
    return rows


class Picture:
    def __init__(self, events):
        self.events = sorted((e for e in events if e["ph"] != "M"), key=lambda e: e["ts"])
        self.names = {(e["name"], e["pid"], e["tid"]): e["args"]["name"] for e in events if e["ph"] == "M"}
        self.first = self.events[0]["ts"]
        self.last = max(e["ts"] + e.get("dur", 0) for e in self.events)
        self.parts, self.y = [], 34

    def x(self, time):
        return LEFT + (time - self.first) / (self.last - self.first) * WIDTH

    def text(self, x, y, text, more=""):
        self.parts.append(f'<text x="{x:.1f}" y="{y:.1f}" {more}>{html.escape(text)}</text>')

    def bar(self, row, span):
        x, y = self.x(span.begin), self.y + row * ROW
        width = max(1.0, self.x(span.end) - x)
        milliseconds = (span.end - span.begin) / 1000
        colour = COLOURS.get(span.category, "#999999")
        self.parts.append(f'<rect x="{x:.1f}" y="{y}" width="{width:.1f}" height="{ROW - 4}" rx="2" fill="{colour}">'
                          f"<title>{html.escape(span.name)}: {milliseconds:.3f} ms</title></rect>")
        if width > 5.5 * len(span.name):
            self.text(x + 2, y + 13, span.name)

    def track(self, title, spans):
        if not spans:
            return
        self.text(10, self.y + 13, title)
        for row, span in spans:
            self.bar(row, span)
        self.y += ROW * (1 + max(row for row, _ in spans)) + 4

    def instants(self, process):
        """Each with its text beside it, below one another where they are close."""
        events = [e for e in self.events if e["ph"] == "i" and e["pid"] == process]
        ends = []
        for event in events:
            x = self.x(event["ts"])
            length = 5.9 * len(event["name"]) + 12
            left = x + length > LEFT + WIDTH
            begin = x - length if left else x
            row = next((i for i, end in enumerate(ends) if end <= begin), len(ends))
            ends[row:row + 1] = [x if left else x + length]
            y = self.y + row * ROW
            self.parts.append(f'<path d="M{x:.1f} {y + 2} l5 7 l-5 7 l-5 -7 z" fill="#c0504d"/>')
            self.text(x - 8 if left else x + 8, y + 13, event["name"], 'text-anchor="end"' if left else "")
        self.y += ROW * len(ends) + (4 if ends else 0)

    def process(self, process, threads, overlapping):
        top = self.y
        self.y += 24
        self.track("calls" if any(s.category == "call" for _, s in overlapping) else "queue", overlapping)
        for (pid, tid), spans in sorted(threads.items(), key=lambda item: item[0][1]):
            if pid == process:
                self.track("main thread" if tid == pid else f"thread {self.names.get(('thread_name', pid, tid), tid)}",
                           spans)
        self.instants(process)
        name = self.names.get(("process_name", process, process), str(process))
        self.parts.insert(0, f'<rect x="4" y="{top}" width="{LEFT + WIDTH + 12}" height="{self.y - top + 2}" rx="6" '
                             'fill="#f6f8fa" stroke="#d0d7de"/>')
        self.text(10, top + 16, f"process {process}: {name}", 'font-weight="bold"')
        self.y += 12

    def legend(self):
        x = LEFT
        for names in ("call", "start, spawn", "encode, decode", "run", "queue"):
            colour = COLOURS[names.split(",")[0]]
            self.parts.append(f'<rect x="{x}" y="{self.y + 3}" width="12" height="12" rx="2" fill="{colour}"/>')
            self.text(x + 17, self.y + 13, names)
            x += 7 * len(names) + 40
        self.y += 24

    def axis(self):
        span = (self.last - self.first) / 1000
        step = next(s for s in (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 1e9) if span / s <= 14)
        for i in range(int(span / step) + 1):
            x = self.x(self.first + i * step * 1000)
            self.parts.insert(0, f'<path d="M{x:.1f} 26 V{self.y}" stroke="#d0d7de" stroke-dasharray="2 3"/>')
            self.text(x, 20, f"{i * step:g} ms", 'text-anchor="middle" fill="#57606a"')

    def svg(self):
        threads, overlapping = spans_of_threads(self.events), rows_of_overlapping(self.events)
        frames = self.parts
        for process in dict.fromkeys(event["pid"] for event in self.events):
            self.process(process, threads, overlapping.get(process, []))
        boxes = [part for part in frames if 'fill="#f6f8fa"' in part]
        self.parts = [part for part in frames if part not in boxes]
        self.axis()
        self.legend()
        self.parts = boxes + self.parts
        size = f'width="{LEFT + WIDTH + 20}" height="{self.y}"'
        return (f'<svg xmlns="http://www.w3.org/2000/svg" {size} font-family="Helvetica,Arial,sans-serif" '
                f'font-size="{FONT}">\n<rect {size} fill="white"/>\n' + "\n".join(self.parts) + "\n</svg>\n")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    with open(sys.argv[1], encoding="utf-8") as file:
        sys.stdout.write(Picture(json.load(file)).svg())
