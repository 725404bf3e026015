"""A node reached by a local program that runs a shell command there: `docker exec`, for example."""

from __future__ import annotations

import asyncio
import math
import re
import secrets
import shlex
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from orchestrator.errors import ConnectionLost, NodeError, Unreachable
from orchestrator.remote.base import Screen, ShellError
from orchestrator.remote.command.terminal import TerminalProgram
from orchestrator.remote.command.verdicts import Verdicts
from orchestrator.remote.process import ProcessChannel, ProcessNode
from orchestrator.util.text import printable

if TYPE_CHECKING:
    from orchestrator.inventory import Host

# Time for the program to reach the node and for a shell there to start.
_START_TIMEOUT = 30.0
_MISSES = 3
# Time for a program to end by itself after its input: one that is killed leaves a session behind, for which
# `podman rm` waits.
_END_TIMEOUT = 2.0

# The marker on standard output is the start of the script's output. That on standard error comes with its
# exit code: it distinguishes a script that ends from a program that breaks off, whose own exit code may be
# any. In a subshell, unlike another sh, $$ is still the leader of the process group.
_SCRIPT = """printf '%s\\n' {marker}
(
{script}
)
code=$?; printf '\\n%s %d\\n' {marker} "$code" >&2; exit "$code"
"""

# Scripts signal their process group by $$. sshd and runc start one, but crun does not: then setsid does,
# without a fork.
_IN_OWN_GROUP = """read -r _ _ _ _ group _ </proc/$$/stat
[ "$group" = $$ ] || setsid=$(command -v setsid)
exec $setsid /bin/sh -c {script}
"""

# A container's environment has no SHELL.
_SHELL = 'exec "${SHELL:-$(command -v bash || command -v sh)}" -l'


class CommandNode(ProcessNode):
    """The node on which the program `command(script)` runs a script; `verdicts` say why it does not.

    The program `in_terminal(script)` does so in a terminal.

    `check` has `timeout` seconds. If a channel is silent, the node must run an empty script about every
    `silence` seconds, or the connection counts as broken: not every program notices that.
    """

    def __init__(
        self,
        host: Host,
        command: Callable[[str], Sequence[str]],
        in_terminal: Callable[[str], Sequence[str]],
        verdicts: Verdicts,
        timeout: float,
        silence: float,
        warnings: tuple[str, ...] = (),
    ) -> None:
        super().__init__(host, command)
        self._in_terminal = in_terminal
        self._terminals: set[TerminalProgram] = set()
        self._verdicts = verdicts
        self._timeout = timeout
        self._silence = silence
        self._watching: asyncio.Task[None] | None = None
        self._warnings = warnings

    @property
    def warnings(self) -> tuple[str, ...]:
        return self._warnings

    async def open(self, script: str) -> ProcessChannel:
        channel = await self._open(script, max(self._timeout, _START_TIMEOUT))
        if self._watching is None:
            self._watching = asyncio.create_task(self._watch(), name=f"watch {self.name}")
        return channel

    async def open_terminal(
        self, script: str | None, screen: Screen | None
    ) -> CommandChannel | TerminalProgram:
        """Start `script` (POSIX sh), or a login shell; with a pseudo-terminal like `screen` unless None.

        Raises ConnectionLost and NodeError as `open` does, and UsageError if there is no way to a terminal.
        """
        script = script or _SHELL
        if screen is None:
            return await self._open(script, max(self._timeout, _START_TIMEOUT))
        kind = f"TERM={shlex.quote(screen.kind)}; export TERM"
        argv = self._in_terminal(f"{kind}\n{script}")
        channel = await TerminalProgram.start(self.name, argv, screen)
        self._terminals.add(channel)
        return channel

    async def close(self) -> None:
        if self._watching is not None:
            self._watching.cancel()
            await asyncio.gather(self._watching, return_exceptions=True)
        for terminal in self._terminals:
            terminal.close()
        await asyncio.gather(*(terminal.wait_closed() for terminal in self._terminals))
        await super().close()

    async def check(self) -> Unreachable | None:
        """Run an empty script; return why that was impossible in time, None if it was not.

        Raises NodeError if the program cannot be started.
        """
        try:
            channel = await self._open(":", self._timeout)
        except ShellError as error:
            return error.verdict
        try:
            async with asyncio.timeout(self._timeout):
                await channel.wait()
        except TimeoutError:
            return self._verdicts.silent(self._timeout, channel.stderr)
        except ConnectionLost as error:
            return self._verdicts.failed(channel.program_exit_code or 0, error.text.encode())
        finally:
            channel.close()
        return None

    async def _watch(self) -> None:
        """Break the connection if the node does not answer while a channel is silent."""
        problems: list[str] = []
        answered = time.monotonic()
        while len(problems) < _MISSES:
            await asyncio.sleep(self._silence / 4)
            heard = [each.heard_at for each in self._channels if not each.has_ended]
            if max(min(heard, default=math.inf), answered) > time.monotonic() - self._silence / 2:
                problems.clear()
            elif (problem := await self._sign_of_life()) is None:
                problems.clear()
                answered = time.monotonic()
            else:
                problems.append(problem)
        self.drop(f"the connection broke: {problems[-1]}")

    async def _sign_of_life(self) -> str | None:
        """Return what prevents the node from running a script, None if it runs one."""
        try:
            verdict = await self.check()
        except NodeError as error:
            return error.text
        return None if verdict is None else verdict.message

    async def _open(self, script: str, timeout: float) -> CommandChannel:
        """Start `script`; return once it runs. Raises ShellError if not within `timeout` seconds."""
        marker = secrets.token_hex(16)
        channel = await self._start(
            _IN_OWN_GROUP.format(script=shlex.quote(_SCRIPT.format(marker=marker, script=script))),
            lambda: CommandChannel(self.name, marker.encode()),
        )
        try:
            async with asyncio.timeout(timeout):
                await channel.started(f"{marker}\n".encode())
            return channel
        except TimeoutError:
            verdict = self._verdicts.silent(timeout, channel.stderr)
        except asyncio.LimitOverrunError:
            verdict = self._verdicts.noisy(await channel.read(1024))
        except asyncio.IncompleteReadError as error:
            said = channel.stderr or error.partial
            verdict = self._verdicts.failed(channel.program_exit_code or 0, said)
        except BaseException:
            channel.kill()
            raise
        channel.kill()
        raise ShellError(verdict)


