"""The background controller of a run: orch itself, without a console.

It is a process in a session of its own on this machine (`orch control RUN`). It takes the run's lock,
connects to the nodes anew and goes on from the run's folder; what it would say of itself is in
`controller.log` there.
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

_BEGIN_TIME = 30.0  # seconds that it has to take the lock: it imports, and connects to no node yet
_STARTING_TIME = _BEGIN_TIME + 5.0  # seconds for which one that somebody else starts is waited for
_LOOK_EVERY = 0.02

_SIGNATURES = "ORCH_SIGNATURES"  # diagnose.site_signatures.VARIABLE, which takes a moment to import

log = logger("run")

HandOver = Callable[[LaunchSpec | None], Awaitable[Controller | None]]


async def ensure_controller(folder: Path) -> Controller | None:
    """Return the controller of the run in `folder`, having started one when there was none.

    Of several that do this at once, one starts it. None when there was nothing left to do for it. Raises
    LaunchError when it cannot begin.
    """
    controller = find_controller(folder)
    if controller is not None:
        return controller
    async with starting(folder, _STARTING_TIME):
        controller = find_controller(folder)  # of who had started one while we waited
        if controller is not None:
            return controller
        saved = load_run(folder)
        if saved is not None and saved.has_ended and not saved.missing:
            return None
        return await _begin(folder, None)


@asynccontextmanager
async def handing_over(folder: Path) -> AsyncIterator[HandOver]:
    """Let the run go in this context, and call what it gives: meanwhile nobody else has it kept."""
    async with starting(folder, _STARTING_TIME):
        yield partial(_begin, folder)


async def _begin(folder: Path, spec: LaunchSpec | None) -> Controller | None:
    """Start a controller, and return it once it has the lock; None when there was nothing left to do.

    It gets `spec`, with the values of secrets that are on no disk; None: it makes do with the record's.
    """
    try:
        keeper = _spawn(folder, with_spec=spec is not None)
    except OSError as error:
        attach = line_to_paste(["orch", "attach", folder.name])
        raise LaunchError(
            f"run {folder.name} has no controller: its keeper cannot be started: {error}",
            remedy=f"it goes on on its nodes; {attach} tries again",
        ) from None
    log.info("run %s: background controller started, process %d", folder.name, keeper.pid)
    if keeper.stdin is not None and spec is not None:
        await asyncio.to_thread(_hand_over, keeper.stdin, spec)
    deadline = time.monotonic() + _BEGIN_TIME
    while time.monotonic() < deadline:
        controller = find_controller(folder)
        if controller is not None:
            keeper.returncode = 0  # it is on its own from here
            return controller
        code = keeper.poll()
        if code == 0:  # it was done in no time, or another one was faster
            return find_controller(folder)
        if code is not None:
            break
        await asyncio.sleep(_LOOK_EVERY)
    raise LaunchError(
        f"run {folder.name} has no controller: its keeper does not begin",
        remedy=f"it goes on on its nodes; {folder / CONTROLLER_LOG} says why",
    )


async def ensure_watched(folder: Path) -> events.Warned | None:
    """Give the run a controller if it has none, and return what its viewer is told of that.

    None when there was no need, or nothing left to do. Raises LaunchError as `ensure_controller` does.
    """
    if find_controller(folder) is not None or await ensure_controller(folder) is None:
        return None
    return events.Warned(
        f"run {folder.name} had no controller; it has one again, in the background"
    )


def _spawn(folder: Path, *, with_spec: bool) -> subprocess.Popen[bytes]:
    log = _open_log(folder / CONTROLLER_LOG)
    try:
        with suppress(OSError):  # a full disk
            os.write(log, f"{_now()} process {os.getpid()} starts a controller\n".encode())
        return subprocess.Popen(
            # -P: a folder of that name where a person stands is not meant.
            [
                *(sys.executable, "-P", "-m", "orchestrator", "control"),
                *(["--spec-on-stdin"] if with_spec else []),
                folder.name,
            ],
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
    """Return ours, in which files that are named from the folder we are in are named from `/`."""
    named = os.environ.get(_SIGNATURES, "")
    try:
        paths = [str(Path(each).absolute()) for each in named.split(os.pathsep) if each]
    except FileNotFoundError:  # the folder we are in is gone
        paths = []
    return {**os.environ, _SIGNATURES: os.pathsep.join(paths)} if paths else dict(os.environ)


def _now() -> str:
    return datetime.now().astimezone().isoformat(timespec="seconds")


def _hand_over(pipe: IO[bytes], spec: LaunchSpec) -> None:
    """Write the launch spec, secrets and all, to where only the controller reads it."""
    with suppress(BrokenPipeError), pipe:  # one that has ended is told from its exit code
        pipe.write(json.dumps(encode(spec)).encode())


def read_launch_spec(pipe: IO[bytes]) -> LaunchSpec | None:
    """Return the launch spec that `ensure_controller` gave us, None where it gave none.

    Raises ValueError when it is something else.
    """
    said = pipe.read()
    spec: LaunchSpec | None = decode(LaunchSpec, json.loads(said)) if said else None
    return spec


def _open_log(path: Path) -> int:
    try:
        return open_file(str(path), os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    except OSError:  # a full disk keeps nobody from minding a run
        return os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC)
