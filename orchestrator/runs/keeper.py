"""Have a run minded in the background: by a keeper, which is orch itself without a console.

The keeper is a process of its own session on this machine (`orch keep RUN`). It takes the run's lock,
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
from contextlib import suppress
from pathlib import Path
from typing import IO

from orchestrator import events
from orchestrator.errors import LaunchError
from orchestrator.runs.folder import CONTROLLER_LOG
from orchestrator.runs.lock import Controller, find_controller
from orchestrator.runs.recipe import Recipe

_BEGIN_TIME = (
    30.0  # seconds that a keeper has to take the lock: it imports, it connects to nobody yet
)
_LOOK_EVERY = 0.02


async def have_kept(folder: Path, recipe: Recipe | None = None) -> Controller | None:
    """Return who minds the run in `folder`, having started a keeper when nobody did.

    It gets `recipe`, with the values of secrets that are on no disk; None: it makes do with the record's.
    None when there was nothing left to mind for it. Raises LaunchError when it cannot begin.
    """
    controller = find_controller(folder)
    if controller is not None:
        return controller
    try:
        keeper = _spawn(folder, with_recipe=recipe is not None)
    except OSError as error:
        raise LaunchError(
            f"run {folder.name} has no controller: its keeper cannot be started: {error}",
            remedy=f"it goes on on its nodes; orch attach {folder.name} tries again",
        ) from None
    if keeper.stdin is not None and recipe is not None:
        await asyncio.to_thread(_hand_over, keeper.stdin, recipe)
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
        f"run {folder.name} has no controller: its keeper does not begin",
        remedy=f"it goes on on its nodes; {folder / CONTROLLER_LOG} says why",
    )


async def take_up(folder: Path) -> events.Warned | None:
    """Have a run minded that nobody minds, and return what whoever looks at it is told of that.

    None when there was no need, or nothing left to mind. Raises LaunchError as `have_kept` does.
    """
    if find_controller(folder) is not None or await have_kept(folder) is None:
        return None
    return events.Warned(
        f"run {folder.name} had no controller; it has one again, in the background"
    )


def _spawn(folder: Path, *, with_recipe: bool) -> subprocess.Popen[bytes]:
    log = _open_log(folder / CONTROLLER_LOG)
    try:
        return subprocess.Popen(
            # -P: a folder of that name where a person stands is not meant.
            [sys.executable, "-P", "-m", "orchestrator", "keep", folder.name],
            stdin=subprocess.PIPE if with_recipe else subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd="/",
            start_new_session=True,
        )
    finally:
        os.close(log)


def _hand_over(pipe: IO[bytes], recipe: Recipe) -> None:
    """Write the recipe, secrets and all, to where only the keeper reads it."""
    with suppress(BrokenPipeError), pipe:  # one that has ended is told from its exit code
        pipe.write(json.dumps(recipe.describe(secrets=True)).encode())


def take_over(pipe: IO[bytes]) -> Recipe | None:
    """Return the recipe that `have_kept` gave us, None where it gave none.

    Raises KeyError, TypeError or ValueError when it is something else.
    """
    said = pipe.read()
    return Recipe.parse(json.loads(said)) if said else None


def _open_log(path: Path) -> int:
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
    try:
        return os.open(path, flags, 0o600)
    except OSError:  # a full disk keeps nobody from minding a run
        return os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC)
