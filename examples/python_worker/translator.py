#!/usr/bin/env python3
"""Serves translate_protocol.hpp: a stream, progress, questions, notifications."""

import tether_worker
from tether_worker import ITEMS, PROGRESS, UPLOAD

meanings = {}


def translate(request, call):
    count = 0
    for word in call.items():
        if word not in meanings:
            meanings[word] = call.ask("meaning", {"word": word})
            call.notify("learned", {"word": word, "meaning": meanings[word]})
        call.send(meanings[word])
        count += 1
        call.progress(count)
    return count


def forget(request, call):
    del meanings[request["word"]]


tether_worker.serve(
    "example.translate",
    1,
    {"translate": translate, "forget": forget},
    kinds={"translate": PROGRESS | ITEMS | UPLOAD},
    callbacks=["meaning"],
    notifications=["learned"],
)
