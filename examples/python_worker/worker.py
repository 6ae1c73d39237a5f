#!/usr/bin/env python3
"""Serves greet_protocol.hpp. All of the wire is in tether_worker.py."""

import time

import tether_worker


def greet(request, call):
    call.log("greeting " + request["whom"][:40])
    if not request["whom"]:
        raise tether_worker.HandlerError("no_name", "whom shall I greet?")
    return "Hello, " + request["whom"] + "!"


def spell(request, call):
    letters = []
    for letter in request["word"]:
        if call.stop_requested():
            break
        letters.append(letter)
        time.sleep(request["pause_ms"] / 1000)
    return letters


tether_worker.serve("example.greet", 1, {"greet": greet, "spell": spell})
