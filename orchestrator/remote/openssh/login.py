"""One run of OpenSSH's client that logs in to a host and stays as a master."""

from __future__ import annotations

import asyncio
import math
import os
import signal
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orchestrator.remote.openssh.terminal import Terminal
from orchestrator.remote.openssh.verdicts import Failure
from orchestrator.remote.ssh.config import Target
from orchestrator.util.quoting import command_line

PERSIST = 60
"""Seconds after which a master that nothing uses ends by itself."""
PROGRAM = "ssh"
ASK_TIMEOUT = 120.0
"""Seconds in which the user must have logged in; sshd has the same limit (LoginGraceTime)."""
_INTERRUPT_TIMEOUT = 1.0  # seconds
_PROBES = 3
_MAX_LOG = 1 << 20


@dataclass(frozen=True)
class Gateway:
    """A gateway whose master is at `path`."""

    target: Target
    path: Path


@dataclass(frozen=True)
class Login:
    """What to pass to ssh for one host or gateway, besides what its configuration files have.

    `options` are `Keyword=value`, of the inventory or a hop; `gateway` is the last hop on the way.
    """

    target: Target
    options: tuple[str, ...]
    gateway: Gateway | None = None

    def words(self) -> Iterator[str]:
        """Yield the arguments of ssh for this login, without those of a master."""
        for option in self.options:
            yield from ("-o", option)
        if self.gateway is not None:
            yield from ("-o", f"ProxyCommand={_tunnel(self.gateway)}")
        yield from ("--", self.target.label)


def _tunnel(gateway: Gateway) -> str:
    """Return the ProxyCommand that goes through a gateway's master, and fails if there is none."""
    words = [PROGRAM, "-F", "none", "-o", "BatchMode=yes", "-o", "ControlMaster=no"]
    gone = "ProxyCommand=echo the connection to it has ended >&2"
    words += ["-o", gone, "-S", str(gateway.path), "-W"]
    label = command_line(["--", gateway.target.label])
    return f"{command_line(words)} '[%h]:%p' {label}"


def quoted(keyword: str, *values: str) -> str:
    """Return an option with literal values: file names, in which ssh expands nothing."""
    words = ('"' + value.replace("%", "%%").replace('"', '\\"') + '"' for value in values)
    return f"{keyword}={' '.join(words)}"


def alive_options(silence: float) -> list[str]:
    """Return the options with which a master ends after about `silence` seconds without an answer."""
    interval = max(1, math.floor(silence / (_PROBES + 1)))
    probes = max(1, math.floor(silence / interval) - 1)
    return [f"ServerAliveInterval={interval}", f"ServerAliveCountMax={probes}"]


async def log_in(login: Login, path: Path, timeout: float, *, accept_new: bool) -> str | Failure:
    """Start a master at `path`; return what ssh printed once it is logged in, or why it is not.

    With `accept_new`, the key of a new host is trusted and stored. The master ends by itself when nothing
    has used it for a minute.
    """
    options = _options(path, timeout, accept_new=accept_new)
    # Without -v, a master with ControlPersist hides the messages of its ProxyCommand.
    words = (PROGRAM, "-v", *options, "-o", "BatchMode=yes", *login.words())
    with tempfile.TemporaryFile(prefix="orch-ssh-") as log:
        try:
            process = await asyncio.create_subprocess_exec(
                *words, **_NO_STREAMS, stderr=log, start_new_session=True
            )
        except OSError as error:
            return Failure(f"{PROGRAM} cannot be started: {error.strerror}", timeout)
        code = await _exit_code(process, timeout)
        log.seek(0)
        text = log.read(_MAX_LOG).decode("utf-8", "replace").replace("\r\n", "\n")
        return text if code == 0 else Failure(text, timeout, is_timeout=code is None)


