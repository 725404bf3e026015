"""Do beside the conversation what takes time, or listens: a forked child that hands back one JSON value.

A child that hangs (a dead file server, a driver) takes nothing but itself. It is killed, with all that it
started, when its time is over, when the controller says `end`, and when the agent ends, however that ends.
"""

from __future__ import annotations

import errno
import json
import os
import signal
import time
from importlib import import_module
from typing import Any, Callable, Dict, Optional

from . import linux

Tell = Callable[[Any], None]
"""Hands back the answer; a task that listens goes on after that."""

_MARGIN = 0.5  # seconds of a limit that are left for handing back what there is

# verb -> the function that does it, `function(tell, limit, **arguments)`, imported in the child only
TASKS = {
    "changed": "changed.changed",
    "check": "check.check",
    "evidence": "evidence.evidence",
    "forget": "forget.forget",
    "gpus": "gpus.gpus",
    "listen": "listen.listen",
    "path": "path.path",
    "probe": "probe.probe",
    "stacks": "stacks.stacks",
    "stream": "stream.stream",
    "usage": "forget.usage",
    "written": "changed.written",
}

_LONGEST = 4 << 20  # bytes of an answer; `remote/agent.py` takes no longer line


def deadline(limit: float) -> float:
    """Return when (on the monotonic clock) a task that has `limit` seconds must have something to tell."""
    return time.monotonic() + max(limit - _MARGIN, limit / 2)


def refusal(error: Exception) -> Dict[str, Any]:
    """Return what the controller is told of an error: {"error": text}, and "errno" where it has one."""
    if not isinstance(error, OSError):
        return {"error": "{}: {}".format(type(error).__name__, error)}
    path = "" if error.filename is None else os.fsdecode(error.filename) + ": "
    return {"error": "{}{}".format(path, error.strerror or error), "errno": error.errno}


class Task:
    """One child at work on `verb`; it has `limit` seconds."""

    def __init__(self, verb: str, limit: float, **arguments: Any) -> None:
        self._verb, self._limit = verb, limit
        self._deadline = time.monotonic() + limit
        self._buffer = b""
        self._answered = False
        self._patience = 0.001
        self.ended = False
        reading, writing = os.pipe()
        parent = os.getpid()
        pid = os.fork()
        if pid == 0:
            os.close(reading)
            _work(parent, writing, verb, limit, arguments)
        os.close(writing)
        os.set_blocking(reading, False)
        self._pid = pid
        self.descriptor: Optional[int] = reading

    def wait(self) -> float:
        """Return how many seconds may pass before the next `step`."""
        if self.descriptor is None:
            # It has closed its pipe, and is about to end, if nothing hangs.
            self._patience = min(0.2, self._patience * 2)
            return self._patience
        return max(0.0, self._deadline - time.monotonic())

    def step(self) -> Optional[Dict[str, Any]]:
        """Return the answer if it has just come, or why there will be none."""
        answer = self._read()
        if self.descriptor is None:
            # Not waited for: one that hangs in the kernel would make the agent hang too.
            self.ended = os.waitpid(self._pid, os.WNOHANG)[0] != 0
            if self.ended:
                return answer or self._refuse("it ended without an answer")
        elif time.monotonic() >= self._deadline:
            answer = answer or self._refuse("no answer within {:g} s".format(self._limit))
            self.end()
        return answer

    def end(self) -> None:
        """Kill it, and all that it started; `step` says when it is gone."""
        if self.ended:
            return
        self._answered = True  # nobody asks any more
        try:
            os.killpg(self._pid, signal.SIGKILL)
        except ProcessLookupError:
            os.kill(self._pid, signal.SIGKILL)  # it has not come to its own group yet
        if self.descriptor is not None:
            os.close(self.descriptor)
            self.descriptor = None

    def _read(self) -> Optional[Dict[str, Any]]:
        if self.descriptor is None:
            return None
        try:
            data = os.read(self.descriptor, 1 << 16)
        except BlockingIOError:
            return None
        if not data:
            os.close(self.descriptor)
            self.descriptor = None
            return None
        self._buffer += data
        if b"\n" not in data or self._answered:
            return None
        self._answered = True
        answer: Dict[str, Any] = json.loads(self._buffer)
        return answer

    def _refuse(self, why: str) -> Optional[Dict[str, Any]]:
        if self._answered:
            return None
        self._answered = True
        return {"error": "{}: {}".format(self._verb, why), "errno": errno.ETIMEDOUT}


def _work(parent: int, descriptor: int, verb: str, limit: float, arguments: Dict[str, Any]) -> None:
    """Be the child: do the work, answer, and never return."""
    try:
        os.setpgid(0, 0)
        linux.end_with(parent)
        _leave_the_conversation()

        def tell(value: Any) -> None:
            _write(descriptor, {"ok": value})

        try:
            module, _, function = TASKS[verb].rpartition(".")
            getattr(import_module("." + module, __package__), function)(tell, limit, **arguments)
        except Exception as error:  # whatever it is, the controller must hear of it
            _write(descriptor, refusal(error))
    finally:
        os._exit(0)


def _leave_the_conversation() -> None:
    """Have no part in the agent's stdin and stdout: what a probe prints is no answer."""
    nothing = os.open(os.devnull, os.O_RDWR)
    os.dup2(nothing, 0)
    os.dup2(nothing, 1)
    os.close(nothing)


def _write(descriptor: int, value: Dict[str, Any]) -> None:
    data = json.dumps(value).encode("ascii")
    if len(data) > _LONGEST:
        data = json.dumps({"error": "the answer is too long"}).encode("ascii")
    rest = memoryview(data + b"\n")
    while rest:
        rest = rest[os.write(descriptor, rest) :]
