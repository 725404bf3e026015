"""What this node resolves names to: its own, and those of the other nodes."""

from __future__ import annotations

import queue
import socket
import threading
import time
from typing import Any, Callable, Dict, List, Optional, Tuple

_TIMEOUT = 6.0  # seconds: a resolver needs 5 s for each of its servers that is down
_MAX_THREADS = 16
_MAX_ADDRESSES = 16  # of one name

Resolve = Callable[[str], List[str]]


def own_name(seconds: float = 2.0) -> Dict[str, Any]:
    """Return {"hostname", "addresses": [...], "error": null or why it has none}."""
    name = socket.gethostname()
    return dict(resolve([name], seconds)[name], hostname=name)


def resolve(
    names: List[str], seconds: float = _TIMEOUT, look_up: Optional[Resolve] = None
) -> Dict[str, Dict[str, Any]]:
    """Return {name: {"addresses": [...], "error": null or why there is none}} within `seconds`.

    The addresses are in the resolver's order.
    """
    waiting: "queue.Queue[str]" = queue.Queue()
    for name in dict.fromkeys(names):
        waiting.put(name)
    found: "queue.Queue[Tuple[str, Dict[str, Any]]]" = queue.Queue()

    def work() -> None:
        while True:
            try:
                name = waiting.get_nowait()
            except queue.Empty:
                return
            found.put((name, _look_up(name, look_up or _addresses)))

    # A resolver cannot be interrupted: threads that are not done in time are left behind.
    wanted = waiting.qsize()
    for _ in range(min(wanted, _MAX_THREADS)):
        threading.Thread(target=work, daemon=True).start()
    deadline = time.monotonic() + seconds
    answers: Dict[str, Dict[str, Any]] = {}
    while len(answers) < wanted:
        try:
            name, answer = found.get(timeout=max(0.0, deadline - time.monotonic()))
        except queue.Empty:
            break
        answers[name] = answer
    late = {"addresses": [], "error": "no answer within {:g} s".format(seconds)}
    return {name: answers.get(name, late) for name in dict.fromkeys(names)}


def _look_up(name: str, look_up: Resolve) -> Dict[str, Any]:
    try:
        return {"addresses": look_up(name)[:_MAX_ADDRESSES], "error": None}
    except socket.gaierror as error:
        return {"addresses": [], "error": str(error.strerror)}
    except (OSError, UnicodeError) as error:  # not a valid name
        return {"addresses": [], "error": str(error)}


def _addresses(name: str) -> List[str]:
    return list(dict.fromkeys(str(entry[4][0]) for entry in socket.getaddrinfo(name, None)))
