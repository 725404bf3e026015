"""The masters of a transport: started once, shared with other processes, and ended by the last of them."""

from __future__ import annotations

import asyncio
import hashlib
import json
import re
import shutil
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path

from orchestrator.errors import LaunchError
from orchestrator.remote.openssh import mux
from orchestrator.remote.openssh.folder import Use, claimed, control_folder
from orchestrator.remote.openssh.login import PROGRAM, Login, log_in, log_in_at, log_in_unattended
from orchestrator.remote.openssh.terminal import opened
from orchestrator.remote.openssh.verdicts import Failure

_NEW_KEY = re.compile(r"^Warning: Permanently added ", re.MULTILINE)
_END_TIMEOUT = 5.0  # seconds to end all masters; ControlPersist ends what is left


class Masters:
    """The masters of one transport.

    `keep` leaves them to the next process when it is closed. The user is asked at the terminal only while
    `may_ask`: in the first `connect_all`, and not when a connection is restored during a run.
    """

    def __init__(self) -> None:
        self.keep = False
        self.may_ask = True
        self.has_asked = False
        self._folder: Path | None = None
        self.with_new_keys: set[Path] = set()
        """Those whose host's key was unknown, and is trusted now."""
        self._uses: dict[Path, Use] = {}
        self._asking = asyncio.Lock()

    def prepare(self) -> None:
        """Raise LaunchError if there is no ssh, or no folder for the sockets."""
        if shutil.which(PROGRAM) is None:
            raise LaunchError(
                "OpenSSH's client is not installed on this machine",
                remedy="install openssh-client, or leave out --transport openssh",
            )
        self._folder = control_folder()

    async def open(
        self, name: str, login: Login, timeout: float, *, accept_new: bool
    ) -> Path | Failure:
        """Return the control socket of a master for the node or gateway `name`, or why there is none.

        It is one that is there, or a new one. `prepare` comes first.
        """
        assert self._folder is not None
        path = _path(self._folder, name, login)
        async with AsyncExitStack() as stack:
            try:
                async with asyncio.timeout(timeout):
                    await stack.enter_async_context(claimed(path))
            except TimeoutError:
                return Failure("another process is logging in there", timeout)
            if await mux.find_master(str(path)) is None:
                path.unlink(missing_ok=True)
                failure: Failure | None = Failure("", timeout)
                try:
                    result = await log_in(login, path, timeout, accept_new=accept_new)
                    failure = result if isinstance(result, Failure) else None
                    if isinstance(result, str) and _NEW_KEY.search(result):
                        self.with_new_keys.add(path)
                    if failure is not None and failure.wants_a_person:
                        failure = await self._ask(name, login, path, failure, accept_new=accept_new)
                finally:
                    if failure is not None:  # ssh may have been about to go to the background
                        await mux.end_master(str(path))
                if failure is not None:
                    return failure
            if path not in self._uses:
                self._uses[path] = Use(path)
            return path

    async def _ask(
        self, name: str, login: Login, path: Path, failure: Failure, *, accept_new: bool
    ) -> Failure | None:
        """Log in at the terminal if there is one, otherwise as far as no person is needed.

        One host at a time, and none after one at which that failed.
        """
        async with self._asking:
            if not self.may_ask:
                return failure
            with opened() as terminal:
                if terminal is None:
                    limit = failure.timeout
                    why = await log_in_unattended(login, path, limit, accept_new=accept_new)
                else:
                    self.has_asked = True
                    terminal.say(f"orch: {name}: log in to {login.target.endpoint}")
                    why = await log_in_at(terminal, login, path, accept_new=accept_new)
                    failure = replace(failure, at_terminal=why or "")
            if why is None:
                return None
            self.may_ask = False
            return failure

    async def close(self) -> None:
        """End the masters that no other process uses, or leave them to the next."""
        uses, self._uses = self._uses, {}
        if self.keep:
            for use in uses.values():
                use.abandon()
            return
        await asyncio.gather(*map(_end, uses.values()))


async def _end(use: Use) -> None:
    """End the master, unless another process uses it, or is about to."""
    try:
        async with asyncio.timeout(_END_TIMEOUT), claimed(use.path):
            if use.is_last():
                await mux.end_master(str(use.path))
                use.path.unlink(missing_ok=True)
                use.end()
                return
    except TimeoutError:
        pass
    use.abandon()


def _path(folder: Path, name: str, login: Login) -> Path:
    """Return the path of the socket: the same for the same login in another process."""
    way = [name, str(Path.home()), *login.words()]
    digest = hashlib.sha256(json.dumps(way).encode()).hexdigest()
    return folder / digest[:16]
