"""Tasks: work that takes time, or listens, in a forked child beside the conversation.

A child that hangs (a dead file server, a driver) affects nothing else. It is killed, with all that it
started, when its time is over, when the controller sends `end`, and when the agent ends in any way.
"""

from __future__ import annotations

import errno
import json
import os
import signal
import time
from importlib import import_module
from types import GeneratorType
from typing import Any, Dict, List, Optional

from . import linux

_MARGIN = 0.5  # seconds of a limit that are left to send the answer
_MAX_ANSWER = 4 << 20  # bytes; `remote/agent.py` accepts no longer line

# verb -> its function, imported in the child only: `function(limit, **arguments)` returns the answer, a
# JSON value; a generator yields it and continues.
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


def deadline(limit: float) -> float:
    """Return when (on the monotonic clock) a task that has `limit` seconds must have its answer."""
    return time.monotonic() + max(limit - _MARGIN, limit / 2)


def refusal(error: Exception) -> Dict[str, Any]:
    """Return the answer for an error: {"error": text}, and "errno" if it has one."""
    if not isinstance(error, OSError):
        return {"error": "{}: {}".format(type(error).__name__, error)}
    path = "" if error.filename is None else os.fsdecode(error.filename) + ": "
    return {"error": "{}{}".format(path, error.strerror or error), "errno": error.errno}


class Task:
    """One child that works on `verb`, for at most `limit` seconds."""

    def __init__(self, verb: str, limit: float, **arguments: Any) -> None:
        self._verb, self._limit = verb, limit
        self._deadline = time.monotonic() + limit
        self._buffer = b""
        self._answered = False
        self._pause = 0.001
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
        self._descriptor: Optional[int] = reading

    def descriptors(self) -> List[int]:
        """Return the descriptors to wait for."""
        return [] if self._descriptor is None else [self._descriptor]

    def wait(self) -> float:
        """Return how many seconds may pass before the next `step`."""
        if self._descriptor is None:
            # It has closed its pipe, and is about to end unless it hangs.
            self._pause = min(0.2, self._pause * 2)
            return self._pause
        return max(0.0, self._deadline - time.monotonic())

    def step(self) -> Optional[Dict[str, Any]]:
        """Return the answer if it has just arrived, or an error if there will be none."""
        answer = self._read()
        if self._descriptor is None:
            # Without blocking: a child that hangs in the kernel would make the agent hang too.
            self.ended = os.waitpid(self._pid, os.WNOHANG)[0] != 0
            if self.ended:
                return answer or self._refuse("it ended without an answer")
        elif time.monotonic() >= self._deadline:
            answer = answer or self._refuse("no answer within {:g} s".format(self._limit))
            self.end()
        return answer

    def end(self) -> None:
        """Kill it, and all that it started; `ended` is true after the `step` that finds it gone."""
        if self.ended:
            return
        self._answered = True  # no answer is wanted any more
        try:
            os.killpg(self._pid, signal.SIGKILL)
        except ProcessLookupError:
            os.kill(self._pid, signal.SIGKILL)  # it has no group of its own yet
        self._close()

    def _read(self) -> Optional[Dict[str, Any]]:
        if self._descriptor is None:
            return None
        try:
            data = os.read(self._descriptor, 1 << 16)
        except BlockingIOError:
            return None
        if not data:
            self._close()
            return None
        self._buffer += data
        if b"\n" not in data or self._answered:
            return None
        self._answered = True
        answer: Dict[str, Any] = json.loads(self._buffer)
        return answer

    def _close(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

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
        _detach_from_conversation()
        try:
            module, _, function = TASKS[verb].rpartition(".")
            answer = getattr(import_module("." + module, __package__), function)(limit, **arguments)
            for value in answer if isinstance(answer, GeneratorType) else [answer]:
                _write(descriptor, {"ok": value})
        except Exception as error:  # any error must be reported to the controller
            _write(descriptor, refusal(error))
    finally:
        os._exit(0)


def _detach_from_conversation() -> None:
    """Replace the agent's stdin and stdout by /dev/null: a probe may print."""
    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, 0)
    os.dup2(null, 1)
    os.close(null)


def _write(descriptor: int, value: Dict[str, Any]) -> None:
    data = json.dumps(value).encode("ascii")
    if len(data) > _MAX_ANSWER:
        data = json.dumps({"error": "the answer is too long"}).encode("ascii")
    rest = memoryview(data + b"\n")
    while rest:
        rest = rest[os.write(descriptor, rest) :]
