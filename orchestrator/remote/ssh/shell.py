"""Have the login shell of a node run a script, and explain why it does not."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Awaitable, Callable
from typing import TypeVar

from orchestrator.remote.base import ShellError
from orchestrator.remote.channel import StreamChannel
from orchestrator.remote.ssh.script import command_for
from orchestrator.remote.ssh.verdicts import Verdicts, with_settings
from orchestrator.util.log import node_logger

# Long enough for slow start-up files (conda, modules on a network file system).
_SHELL_TIMEOUT = 30.0

_RESTRICTED = b"restricted"  # in what rbash prints
# Some wrappers around commands (ForceCommand) clear the environment.
_SET_HOME = '[ -n "$HOME" ] || { HOME=$(eval echo "~$(id -un)"); export HOME; }\n'

C = TypeVar("C", bound=StreamChannel)


class _Restricted(Exception):
    """The login shell is a restricted one, such as rbash."""


async def run_in_shell(
    open_session: Callable[[str], Awaitable[C]], script: str, verdicts: Verdicts
) -> C:
    """Return the session, from `open_session(command line)`, in which a login shell runs `script`.

    Raises ShellError if the shell does not run it; then the session is closed.
    """
    try:
        return await _run(open_session, script, verdicts, is_restricted=False)
    except _Restricted:
        return await _run(open_session, script, verdicts, is_restricted=True)


async def _run(
    open_session: Callable[[str], Awaitable[C]],
    script: str,
    verdicts: Verdicts,
    *,
    is_restricted: bool,
) -> C:
    marker = secrets.token_hex(16)
    lines = f"printf '%s\\n' {marker}\n{_SET_HOME}{script}"
    channel = await open_session(command_for(lines, is_restricted=is_restricted))
    log = node_logger("ssh", verdicts.node)
    log.debug("session opened; waiting up to %g s for the login shell", _SHELL_TIMEOUT)
    try:
        async with asyncio.timeout(_SHELL_TIMEOUT):
            await channel.started(f"{marker}\n".encode())
        log.debug("the login shell runs the script")
        return channel
    except TimeoutError:
        verdict = verdicts.shell_hangs(_SHELL_TIMEOUT, channel.stderr)
    except asyncio.LimitOverrunError:
        verdict = verdicts.shell_failed("prints without end", await channel.read(1024))
    except asyncio.IncompleteReadError as error:
        code = await channel.wait()  # raises ConnectionLost if the connection broke
        noise = error.partial + channel.stderr
        if not is_restricted and _RESTRICTED in noise:
            channel.close()
            raise _Restricted from None
        verdict = verdicts.shell_failed(f"ended with code {code} instead", noise)
    except BaseException:
        channel.close()
        raise
    channel.close()
    raise ShellError(with_settings(verdict, verdicts.target))
