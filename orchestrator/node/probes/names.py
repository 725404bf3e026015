"""What this node resolves names to: its own, and those of the other nodes."""

from __future__ import annotations

import collections
import socket
import threading
import time
from typing import Any, Callable, Dict, List, Optional

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
    waiting = collections.deque(dict.fromkeys(names))
    answers: Dict[str, Dict[str, Any]] = {}

    def work() -> None:
        while True:
            try:
                name = waiting.popleft()
            except IndexError:
                return
            answers[name] = _look_up(name, look_up or _addresses)

    # A resolver cannot be interrupted: threads that are not done in time are left behind.
    threads = [
        threading.Thread(target=work, daemon=True) for _ in range(min(len(waiting), _MAX_THREADS))
    ]
    deadline = time.monotonic() + seconds
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(max(0.0, deadline - time.monotonic()))
    late = {"addresses": [], "error": "no answer within {:g} s".format(seconds)}
    finished = dict(answers)
    return {name: finished.get(name, late) for name in dict.fromkeys(names)}


def _look_up(name: str, look_up: Resolve) -> Dict[str, Any]:
    try:
        return {"addresses": look_up(name)[:_MAX_ADDRESSES], "error": None}
    except socket.gaierror as error:
        return {"addresses": [], "error": str(error.strerror)}
    except (OSError, UnicodeError) as error:  # not a valid name
        return {"addresses": [], "error": str(error)}


def _addresses(name: str) -> List[str]:
    return list(dict.fromkeys(str(entry[4][0]) for entry in socket.getaddrinfo(name, None)))
