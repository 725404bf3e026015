"""The background controller of a run: orch itself, without a terminal.

It is a process in its own session on this machine (`orch control RUN`). It takes the lock of the run,
connects to the nodes and continues from the run's folder; its messages go to `controller.log` there.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import IO

from orchestrator import events
from orchestrator.errors import LaunchError
from orchestrator.node.trust import open_file
from orchestrator.runs.codec import decode, encode
from orchestrator.runs.folder import CONTROLLER_LOG
from orchestrator.runs.launch_spec import LaunchSpec
from orchestrator.runs.lock import Controller, find_controller, starting
from orchestrator.runs.saved_run import load_run
from orchestrator.util.log import logger
from orchestrator.util.quoting import line_to_paste

_START_TIMEOUT = 30.0  # seconds to take the lock, which needs imports but no connection to a node
_WAIT_TIMEOUT = _START_TIMEOUT + 5.0  # seconds to wait for one that another process starts
_POLL_INTERVAL = 0.02

_SIGNATURES = "ORCH_SIGNATURES"  # diagnose.site_signatures.VARIABLE, which is slow to import

log = logger("run")

HandOver = Callable[[LaunchSpec | None], Awaitable[Controller | None]]


async def ensure_controller(folder: Path) -> Controller | None:
    """Return the controller of the run in `folder`; start one if there is none.

    If several processes do this at once, one of them starts it. None if the run has ended and is complete.
    Raises LaunchError if it does not start.
    """
    controller = find_controller(folder)
    if controller is not None:
        return controller
    async with starting(folder, _WAIT_TIMEOUT):
        controller = find_controller(folder)  # another process may have started one
        if controller is not None:
            return controller
        saved = load_run(folder)
        if saved is not None and saved.has_ended and not saved.missing:
            return None
        return await _start(folder, None)


async def ensure_watched(folder: Path) -> events.Warned | None:
    """Like `ensure_controller`, but return the warning for the user if one was started."""
    if find_controller(folder) is not None or await ensure_controller(folder) is None:
        return None
    return events.Warned(
        f"run {folder.name} had no controller; it has one again, in the background"
    )


@asynccontextmanager
async def handing_over(folder: Path) -> AsyncIterator[HandOver]:
    """Prevent other processes from starting a controller in this context; call the result to start one."""
    async with starting(folder, _WAIT_TIMEOUT):
        yield partial(_start, folder)


async def _start(folder: Path, spec: LaunchSpec | None) -> Controller | None:
    """Start a controller, and return it once it has the lock; None if there is nothing left to do.

    It gets `spec` with the secrets that are not stored on disk; None: it uses the recorded one.
    """
    try:
        process = _spawn(folder, with_spec=spec is not None)
    except OSError as error:
        attach = line_to_paste(["orch", "attach", folder.name])
        raise LaunchError(
            f"the background controller of run {folder.name} cannot be started: {error}",
            remedy=f"the job keeps running on its nodes; try again: {attach}",
        ) from None
    log.info("run %s: background controller started, process %d", folder.name, process.pid)
    if process.stdin is not None and spec is not None:
        await asyncio.to_thread(_write_spec, process.stdin, spec)
    deadline = time.monotonic() + _START_TIMEOUT
    while time.monotonic() < deadline:
        controller = find_controller(folder)
        # With another PID, the lock has that of its last holder still, or the process will exit.
        if controller is not None and controller.pid in (process.pid, 0):
            process.returncode = 0  # it outlives this process
            return controller
        code = process.poll()
        if code == 0:  # it has finished already, or another one was faster
            return find_controller(folder)
        if code is not None:
            break
        await asyncio.sleep(_POLL_INTERVAL)
    raise LaunchError(
        f"the background controller of run {folder.name} did not start",
        remedy=f"the job keeps running on its nodes; {folder / CONTROLLER_LOG} has the reason",
    )


def _spawn(folder: Path, *, with_spec: bool) -> subprocess.Popen[bytes]:
    try:
        log = open_file(str(folder / CONTROLLER_LOG), os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    except OSError:  # a full disk must not prevent it
        log = os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC)
    now = datetime.now().astimezone().isoformat(timespec="seconds")
    # -P: ignore a package of that name in the current folder.
    command = [sys.executable, "-P", "-m", "orchestrator", "control"]
    try:
        with suppress(OSError):  # a full disk
            os.write(log, f"{now} process {os.getpid()} starts a controller\n".encode())
        return subprocess.Popen(
            [*command, *(["--spec-on-stdin"] if with_spec else []), folder.name],
            stdin=subprocess.PIPE if with_spec else subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd="/",
            env=_environment(),
            start_new_session=True,
        )
    finally:
        os.close(log)


def _environment() -> dict[str, str]:
    """Return the environment with absolute paths of signature files, since the controller works in `/`."""
    named = os.environ.get(_SIGNATURES, "")
    try:
        paths = [str(Path(each).absolute()) for each in named.split(os.pathsep) if each]
    except FileNotFoundError:  # the current folder was removed
        paths = []
    return {**os.environ, _SIGNATURES: os.pathsep.join(paths)} if paths else dict(os.environ)


def _write_spec(pipe: IO[bytes], spec: LaunchSpec) -> None:
    """Write the launch spec with its secrets to the pipe that only the controller reads."""
    with suppress(BrokenPipeError), pipe:  # the controller's exit code reports it
        pipe.write(json.dumps(encode(spec)).encode())


def read_launch_spec(pipe: IO[bytes]) -> LaunchSpec | None:
    """Return the launch spec that another process wrote, None if it wrote none. Raises ValueError."""
    data = pipe.read()
    spec: LaunchSpec | None = decode(LaunchSpec, json.loads(data)) if data else None
    return spec