class CommandChannel(ProcessChannel):
    """The channel over a program's pipes; `marker` with an exit code ends the script's standard error.

    Without it, the program has ended before the script, and the connection counts as broken.
    """

    def __init__(self, node: str, marker: bytes) -> None:
        super().__init__(node)
        self._end = re.compile(rb"\n%b (\d{1,3})\n" % marker)

    def close(self) -> None:
        """End the input of the program; kill it if it has not ended soon."""
        for fd in (0, 1):
            self._process.get_pipe_transport(fd).close()
        if self.program_exit_code is None:
            asyncio.get_running_loop().call_later(_END_TIMEOUT, self.kill)
        else:
            self.kill()

    def resize(self, columns: int, lines: int) -> None:
        """Do nothing: it has no terminal."""

    def kill(self) -> None:
        """Kill the program and all processes in its session."""
        super().close()

    def pipe_data_received(self, fd: int, data: bytes) -> None:
        if not self.has_ended:
            super().pipe_data_received(fd, data)
            self.process_exited()

    def pipe_connection_lost(self, fd: int, exc: Exception | None) -> None:
        self._open_pipes.discard(fd)
        if fd == 0:
            self.resume_writing()
        self.process_exited()

    def process_exited(self) -> None:
        """Report the exit code of the script once all output has arrived, or that the program broke off.

        A program that keeps running, or leaves a process that has its standard error open, is not awaited.
        """
        if 1 in self._open_pipes or self._is_dropped or self._ended.is_set():
            return
        found = self._end.search(self._stderr)
        if found is not None:
            self._on_exit(int(found[1]))
            del self._stderr[found.start() :]  # what follows is the program's own
            self._is_complete = True
            self._reader.feed_eof()
        elif self.program_exit_code is not None and 2 not in self._open_pipes:
            said = printable(bytes(self._stderr)) or "without a message"
            code = self.program_exit_code
            self._lost = f"the connection broke: its program ended with code {code}: {said}"
            self._on_closed()
