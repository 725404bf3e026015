"""Run any number of probes on this node at once, independently of each other.

A probe is a function that returns a JSON value. One that hangs or fails does not affect the others.
"""

from __future__ import annotations

import re
import threading
import time
from importlib import import_module
from typing import Any, Callable, Dict

from .tasks import deadline, refusal

# `gpu` is the function of that name in probes/gpu.py, `limits.shm` is `shm` in probes/limits.py.
_NAME = re.compile(r"([a-z_]+)(?:\.([a-z_]+))?$")


def check(limit: float, probes: Dict[str, Dict[str, Any]]) -> Dict[str, Any]:
    """Run `probes` (name -> arguments); return {name: {"ok": value} or {"error": text}} of all.

    A probe that has not answered within `limit` seconds is an error. A probe may run commands, with a
    timeout of its own.
    """
    until = deadline(limit)
    answers: Dict[str, Dict[str, Any]] = {}
    functions: Dict[str, Callable[..., Any]] = {}
    # Before any thread: up to Python 3.9 one may see a module of a zip file that another is importing.
    for name in probes:
        try:
            functions[name] = find_probe(name)
        except Exception as error:  # any error must be reported to the controller
            answers[name] = refusal(error)

    def measure(name: str) -> None:
        try:
            answers[name] = {"ok": functions[name](**probes[name])}
        except Exception as error:  # as above
            answers[name] = refusal(error)

    threads = [threading.Thread(target=measure, args=(name,), daemon=True) for name in functions]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(max(0.0, until - time.monotonic()))
    late = {"error": "no answer within {:g} s".format(limit)}
    finished = dict(answers)
    return {name: finished.get(name, late) for name in probes}


def find_probe(name: str) -> Callable[..., Any]:
    """Return the probe of this name. Raises ValueError for an invalid name, and what importing raises."""
    found = _NAME.match(name)
    if found is None:
        raise ValueError("{!r:.100} is not the name of a probe".format(name))
    module = import_module(".probes." + found.group(1), __package__)
    function: Callable[..., Any] = getattr(module, found.group(2) or found.group(1))
    return function