async def log_in_at(
    terminal: Terminal, login: Login, path: Path, *, accept_new: bool
) -> str | None:
    """Start a master like `log_in`, and let ssh ask the user; return why it is not logged in.

    Sends this process SIGINT if the user interrupts ssh.
    """
    options = _options(path, ASK_TIMEOUT, accept_new=accept_new)
    words = (PROGRAM, *options, "-o", "LogLevel=INFO", *login.words())
    try:
        process = await asyncio.create_subprocess_exec(
            *words, **_NO_STREAMS, stderr=terminal.descriptor, process_group=0
        )
    except OSError as error:
        return f"{PROGRAM} cannot be started: {error.strerror}"
    with terminal.lent(process.pid):
        code = await _exit_code(process, ASK_TIMEOUT)
    if code == -signal.SIGINT:
        await _interrupt()
    if code is None:
        return f"nothing was typed within {ASK_TIMEOUT:g} s"
    return None if code == 0 else "the login at the terminal failed"


async def log_in_unattended(
    login: Login, path: Path, timeout: float, *, accept_new: bool
) -> str | None:
    """Start a master like `log_in` where there is no terminal; return why it is not logged in.

    What the server asks, the user's SSH_ASKPASS answers. Without one, ssh ends at the first question, as a
    login by keyboard-interactive may have none.
    """
    own = _may_ask()
    limit = ASK_TIMEOUT if own else timeout
    words = (PROGRAM, *_options(path, limit, accept_new=accept_new), *login.words())
    with tempfile.TemporaryDirectory(prefix="orch-ssh-") as folder:
        environment = dict(os.environ) if own else await asyncio.to_thread(_quitting, Path(folder))
        try:
            process = await asyncio.create_subprocess_exec(
                *words,
                **_NO_STREAMS,
                stderr=asyncio.subprocess.DEVNULL,
                start_new_session=True,
                env=environment,
            )
        except OSError as error:
            return f"{PROGRAM} cannot be started: {error.strerror}"
        code = await _exit_code(process, limit)
    if code == 0:
        return None
    return "the login with SSH_ASKPASS failed" if own else "ssh has a question"


def _quitting(folder: Path) -> dict[str, str]:
    """Return the environment in which ssh ends when it has a question.

    An empty answer would be a failed login, which servers count.
    """
    program = folder / "askpass"
    program.write_text("#!/bin/sh\nkill $PPID\n")
    program.chmod(0o700)
    return {**os.environ, "SSH_ASKPASS": str(program), "SSH_ASKPASS_REQUIRE": "force"}


def _may_ask() -> bool:
    """Return whether ssh runs the user's SSH_ASKPASS if it has no terminal."""
    if not os.environ.get("SSH_ASKPASS"):
        return False
    wanted = os.environ.get("SSH_ASKPASS_REQUIRE", "")
    has_screen = any(os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY"))
    return wanted in ("force", "prefer") or (wanted != "never" and has_screen)


_NO_STREAMS: Any = {"stdin": asyncio.subprocess.DEVNULL, "stdout": asyncio.subprocess.DEVNULL}


def _options(path: Path, timeout: float, *, accept_new: bool) -> list[str]:
    """Return the arguments with which ssh goes to the background as a master, once it is logged in."""
    own = (
        f"ControlPath={path}",
        "ControlMaster=yes",
        f"ControlPersist={PERSIST}",
        f"ConnectTimeout={max(1, math.floor(timeout))}",
        "ClearAllForwardings=yes",
        "RemoteCommand=none",
        "RequestTTY=no",
        "PermitLocalCommand=no",
        *(["StrictHostKeyChecking=accept-new"] if accept_new else []),
    )
    return ["-f", "-N", *(word for option in own for word in ("-o", option))]


async def _interrupt() -> None:
    """Send this process SIGINT, and wait for what it does: usually, it cancels the caller."""
    os.kill(os.getpid(), signal.SIGINT)
    with suppress(TimeoutError):
        async with asyncio.timeout(_INTERRUPT_TIMEOUT):
            await asyncio.Event().wait()


async def _exit_code(process: asyncio.subprocess.Process, timeout: float) -> int | None:
    """Return the exit code of a login; None if it is not complete within `timeout` seconds.

    Then, or if cancelled, it is killed with the proxy commands that it runs.
    """
    try:
        async with asyncio.timeout(timeout):
            return await process.wait()
    except TimeoutError:
        return None
    finally:
        if process.returncode is None:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            await process.wait()
