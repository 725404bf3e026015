"""A login: that it prints nothing of its own, and that what it starts may outlive it."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from orchestrator.errors import NodeError
from orchestrator.preflight.answers import ask, optional, text
from orchestrator.preflight.judge import judge_each, to_findings
from orchestrator.preflight.model import (
    Advance,
    Context,
    Finding,
    Group,
    Measurement,
    NoAnswer,
    NodeContext,
    Probe,
    check,
)
from orchestrator.preflight.verdict import Verdict, incomplete, passed, skip, warn
from orchestrator.remote.agent import Agent
from orchestrator.remote.base import Node
from orchestrator.remote.fleet import Fleet
from orchestrator.util.quoting import command_line
from orchestrator.util.text import printable, user_name

_WAIT = 40.0  # seconds for a login: the shell's start-up files may be on a slow file system
_LINES = 5  # lines of noise that are looked for in start-up files


@dataclass(frozen=True)
class Source:
    """A line of a start-up file that likely prints something."""

    path: str
    number: int
    line: str

    @classmethod
    def parse(cls, raw: Any) -> Source:
        return cls(text(raw["path"]), int(raw["number"]), text(raw["line"]))


@dataclass(frozen=True)
class Printed:
    """What a login that ran `true` printed, made harmless, and where it comes from, line by line."""

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
            async with asyncio.timeout(_WAIT):
                printed = await _run_true(node, agent)
        except TimeoutError:
            return NoAnswer(f"a login that runs `true` did not end within {_WAIT:g} s")
        except NodeError as error:
            return NoAnswer(error.text)
        advance(name, not printed.lines)
        return printed

    places = zip(context.names, fleet.nodes, fleet.agents, strict=True)
    answers = await asyncio.gather(*(one(*place) for place in places))
    return Logins(dict(zip(context.names, answers, strict=True)))


async def _run_true(node: Node, agent: Agent) -> Printed:
    channel = await node.open("true")
    try:
        await channel.wait()
        noise, errors = channel.noise.strip(), printable(channel.stderr)
    finally:
        channel.close()
    lines = tuple(filter(None, (printable(line) for line in noise.split(b"\n", 100)[:100])))
    if not lines:
        return Printed((), errors)
    request = {"login.startup": {"noise": list(lines[:_LINES])}}
    found = await ask(agent, "check", _parse_sources, timeout=15.0, limit=10.0, probes=request)
    return Printed(lines, errors, () if isinstance(found, NoAnswer) else found)


def _parse_sources(raw: Any) -> tuple[Source | None, ...]:
    return tuple(optional(Source.parse, entry) for entry in raw["login.startup"]["ok"])


LOGINS = Measurement("logins", Logins, _log_in)

# What prints and is whole on its line; `[[` needs bash or zsh.
_PRINTS = re.compile(
    r"(echo|printf|cat|date|uptime|fortune|figlet|cowsay|hostname|who|w|last|df|free|stty"
    r"|neofetch|fastfetch|screenfetch|nvidia-smi)\b(?!.*(;|&&|\|\||<<|\\$))"
)
_BASH = re.compile(
    r"/(?:.*/)?(\.bashrc|\.bash_aliases|\.bash_profile|\.zshenv|bash\.bashrc|zshenv)\Z"
)


@check("ssh.clean", Group.HOST, measurements=(LOGINS,))
def check_clean(context: Context) -> list[Finding]:
    """A login without a terminal prints nothing.

    Runs `true` over the connection and looks at what arrives. Anything on standard output warns: orch
    itself skips it, but scp, rsync, sftp and Git read it as a part of their own conversation. The line of
    the start-up file (`~/.bashrc`, `~/.zshenv`, `/etc/profile.d`, ...) that has most words in common with
    it is named; where it is one simple command, the line to paste puts it behind `[[ $- == *i* ]] &&`. What
    goes to standard error is noted in the data only.
    """
    found = context.require(Logins)
    return to_findings((name, _judge_login(found.of[name])) for name in context.names)


def _judge_login(printed: Printed | NoAnswer) -> Verdict:
    if isinstance(printed, NoAnswer):
        return incomplete(printed.reason)
    data = {"printed": list(printed.lines), "errors": printed.errors}
    if not printed.lines:
        return passed("a login prints nothing of its own", data=data)
    harm = "scp, rsync and others take it for their own data"
    source = next((each for each in printed.sources if each is not None), None)
    if source is None:
        said = printed.lines[0]
        return warn(
            f"a login without a terminal prints “{said}”: {harm}",
            "find what prints it among the shell's start-up files, and put it behind "
            "`[[ $- == *i* ]] &&`, so that interactive shells alone print it",
            data=data,
        )
    return warn(
        f"a login without a terminal prints something, likely by {source.path}, line "
        f"{source.number} ({source.line}): {harm}",
        "put it behind `[[ $- == *i* ]] &&`, so that interactive shells alone print it",
        _silence(printed),
        data,
    )


def _silence(printed: Printed) -> tuple[str, ...]:
    """Return the lines that put each culprit behind a question, if all are known and simple."""
    commands = {}
    if len(printed.lines) > len(printed.sources):
        return ()
    for source in printed.sources:
        if source is None or not _BASH.match(source.path) or not _PRINTS.match(source.line):
            return ()
        if source.line.count('"') % 2 or source.line.count("'") % 2:
            return ()  # it goes on, on the next line
        edit = rf"{source.number}s/^/[[ $- == *i* ]] \&\& /"
        commands[source] = command_line(["sed", "-i", "--follow-symlinks", edit, source.path])
    return tuple(commands.values())


@dataclass(frozen=True)
class Logind:
    """What logind(8) does at logout; `kill` is None where only its built-in default says."""

    systemd: bool
    session: bool
    user: str
    kill: bool | None
    only: frozenset[str]
    exclude: frozenset[str]
    linger: bool

    @classmethod
    def parse(cls, raw: Any) -> Logind:
        return cls(
            systemd=bool(raw["systemd"]),
            session=bool(raw["session"]),
            user=user_name(str(raw["user"])),
            kill=optional(bool, raw["kill"]),
            only=frozenset(map(str, raw["only"])),
            exclude=frozenset(map(str, raw["exclude"])),
            linger=bool(raw["linger"]),
        )

    @property
    def kills(self) -> bool:
        """Whether a logout ends all that the login started (`manager_shall_kill` of systemd's logind)."""
        if not self.session or self.user in self.exclude:
            return False
        return self.user in self.only if self.only else self.kill is True


LOGIND = Probe("login.linger", Logind.parse)


@check("host.linger", Group.HOST, probes=(LOGIND,))
def check_linger(context: Context) -> list[Finding]:
    """A job may run on after the login that started it.

    Reads systemd's `logind.conf` with all its drop-ins (`KillUserProcesses`, `KillOnlyUsers`,
    `KillExcludeUsers`), and whether orch's agent runs in the scope of a login session, which is what logind
    ends. Warns when it would end the user's processes at logout: a detached run, or one whose connection
    breaks, then dies. The user is excepted with a drop-in. `loginctl enable-linger` alone does not save a
    process of a session's scope (`session_stop_scope` in systemd's source); it keeps the user's own
    manager. Skipped where systemd does not run.
    """

    def verdict(node: NodeContext, found: Logind) -> Verdict:
        data = {"kill": found.kill, "session": found.session, "linger": found.linger}
        if not found.systemd:
            return skip("has no systemd, so nothing ends with a login", data=data)
        if not found.kills:
            return passed("lets a job run on after its login", data=data)
        return warn(
            f"logind ends whatever {found.user} started once the connection is gone "
            "(KillUserProcesses=yes): a detached run, or one whose link breaks, dies with it",
            f"except {found.user} from it (lingering alone does not: it keeps what runs under the user's "
            "own manager, not what a login started)",
            (
                "mkdir -p /etc/systemd/logind.conf.d",
                command_line(["printf", "%s\\n", "[Login]", f"KillExcludeUsers=root {found.user}"])
                + " > /etc/systemd/logind.conf.d/50-orch.conf",
                "systemctl kill -s HUP systemd-logind",
            ),
            data,
        )

    return judge_each(context, LOGIND, verdict)
