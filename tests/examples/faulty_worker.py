"""A worker whose handlers fail in the ways that Python makes easy."""

import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../../examples/python_worker"))
import tether_worker


def fail(request, call):
    try:
        raise ValueError(request["what"])
    except ValueError as cause:
        raise tether_worker.HandlerError("outer", "could not") from cause


def return_nonsense(request, call):
    return {1, 2}


def nothing(request, call):
    pass


handlers = {"raise": fail, "return_nonsense": return_nonsense, "nothing": nothing}
tether_worker.serve("test.faulty", 1, handlers)
