"""Have the login shell of a node run a script, and explain why it does not."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Awaitable, Callable
from typing import TypeVar

from orchestrator.remote.base import ShellError
from orchestrator.remote.channel import StreamChannel
from orchestrator.remote.ssh.script import command_for
from orchestrator.remote.ssh.verdicts import Verdicts
from orchestrator.util.log import node_logger

# Long enough for slow start-up files (conda, modules on a network file system).
_SHELL_TIMEOUT = 30.0

C = TypeVar("C", bound=StreamChannel)


async def run_in_shell(
    open_session: Callable[[str], Awaitable[C]], script: str, verdicts: Verdicts
) -> C:
    """Return the session, from `open_session(command line)`, in which a login shell runs `script`.

    Raises ShellError if the shell does not run it; then the session is closed.
    """
    marker = secrets.token_hex(16)
    channel = await open_session(command_for(f"printf '%s\\n' {marker}\n{script}"))
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
        verdict = verdicts.shell_failed(f"ended with code {code} instead", noise)
    except BaseException:
        channel.close()
        raise
    channel.close()
    raise ShellError(verdict)
