#!/usr/bin/env python3
"""Measures what a user would take instead of Tether, beside LIMIT and Tether in the same run.

    bench/peers.py build/bench/bench/peers [--rounds=5] [--cores=N] [--only=NAME,...] [--json=FILE]

Runs the programs tether_peer_* of that folder, one measurement of each after the other, round after round, and
prints a table. --cores holds everything to that many cores. Needs nothing but Python and Linux.
"""

import argparse
import json
import os
import select
import signal
import statistics
import subprocess
import sys
import time

PEERS = {  # name: (what it is, program, environment)
    "limit": ("LIMIT: a Unix socket pair", "limit", {}),
    "tether": ("Tether", "tether", {}),
    "tether-spin": ("Tether, `spin` of 30 us", "tether", {"TETHER_BENCH_SPIN": "1"}),
    "asio": ("Asio, a thread and `std::future`", "asio", {}),
    "zeromq": ("ZeroMQ, PAIR over ipc", "zeromq", {}),
    "capnproto": ("Cap'n Proto, EzRpc", "capnproto", {}),
    "grpc": ("gRPC C++", "grpc", {}),
}
MEASUREMENTS = [["bench", "W1"], ["bench", "W2"], ["bench", "W3"], ["bench", "W4"], ["start"]]
COLUMNS = {  # what the programs print: (heading, factor, digits, whether more is better)
    "W1.p50_us": ("echo of 64 bytes, us", 1, 1, False),
    "W1.p99_us": ("99th percentile, us", 1, 1, False),
    "W2.msgs_s": ("64 in flight, thousand/s", 1e-3, 1, True),
    "W3.1MiB_MiBs": ("echo of 1 MiB, MiB/s", 1, 0, True),
    "W3.64MiB_MiBs": ("echo of 64 MiB, MiB/s", 1, 0, True),
    "W4.p50_us": ("typed call, us", 1, 1, False),
    "W5.start_ms": ("start to first answer, ms", 1, 2, False),
}
ENDS = {"idle": "parent killed, child idle: gone after, ms", "busy": "child busy, ms"}
PATIENCE = 3.0  # seconds after which a child that still runs counts as left behind


def note(text):
    print(text, file=sys.stderr, flush=True)


def start(command, environment, **pipes):
    return subprocess.Popen(command, env={**os.environ, **environment}, stdout=subprocess.PIPE, text=True, **pipes)


def measure(command, environment, results):
    """One measurement; what the program prints is added to the results."""
    process = start(command, environment, stdin=subprocess.DEVNULL)
    try:
        output, _ = process.communicate(timeout=60)
    except subprocess.TimeoutExpired:
        process.kill()
        output, _ = process.communicate()
    if process.returncode != 0:
        note(f"{' '.join(command)}: failed with {process.returncode}")
    for line in output.splitlines():
        name, value = line.split()
        results.setdefault(name, []).append(float(value))


def read_child(process):
    """The pidfd of the child that a holding parent names."""
    ready, _, _ = select.select([process.stdout], [], [], 20)
    words = process.stdout.readline().split() if ready else []
    return os.pidfd_open(int(words[1])) if words else None


def time_of_end(program, environment, state):
    """From the parent's SIGKILL until its child is gone, in milliseconds; None: left behind."""
    process = start([program, "hold"] + (["busy"] if state == "busy" else []), environment, stdin=subprocess.PIPE)
    child = read_child(process)
    begin = time.perf_counter()
    process.kill()
    process.wait()
    process.stdin.close()
    process.stdout.close()
    if child is None:
        raise RuntimeError(f"{program} hold: it did not name its child")
    gone, _, _ = select.select([child], [], [], PATIENCE)
    elapsed = (time.perf_counter() - begin) * 1000
    if not gone:
        signal.pidfd_send_signal(child, signal.SIGKILL)
    os.close(child)
    return elapsed if gone else None


def measure_ends(program, environment, rounds, results):
    for state in ENDS:
        times = results.setdefault(state, [])
        try:
            while len(times) < rounds and None not in times:  # left behind once is left behind
                times.append(time_of_end(program, environment, state))
        except RuntimeError as error:
            note(error)


def cell(key, results, limit):
    """The median, and how many times worse than LIMIT it is."""
    _, factor, digits, more_is_better = COLUMNS[key]
    if key not in results:
        return "-"
    value = statistics.median(results[key])
    text = f"{value * factor:.{digits}f}"
    if key not in limit:
        return text
    of_limit = statistics.median(limit[key])
    return f"{text} ({of_limit / value if more_is_better else value / of_limit:.1f}x)"


def end_cell(times):
    if None in times:
        return "never"
    return f"{statistics.median(times):.1f}" if times else "-"


def print_table(results):
    limit = results.get("limit", {})
    headings = [heading for heading, *_ in COLUMNS.values()] + list(ENDS.values())
    print("| | " + " | ".join(headings) + " |")
    print("|---|" + "---:|" * len(headings))
    for name, found in results.items():
        cells = [cell(key, found, limit) for key in COLUMNS] + [end_cell(found[state]) for state in ENDS]
        print(f"| {PEERS[name][0]} | " + " | ".join(cells) + " |")
    print(f"\nIn brackets: how many times worse than LIMIT. \"never\": still there after {PATIENCE:.0f} s.")


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--cores", type=int)
    parser.add_argument("--only", default=",".join(PEERS))
    parser.add_argument("--json")
    return parser.parse_args()


def main():
    options = parse_arguments()
    if options.cores:
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:options.cores])
    programs = {}
    for name, (_, program, environment) in PEERS.items():
        path = os.path.join(options.folder, "tether_peer_" + program)
        if name in options.only.split(",") and os.path.exists(path):
            programs[name] = (path, environment)
    results = {name: {} for name in programs}
    for number in range(options.rounds):
        for arguments in MEASUREMENTS:
            note(f"round {number + 1} of {options.rounds}: {' '.join(arguments)}")
            for name, (program, environment) in programs.items():
                measure([program, *arguments], environment, results[name])
    for name, (program, environment) in programs.items():
        note(f"the parent's end: {name}")
        measure_ends(program, environment, options.rounds, results[name])
    print_table(results)
    if options.json:
        with open(options.json, "w", encoding="utf-8") as file:
            json.dump(results, file, indent=2)


if __name__ == "__main__":
    main()
