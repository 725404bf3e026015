"""Run a command that may be missing, may hang, and may say too much."""

from __future__ import annotations

import os
import selectors
import subprocess
import time
from typing import Dict, List, NamedTuple, Optional

_MORE = ("/usr/local/sbin", "/usr/sbin", "/sbin", "/usr/bin", "/bin")  # not in every login's PATH
_MOST = 16 << 20  # bytes of its output


class Done(NamedTuple):
    """How a command ended; `code` is None when it had not ended in time and was killed."""

    code: Optional[int]
    out: str
    err: str

    @property
    def why(self) -> str:
        """The first line that tells why it failed, at most 200 characters."""
        lines = (self.err.strip() or self.out.strip()).split("\n")
        return lines[0].strip()[:200] or "exit code {}".format(self.code)


def find(name: str) -> Optional[str]:
    """Return where the command `name` is, in PATH or where administrators' commands are."""
    folders = os.environ.get("PATH", os.defpath).split(os.pathsep)
    for folder in [*folders, *_MORE]:
        path = os.path.join(folder, name)
        if os.path.isabs(folder) and os.path.isfile(path) and os.access(path, os.X_OK):
            return path
    return None


def left(until: float) -> float:
    """Return how many seconds are left until this moment of the monotonic clock, never below 0."""
    return max(0.0, until - time.monotonic())


def run(
    argv: List[str],
    seconds: float,
    environment: Optional[Dict[str, str]] = None,
    folder: Optional[str] = None,
) -> Done:
    """Run `argv`, whose first is a path, for `seconds` at most; its output is cut at 16 MiB.

    It runs in `folder` and in `environment`, else in those of this process. One that hangs in the
    kernel cannot be killed: it is left behind, not waited for. Raises OSError when it cannot be started.
    """
    deadline = time.monotonic() + seconds
    process = subprocess.Popen(
        argv,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=dict(os.environ if environment is None else environment, LC_ALL="C"),
        cwd=folder,
    )
    assert process.stdout is not None and process.stderr is not None
    held = {process.stdout: bytearray(), process.stderr: bytearray()}
    with selectors.DefaultSelector() as selector:
        for pipe in held:
            selector.register(pipe, selectors.EVENT_READ)
        while selector.get_map() and time.monotonic() < deadline:
            for key, _ in selector.select(max(0.0, deadline - time.monotonic())):
                data = os.read(key.fd, 1 << 16)
                pipe = process.stdout if key.fileobj is process.stdout else process.stderr
                held[pipe] += data[: max(0, _MOST - len(held[pipe]))]
                if not data:
                    selector.unregister(key.fileobj)
    code = _end(process, max(0.0, deadline - time.monotonic()))
    out, err = (bytes(data).decode("utf-8", "replace") for data in held.values())
    for pipe in held:
        pipe.close()
    return Done(code, out, err)


def _end(process: subprocess.Popen[bytes], seconds: float) -> Optional[int]:
    """Return its exit code; None when it must be killed, which is waited for briefly."""
    try:
        return process.wait(seconds)
    except subprocess.TimeoutExpired:
        process.kill()
    try:
        process.wait(0.5)
    except subprocess.TimeoutExpired:
        process.returncode = -9  # Popen would complain of what still runs
    return None
