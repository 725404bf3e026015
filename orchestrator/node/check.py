"""Measure what this node is like: any number of probes at once, each for itself.

A probe is a function that returns a JSON value. One that hangs, or fails, keeps none of the others back.
"""

from __future__ import annotations

import threading
import time
from importlib import import_module
from typing import Any, Callable, Dict

from .tasks import Tell, deadline, refusal

# name -> the function below probes/ that measures it, imported when it is asked for
PROBES = {
    "link": "link.link",
    "identity": "host.identity",
    "startup": "login.startup",
    "linger": "login.linger",
    "orphans": "orphans.orphans",
    "shm": "limits.shm",
    "limits": "limits.limits",
    "memory": "memory.memory",
    "disk": "storage.disk",
    "clock": "clock.clock",
    "interfaces": "interfaces.interfaces",
    "firewall": "firewall.firewall",
    "port_range": "firewall.port_range",
    "gpu": "gpu.gpu",
    "nvlink": "fabric.nvlink",
    "fabric": "fabric.fabric",
    "xid": "kernel_log.xids",
    "infiniband": "infiniband.infiniband",
    "memlock": "infiniband.memlock",
    "efa": "infiniband.efa",
    "software": "software.software",
    "start": "software.start",
    "variables": "variables.variables",
    "code": "code.code",
    "own_name": "names.own_name",
    "names": "names.resolve",
    "somaxconn": "ports.somaxconn",
}


def check(tell: Tell, limit: float, probes: Dict[str, Dict[str, Any]]) -> None:
    """Run `probes` (name -> arguments); tell {name: {"ok": value} or {"error": text}} of all.

    What a probe has not answered within `limit` seconds is an error. A probe may run commands, with a
    time-out of its own.
    """
    until = deadline(limit)
    answers: Dict[str, Dict[str, Any]] = {}
    functions: Dict[str, Callable[..., Any]] = {}
    # Before any thread: up to Python 3.9 one may get a module of a zip file that another still imports.
    for name in probes:
        try:
            module, _, function = PROBES[name].rpartition(".")
            functions[name] = getattr(import_module(".probes." + module, __package__), function)
        except Exception as error:  # whatever it is, the controller must hear of it
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
    tell({name: finished.get(name, late) for name in probes})
