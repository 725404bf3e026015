"""A login: that it prints nothing of its own, and that what it starts may outlive it."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

from orchestrator.errors import NodeError
from orchestrator.preflight.answers import ask, reader
from orchestrator.preflight.judge import each_node
from orchestrator.preflight.model import (
    Advance,
    Context,
    Group,
    Measurement,
    NoAnswer,
    NodeContext,
    Probe,
    Unmeasured,
    check,
)
from orchestrator.preflight.verdict import Verdict, passed, skip, warn
from orchestrator.remote.agent import Agent
from orchestrator.remote.base import Node
from orchestrator.remote.fleet import Fleet
from orchestrator.util.answers import optional
from orchestrator.util.quoting import command_line
from orchestrator.util.text import printable, user_name

_LOGIN_TIMEOUT = 40.0  # seconds: the shell's start-up files may be on a slow file system
_MAX_LINES = 5  # of output that are searched for in start-up files


@dataclass(frozen=True)
class Source:
    """A line of a start-up file that likely prints something."""

    path: str
    number: int
    line: str


@dataclass(frozen=True)
class Printed:
    """What a login that ran `true` printed, made printable, and the likely source of each line."""

    lines: tuple[str, ...]
    errors: str
    sources: tuple[Source | None, ...] = ()


@dataclass(frozen=True)
class Logins:
    """What a login printed on each node."""

    of: Mapping[str, Printed | NoAnswer]


async def _log_in(fleet: Fleet, context: Context, advance: Advance) -> Logins:
    async def one(name: str, node: Node, agent: Agent) -> Printed | NoAnswer:
        try:
            async with asyncio.timeout(_LOGIN_TIMEOUT):
                printed = await _run_true(node, agent)
        except TimeoutError:
            return NoAnswer(f"a login that runs `true` did not end within {_LOGIN_TIMEOUT:g} s")
        except NodeError as error:
            return NoAnswer(error.text)
        advance(name, not printed.lines)
        return printed

    logins = zip(context.names, fleet.nodes, fleet.agents, strict=True)
    answers = await asyncio.gather(*(one(*login) for login in logins))
    return Logins(dict(zip(context.names, answers, strict=True)))


async def _run_true(node: Node, agent: Agent) -> Printed:
    channel = await node.open("true")
    try:
        await channel.wait()
        output, errors = channel.noise.strip(), printable(channel.stderr)
    finally:
        channel.close()
    lines = tuple(filter(None, (printable(line) for line in output.split(b"\n", 100)[:100])))
    if not lines:
        return Printed((), errors)
    request = {"login.startup": {"noise": list(lines[:_MAX_LINES])}}
    found = await ask(agent, "check", _parse_sources, timeout=15.0, limit=10.0, probes=request)
    return Printed(lines, errors, () if isinstance(found, NoAnswer) else found)


def _parse_sources(raw: Any) -> tuple[Source | None, ...]:
    return tuple(optional(reader(Source), entry) for entry in raw["login.startup"]["ok"])


LOGINS = Measurement("logins", Logins, _log_in)

# Commands that print and are complete on their line; `[[` needs bash or zsh.
_PRINTS = re.compile(
    r"(echo|printf|cat|date|uptime|fortune|figlet|cowsay|hostname|who|w|last|df|free|stty"
    r"|neofetch|fastfetch|screenfetch|nvidia-smi)\b(?!.*(;|&&|\|\||<<|\\$))"
)
_BASH = re.compile(
    r"/(?:.*/)?(\.bashrc|\.bash_aliases|\.bash_profile|\.zshenv|bash\.bashrc|zshenv)\Z"
)


@check("ssh.clean", Group.HOST, measurements=(LOGINS,))
@each_node
def check_clean(node: NodeContext) -> Verdict:
    """A login without a terminal prints nothing.

    Runs `true` over the connection and looks at what arrives. Anything on standard output warns: orch
    itself skips it, but scp, rsync, sftp and Git take it for a part of their protocol. The line of the
    start-up file (`~/.bashrc`, `~/.zshenv`, `/etc/profile.d`, ...) that has most words in common with it is
    reported; if it is one simple command, the line to paste puts it behind `[[ $- == *i* ]] &&`. What goes
    to standard error is only in the data.
    """
    printed = node.context.require(Logins).of[node.name]
    if isinstance(printed, NoAnswer):
        raise Unmeasured(printed.reason)
    data = {"printed": list(printed.lines), "errors": printed.errors}
    if not printed.lines:
        return passed("a login prints nothing of its own", data=data)
    harm = "scp, rsync and others take it for their own data"
    fix = "put it behind `[[ $- == *i* ]] &&`, so that only interactive shells print it"
    source = next((each for each in printed.sources if each is not None), None)
    if source is None:
        return warn(
            f"a login without a terminal prints “{printed.lines[0]}”: {harm}",
            f"find what prints it in the shell's start-up files; {fix}",
            data=data,
        )
    return warn(
        f"a login without a terminal prints something, likely by {source.path}, line "
        f"{source.number} ({source.line}): {harm}",
        fix,
        _silence(printed),
        data,
    )


def _silence(printed: Printed) -> tuple[str, ...]:
    """Return the lines that put each source behind the test, if all are known and simple."""
    commands = {}
    if len(printed.lines) > len(printed.sources):
        return ()
    for source in printed.sources:
        if source is None or not _BASH.match(source.path) or not _PRINTS.match(source.line):
            return ()
        if source.line.count('"') % 2 or source.line.count("'") % 2:
            return ()  # it continues on the next line
        edit = rf"{source.number}s/^/[[ $- == *i* ]] \&\& /"
        commands[source] = command_line(["sed", "-i", "--follow-symlinks", edit, source.path])
    return tuple(commands.values())


@dataclass(frozen=True)
class Logind:
    """What logind(8) does at logout; `kill` is None if only its built-in default says."""

    systemd: bool
    session: bool
    user: Annotated[str, user_name]
    kill: bool | None
    only: frozenset[str]
    exclude: frozenset[str]
    linger: bool

    @property
    def kills(self) -> bool:
        """Whether a logout ends all that the login started (logind-core.c of systemd)."""
        if not self.session or self.user in self.exclude:
            return False
        return self.user in self.only if self.only else self.kill is True


LOGIND = Probe("login.linger", reader(Logind))


@check("host.linger", Group.HOST, probes=(LOGIND,))
@each_node
def check_linger(node: NodeContext) -> Verdict:
    """A job may keep running after the login that started it.

    Reads systemd's `logind.conf` with all its drop-ins (`KillUserProcesses`, `KillOnlyUsers`,
    `KillExcludeUsers`), and whether orch's agent runs in the scope of a login session, which is what logind
    ends. Warns if it would end the user's processes at logout: a detached run, or one whose connection
    breaks, then dies. A drop-in excludes the user. `loginctl enable-linger` alone does not save a process
    of a session's scope (`session_stop_scope` in systemd's source); it keeps the user's own manager.
    Skipped if systemd does not run.
    """
    found = node.answer(LOGIND)
    data = {"kill": found.kill, "session": found.session, "linger": found.linger}
    if not found.systemd:
        return skip("has no systemd, so nothing ends with a login", data=data)
    if not found.kills:
        return passed("a job keeps running after its login", data=data)
    exclude = command_line(["printf", "%s\\n", "[Login]", f"KillExcludeUsers=root {found.user}"])
    return warn(
        f"logind ends everything that {found.user} started when the connection ends "
        "(KillUserProcesses=yes): a detached run, or one that loses its connection, dies with it",
        f"exclude {found.user} (lingering alone is not enough: it keeps what runs under the user's own "
        "manager, not what a login started)",
        (
            "mkdir -p /etc/systemd/logind.conf.d",
            f"{exclude} > /etc/systemd/logind.conf.d/50-orch.conf",
            "systemctl kill -s HUP systemd-logind",
        ),
        data,
    )
