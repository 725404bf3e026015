"""The keywords of `launch` and `preflight`: the options of the command line, under the same names.

Only `--inventory` is called `hosts`, for it may also be a list of hosts. What an option takes as text
(`"10m"`, `"1G"`, `"auto"`) is taken here too, beside a number.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Any, Literal, TypedDict, TypeVar

from orchestrator.api import values
from orchestrator.api.hosts import Choice, Hosts
from orchestrator.api.job import JobWords
from orchestrator.api.preflight_request import PreflightArguments
from orchestrator.api.request import LaunchArguments
from orchestrator.errors import UsageError
from orchestrator.pipeline.outgoing import SYNC_LIMIT
from orchestrator.remote.transports import DEFAULT
from orchestrator.runs.options import LOG_LIMIT, RunOptions
from orchestrator.sync.patterns import check_patterns
from orchestrator.util.text import nearest

T = TypeVar("T")
Time = float | str
"""Seconds, or a text such as `90s`, `10m`, `2h30m`."""
Size = int | str
"""Bytes, or a text such as `500M`, `10G`."""
AnyPath = str | PathLike[str]

_DEFAULT_TERMS = RunOptions()
_ALSO_CALLED = {
    "inventory": "hosts",
    "hostfile": "hosts",
    "nproc_per_node": "nproc",
    "master_addr": "main_address",
    "master_port": "main_port",
    "max_restarts": "restarts",
}


class HostOptions(TypedDict, total=False):
    """Which hosts, and how they are reached."""

    hosts: Hosts | None
    local: int | None
    nodes: str | None
    exclude: str | None
    accept_new: bool
    connect_timeout: Time
    transport: str


class JobOptions(HostOptions, total=False):
    """What runs on them."""

    nproc: int | Literal["auto"] | None
    launcher: str | None
    module: bool
    no_python: bool
    main_address: str | None
    main_port: int | Literal["auto"] | None
    env: Mapping[str, str] | Sequence[str]
    env_file: AnyPath | None
    sync: AnyPath | None
    no_sync: bool
    workdir: str | None


class LaunchOptions(JobOptions, total=False):
    """How it runs: see `orch launch --help`."""

    launcher_arg: Sequence[str]
    sync_limit: Size | None
    overwrite: bool
    preflight: Literal["quick", "full", "off"]
    name: str | None
    detach: bool
    wait: bool
    grace: Time
    linger: Time
    node_timeout: Time
    lease: Time | None
    timeout: Time | None
    on_failure: Literal["stop", "continue"]
    stall: Time | None
    on_stall: Literal["show", "stop"]
    log_limit: Size | None
    restarts: int | None
    elastic: str | None
    fetch: Sequence[str]


class PreflightOptions(JobOptions, total=False):
    """What is checked: see `orch preflight --help`."""

    level: Literal["quick", "full"]
    only: Sequence[str]


def launch_arguments(
    script: AnyPath, arguments: Sequence[object], options: LaunchOptions
) -> LaunchArguments:
    """Return what `launch` is given. Raises TypeError for an unknown keyword, UsageError for a value."""
    _check_names("launch", options, LaunchOptions)
    patterns = tuple(_words("fetch", options.get("fetch")))
    check_patterns(patterns)
    sync_limit = _size("sync_limit", options, SYNC_LIMIT)
    log_limit = _size("log_limit", options, LOG_LIMIT)
    return LaunchArguments(
        job=_job(script, tuple(map(str, arguments)), options, options.get("launcher_arg", ())),
        hosts=_hosts(options),
        name=options.get("name"),
        preflight=_one_of("preflight", options.get("preflight", "quick"), "quick", "full", "off"),
        detach=options.get("detach", False),
        wait=options.get("wait", False),
        terms=RunOptions(
            grace=_seconds("grace", options) or 0.0,
            linger=_seconds("linger", options) or 0.0,
            node_timeout=_seconds("node_timeout", options) or 0.0,
            lease=_seconds("lease", options, least=1.0),
            timeout=_seconds("timeout", options),
            keep_going=_one_of("on_failure", options.get("on_failure", "stop"), "stop", "continue")
            == "continue",
            stall=_seconds("stall", options, least=1.0),
            stop_when_stalled=_one_of("on_stall", options.get("on_stall", "show"), "show", "stop")
            == "stop",
            log_limit=log_limit or None,
            fetch=patterns,
            fetch_to=Path.cwd() if patterns else None,
        ),
        sync_limit=sync_limit or None,
        restarts=_number("restarts", options.get("restarts"), 0, 1000),
        overwrite=options.get("overwrite", False),
        elastic=options.get("elastic"),
    )


def preflight_arguments(
    script: AnyPath | None, arguments: Sequence[object], options: PreflightOptions
) -> PreflightArguments:
    """Return what `preflight` is given, as `launch_arguments` does."""
    _check_names("preflight", options, PreflightOptions)
    return PreflightArguments(
        job=_job(script, tuple(map(str, arguments)), options),
        hosts=_hosts(options),
        level=_one_of("level", options.get("level", "full"), "quick", "full"),
        only=tuple(_words("only", options.get("only"))),
    )


def _job(
    script: AnyPath | None,
    arguments: tuple[str, ...],
    options: JobOptions,
    launcher_arguments: Sequence[str] = (),
) -> JobWords:
    nproc, main_port = options.get("nproc"), options.get("main_port")
    env_file, sync = options.get("env_file"), options.get("sync")
    return JobWords(
        script=None if script is None else str(script),
        module=options.get("module", False),
        no_python=options.get("no_python", False),
        launcher=options.get("launcher"),
        nproc=None if nproc is None else str(nproc),
        main_address=options.get("main_address"),
        main_port=None if main_port is None else str(main_port),
        env=_variables(options.get("env", ())),
        env_file=None if env_file is None else Path(env_file),
        sync=None if sync is None else Path(sync),
        no_sync=options.get("no_sync", False),
        workdir=options.get("workdir"),
        arguments=arguments,
        launcher_arguments=tuple(_words("launcher_arg", launcher_arguments)),
    )


def _hosts(options: HostOptions) -> Choice:
    return Choice(
        options.get("hosts"),
        _number("local", options.get("local"), 1, 64),
        options.get("nodes"),
        options.get("exclude"),
        options.get("accept_new", False),
        _seconds("connect_timeout", options, least=0.1, default=10.0) or 10.0,
        options.get("transport", DEFAULT),
    )


def _variables(env: Mapping[str, str] | Sequence[str]) -> tuple[str, ...]:
    """Return variables as `--env` takes them; of a mapping, a name that has a = in it is none."""
    if not isinstance(env, Mapping):
        return tuple(_words("env", env))
    for name in env:
        if "=" in name:
            raise UsageError(f"--env {name!r}: expected a variable's name, which has no =")
    return tuple(f"{name}={value}" for name, value in env.items())


def _words(option: str, given: Sequence[str] | None) -> Sequence[str]:
    """Return a list of words; one word alone, of which the letters would be taken, is an error."""
    if isinstance(given, str):
        raise UsageError(f"{_flag(option)}: expected a list of words", remedy=f"[{given!r}]")
    return given or ()


def _one_of(option: str, given: T, *allowed: T) -> T:
    if given not in allowed:
        expected = ", ".join(map(str, allowed))
        raise UsageError(f"{_flag(option)} {given}: expected one of {expected}")
    return given


def _number(option: str, given: int | None, least: int, most: int) -> int | None:
    if given is not None and not (type(given) is int and least <= given <= most):
        raise UsageError(f"{_flag(option)} {given}: a number from {least} to {most} is expected")
    return given


def _seconds(
    option: str, options: Mapping[str, Any], *, least: float = 0.0, default: float | None = None
) -> float | None:
    given = options.get(option, getattr(_DEFAULT_TERMS, option, default))
    if given is None:
        return None
    return values.seconds(_flag(option), least)(given if isinstance(given, str) else float(given))


def _size(option: str, options: Mapping[str, Any], default: int) -> int:
    given = options.get(option)
    return default if given is None else values.size(_flag(option))(given)


def _flag(option: str) -> str:
    return f"--{option.replace('_', '-')}"


def _check_names(function: str, given: Mapping[str, object], known: type) -> None:
    """Raise TypeError for a keyword that the function does not have, with the one that is likely meant."""
    names = known.__annotations__
    for name in given:
        if name not in names:
            meant = _ALSO_CALLED.get(name) or nearest(name, names)
            hint = f"; did you mean {meant!r}?" if meant else ""
            raise TypeError(f"{function}() got an unexpected keyword argument {name!r}{hint}")
