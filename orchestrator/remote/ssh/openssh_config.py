"""Ask ssh itself what its configuration files mean for a host: `ssh -G`."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import signal
import tempfile
from collections import defaultdict
from contextlib import suppress
from dataclasses import dataclass, field
from typing import IO

from orchestrator.remote.ssh.config_files import ConfigParseError
from orchestrator.remote.ssh.settings import LISTS, WORDS, Settings
from orchestrator.util.log import logger
from orchestrator.util.quoting import command_line
from orchestrator.util.text import printable

_TIMEOUT = 10.0  # seconds for one host; `Match exec` and canonical names take most of it
_MOST_AT_ONCE = 32
_MOST_OUTPUT = 1 << 20
# Printed with tokens, variables and `~` replaced.
_EXPANDED = frozenset(
    ("controlpath", "hostname", "identityagent", "userknownhostsfile", "forwardagent")
)
_PATHS = WORDS | {"revokedhostkeys"}
_NEW_PATH = re.compile(r" (?=[/~$%])")

log = logger("ssh")


@dataclass
class Openssh:
    """The `ssh` of this machine, as a reader of its own configuration."""

    program: str
    options: tuple[str, ...] = ()
    """More options, such as `-F FILE`."""
    _slots: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(_MOST_AT_ONCE))
    _defaults: asyncio.Task[dict[str, tuple[str, ...]]] | None = None

    @classmethod
    def find(cls) -> Openssh | None:
        """Return the `ssh` on the PATH; None if there is none."""
        program = shutil.which("ssh")
        return None if program is None else cls(program)

    async def ask(self, name: str, user: str | None, port: int | None) -> Settings:
        """Return the settings for the host `name`, without ssh's defaults.

        Raises ConfigParseError, with what ssh says, if it refuses them, or has not answered in time.
        """
        if self._defaults is None:
            self._defaults = asyncio.create_task(self._printed(("-F", "none"), name))
        defaults = await asyncio.shield(self._defaults)
        login = [*(["-l", user] if user else []), *(["-p", str(port)] if port else [])]
        printed = await self._printed((*self.options, *login), name)
        values = {
            keyword: value
            for keyword, value in printed.items()
            if keyword != "host" and (value != defaults.get(keyword) or keyword in ("user", "port"))
        }
        values["hostname"] = printed.get("hostname", (name,))
        return Settings(values, expanded=_EXPANDED)

    async def _printed(self, options: tuple[str, ...], name: str) -> dict[str, tuple[str, ...]]:
        # In a file: what a command of `Match exec` left in the background may keep a pipe open.
        with tempfile.TemporaryFile() as stderr:
            async with self._slots:
                code, stdout = await self._run(["-G", *options, "--", name], stderr)
            if code != 0:
                stderr.seek(0)
                raise ConfigParseError(_complaint(name, stderr.read(_MOST_OUTPUT)))
        log.debug("asked ssh -G about %s", name)
        return parse(stdout)

    async def _run(self, arguments: list[str], stderr: IO[bytes]) -> tuple[int, bytes]:
        process = await asyncio.create_subprocess_exec(
            self.program,
            *arguments,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=stderr,
            start_new_session=True,
        )
        assert process.stdout is not None
        try:
            async with asyncio.timeout(_TIMEOUT):
                stdout = await process.stdout.read()
                return await process.wait(), stdout
        except TimeoutError:
            raise ConfigParseError(
                f"`{command_line([self.program, *arguments])}` did not answer within {_TIMEOUT:g} s: "
                "does a command of `Match exec`, or a look-up of a canonical name, hang?"
            ) from None
        finally:
            if process.returncode is None:
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)  # its commands too
                await process.wait()


def parse(output: bytes) -> dict[str, tuple[str, ...]]:
    """Return the values that `ssh -G` printed, by keyword."""
    found: dict[str, list[str]] = defaultdict(list)
    for line in os.fsdecode(output).split("\n"):
        keyword, _, value = line.partition(" ")
        if value:
            found[keyword.lower()].append(value)
    return {
        keyword: tuple(_NEW_PATH.split(values[0])) if keyword in _PATHS else _kept(keyword, values)
        for keyword, values in found.items()
    }


def _kept(keyword: str, values: list[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(values)) if keyword in LISTS else tuple(values)


def _complaint(name: str, stderr: bytes) -> str:
    lines = stderr.decode("utf-8", "surrogateescape").strip().splitlines()
    # The last line is only a summary of those before.
    said = lines[:-1] if len(lines) > 1 and "terminating" in lines[-1] else lines
    text = "; ".join(line.strip() for line in said[-3:]) or "it gives no reason"
    return f"ssh refuses it for {printable(name)}: {printable(text, 1000)}"
