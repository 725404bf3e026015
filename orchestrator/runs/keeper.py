"""Have a run minded in the background: by a keeper, which is orch itself without a console.

The keeper is a process of its own session on this machine (`orch keep RUN`). It takes the run's lock,
connects to the nodes anew and goes on from the run's folder; what it would say of itself is in
`controller.log` there.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from pathlib import Path

from orchestrator.errors import LaunchError
from orchestrator.runs.folder import CONTROLLER_LOG
from orchestrator.runs.lock import Controller, find_controller

_BEGIN_TIME = (
    30.0  # seconds that a keeper has to take the lock: it imports, it connects to nobody yet
)
_LOOK_EVERY = 0.02


async def have_kept(folder: Path) -> Controller | None:
    """Return who minds the run in `folder`, having started a keeper when nobody did.

    None when there was nothing left to mind for it. Raises LaunchError when it cannot begin.
    """
    controller = find_controller(folder)
    if controller is not None:
        return controller
    try:
        keeper = _spawn(folder)
    except OSError as error:
        raise LaunchError(
            f"nobody minds run {folder.name}: its keeper cannot be started: {error}",
            remedy=f"it goes on on its nodes; orch attach {folder.name} tries again",
        ) from None
    deadline = time.monotonic() + _BEGIN_TIME
    while time.monotonic() < deadline:
        controller = find_controller(folder)
        if controller is not None:
            keeper.returncode = 0  # it is on its own from here
            return controller
        code = keeper.poll()
        if code == 0:
            return None
        if code is not None:
            break
        await asyncio.sleep(_LOOK_EVERY)
    raise LaunchError(
        f"nobody minds run {folder.name}: its keeper does not begin",
        remedy=f"it goes on on its nodes; {folder / CONTROLLER_LOG} says why",
    )


def _spawn(folder: Path) -> subprocess.Popen[bytes]:
    log = _open_log(folder / CONTROLLER_LOG)
    try:
        return subprocess.Popen(
            # -P: a folder of that name where a person stands is not meant.
            [sys.executable, "-P", "-m", "orchestrator", "keep", folder.name],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd="/",
            start_new_session=True,
        )
    finally:
        os.close(log)


def _open_log(path: Path) -> int:
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
    try:
        return os.open(path, flags, 0o600)
    except OSError:  # a full disk keeps nobody from minding a run
        return os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC)
