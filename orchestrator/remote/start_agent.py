"""Start orch's agent on a node, uploading it if it is missing, or explain why it does not start."""

from __future__ import annotations

import asyncio
import functools
import json
import secrets
from importlib import resources
from typing import TYPE_CHECKING

from orchestrator.errors import NodeError
from orchestrator.remote.base import Channel, Node
from orchestrator.remote.package import node_package
from orchestrator.util.log import node_logger
from orchestrator.util.quoting import command_line, home_path
from orchestrator.util.text import printable

if TYPE_CHECKING:
    from orchestrator.inventory import Host

_FOLDER = "node"  # in orch's own
# Isolated from the environment's effects on Python; text is UTF-8 in any locale.
_FLAGS = "-IS -X utf8"
_CHECK = "ORCH_CHECK"
_RUN_CHECK = f"import os; exec(os.environ.pop('{_CHECK}'))"
_ABSENT = b"absent\n"
_EXIT_TIME = 5.0  # seconds that a Python has to exit if it does not run the agent


async def start_agent(node: Node, timeout: float) -> Channel:
    """Start the agent and return its channel, after reading its first line.

    Raises NodeError, with the remedy, if Python has not answered within `timeout` seconds, and what
    `Node.open` raises if the login shell does not run the script.
    """
    log = node_logger("agent", node.name)
    log.debug("starting with %s, within %g s", node.host.python, timeout)
    channel, first = await _begin(node, timeout)
    if first == _ABSENT:
        channel.close()
        log.debug("not there yet: uploading %d bytes", len(node_package().data))
        await _upload(node, timeout)
        channel, first = await _begin(node, timeout)
    try:
        _require_trusted(node, first)
        if not first.startswith(b'{"hello"'):
            raise await _explain_no_hello(node, channel, first)
    except BaseException:
        channel.close()
        raise
    log.debug("started")
    return channel


async def _begin(node: Node, timeout: float) -> tuple[Channel, bytes]:
    """Start the agent; return its channel and the first line of its output."""
    channel = await node.open(_start_script(node.host))
    try:
        async with asyncio.timeout(timeout):
            return channel, await channel.readline()
    except TimeoutError:
        channel.close()
        raise NodeError(
            node.name,
            f"no answer from {node.host.python} within {timeout:g} s",
            remedy=f"log in and try: {home_path(node.host.python)} -c 'print(1)'",
        ) from None
    except BaseException:
        channel.close()
        raise


def _start_script(host: Host) -> str:
    """Return a script that runs the agent if its folder and all parent folders can be trusted."""
    return f"{_with_check()}; exec {_checked(host, 'serve')}"


async def _upload(node: Node, timeout: float) -> None:
    package, python = node_package(), node.host.python
    folder = f"{node.host.state_folder}/{_FOLDER}"
    script = (
        f"{_with_check()}; {_checked(node.host, 'make')} || exit; "
        f'umask 077; d={home_path(folder)}; t="$d/{package.name}.{secrets.token_hex(8)}.tmp"; '
        f'cat > "$t" && mv -f "$t" "$d/{package.name}" || exit 1; '
        # Compiled, it starts in half the time. If compiling fails, `serve` reports the reason.
        f'{home_path(python)} {_FLAGS} "$d/{package.name}" compile 2>/dev/null || true'
    )
    done = await node.run(script, input=package.data, timeout=timeout)
    _require_trusted(node, done.stdout)
    if done.exit_code != 0:
        raise NodeError(
            node.name,
            f"orch's agent cannot be written to {printable(folder, 400)}: {tail(done.stderr)}",
            remedy=f"make room there, or name another folder as `state:` of {node.name} in the inventory, "
            f"such as /var/tmp/orch-{node.host.user or 'me'}",
        )


def _checked(host: Host, verb: str) -> str:
    """Return the command that checks the agent's folder, before anything in it is run, and runs the agent.

    The check and the agent share one interpreter. The text of the check is in the environment, so that
    the command line of the agent, and of every supervisor that it forks, shows only what it runs.
    """
    state = host.state_folder.removeprefix("~/")
    agent = home_path(f"{host.state_folder}/{_FOLDER}/{node_package().name}")
    words = command_line([verb, f"{state}/{_FOLDER}", state])
    return f"{home_path(host.python)} {_FLAGS} -c {command_line([_RUN_CHECK])} {agent} {words}"


@functools.cache
def _with_check() -> str:
    """Return the command that puts the text of the check into the environment."""
    source = resources.files("orchestrator.node").joinpath("trust.py").read_text(encoding="utf-8")
    text = command_line([f"{source}main(*sys.argv[1:])"])
    return f"{_CHECK}={text}; export {_CHECK}"


def _require_trusted(node: Node, said: bytes) -> None:
    """Raise NodeError if the node reports that another user may have put the agent there."""
    if not said.startswith(b'{"untrusted"'):
        return
    try:
        message, remedy = map(str, json.loads(said)["untrusted"])
    except (ValueError, TypeError, RecursionError):
        message, remedy = "the agent's folder is not to be trusted", tail(said)
    raise NodeError(
        node.name,
        f"orch's agent is not started: {printable(message, 1000)}",
        remedy=f"on {node.name}: {printable(remedy, 1000)}",
    )


async def _explain_no_hello(node: Node, channel: Channel, first: bytes) -> NodeError:
    """Return the error for a Python whose first line is not the agent's."""
    python = node.host.python
    try:
        async with asyncio.timeout(_EXIT_TIME):
            code = await channel.wait()
    except TimeoutError:
        return NodeError(
            node.name,
            f"{python} prints something else than orch's agent: {printable(first)!r}",
            remedy=f"set `python:` of {node.name} in the inventory to an interpreter that prints nothing "
            "by itself",
        )
    finally:
        channel.close()
    if code in (126, 127):
        return NodeError(
            node.name,
            f"there is no Python at {python!r}: {tail(channel.stderr)}",
            remedy="set `python:` in the inventory (or --python) to its absolute path on that node "
            "(a non-interactive shell has no conda or virtual environment)",
        )
    version = await node.run(f"{home_path(python)} -V 2>&1")
    return NodeError(
        node.name,
        f"{python} ({tail(version.stdout) or 'no version'}) cannot run orch's agent: "
        f"{tail(channel.stderr)}",
        remedy="orch needs Python 3.8 or later on a node",
    )


def tail(text: bytes, limit: int = 300) -> str:
    """Return the end of a node's output, safe for a terminal."""
    shown = text.decode("utf-8", "replace").strip()[-limit:]
    return "".join(c if c.isprintable() else " " for c in shown)
