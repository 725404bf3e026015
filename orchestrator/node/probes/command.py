"""Run a command that may be missing, may hang, and may print too much."""

from __future__ import annotations

import os
import selectors
import shutil
import subprocess
import time
from typing import Dict, List, NamedTuple, Optional

# Folders that are not in every login's PATH.
_EXTRA_PATH = ("/usr/local/sbin", "/usr/sbin", "/sbin", "/usr/bin", "/bin")
_MAX_OUTPUT = 16 << 20  # bytes
_KILL_TIMEOUT = 0.5  # seconds


class Done(NamedTuple):
    """How a command ended; `code` is None if it had not ended in time and was killed."""

    code: Optional[int]
    out: str
    err: str

    @property
    def why(self) -> str:
        """The first line of its error message, at most 200 characters."""
        lines = (self.err.strip() or self.out.strip()).split("\n")
        return lines[0].strip()[:200] or "exit code {}".format(self.code)


def find(name: str) -> Optional[str]:
    """Return the path of the command `name`, in PATH or in the folders of administrators' commands."""
    folders = [*os.environ.get("PATH", os.defpath).split(os.pathsep), *_EXTRA_PATH]
    return shutil.which(name, path=os.pathsep.join(filter(os.path.isabs, folders)))


def left(until: float) -> float:
    """Return how many seconds are left until this time of the monotonic clock, never below 0."""
    return max(0.0, until - time.monotonic())


def run(
    argv: List[str],
    seconds: float,
    environment: Optional[Dict[str, str]] = None,
    folder: Optional[str] = None,
) -> Done:
    """Run `argv`, which begins with a path, for `seconds` at most; its output is cut at 16 MiB.

    It runs in `folder` and in `environment`, by default those of this process. One that hangs in the kernel
    cannot be killed: it is left behind, not waited for. Raises OSError if it cannot be started.
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
    output = {process.stdout: bytearray(), process.stderr: bytearray()}
    with selectors.DefaultSelector() as selector:
        for pipe, held in output.items():
            selector.register(pipe, selectors.EVENT_READ, held)
        while selector.get_map() and time.monotonic() < deadline:
            for key, _ in selector.select(left(deadline)):
                data = os.read(key.fd, 1 << 16)
                key.data.extend(data[: max(0, _MAX_OUTPUT - len(key.data))])
                if not data:
                    selector.unregister(key.fileobj)
    code = _end(process, left(deadline))
    out, err = (bytes(held).decode("utf-8", "replace") for held in output.values())
    for pipe in output:
        pipe.close()
    return Done(code, out, err)


def run_found(name: str, *options: str, seconds: float) -> Optional[Done]:
    """Find the command `name` and run it as `run` does; return None if there is no such command."""
    path = find(name)
    return None if path is None else run([path, *options], seconds)


def _end(process: subprocess.Popen[bytes], seconds: float) -> Optional[int]:
    """Return its exit code; None if it must be killed, which is waited for briefly."""
    try:
        return process.wait(seconds)
    except subprocess.TimeoutExpired:
        process.kill()
    try:
        process.wait(_KILL_TIMEOUT)
    except subprocess.TimeoutExpired:
        process.returncode = -9  # else Popen warns that it still runs
    return None
