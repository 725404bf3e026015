"""Convert the options of a launch, from the command line or a program, to a request."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, cast

from orchestrator.api.engine import job_for
from orchestrator.api.hosts import Note, open_hosts
from orchestrator.api.job import FunctionCall, JobOptions, local_name, read_job
from orchestrator.api.launch_request import Request
from orchestrator.api.nproc import with_nproc
from orchestrator.api.program import check_started_once
from orchestrator.api.slurm_hosts import slurm_hosts
from orchestrator.api.values import (
    LEAST_SECONDS,
    AnyPath,
    Size,
    Time,
    check_names,
    limit,
    node_range,
    number,
    one_of,
    seconds,
    word_list,
)
from orchestrator.control.interrupts import Interrupts
from orchestrator.errors import UsageError
from orchestrator.plan import Elastic
from orchestrator.plan.plan import choose_launcher
from orchestrator.preflight.level import Level
from orchestrator.runs.options import LOG_LIMIT, RESULT_LIMIT, SYNC_LIMIT, RunOptions
from orchestrator.sync.patterns import check_patterns


class LaunchOptions(JobOptions, total=False):
    """The options of `orch launch`, under the same names; `hosts` is its --inventory."""

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
    slurm: str | None
    slurm_login: str | None
    fetch: Sequence[str]


class FunctionOptions(LaunchOptions, total=False):
    """The options of a launch of a function."""

    result_limit: Size | None


@asynccontextmanager
async def launch_request(
    script: AnyPath,
    arguments: Sequence[object],
    options: LaunchOptions | FunctionOptions,
    *,
    before: Sequence[str] = (),
    note: Note | None = None,
    interrupts: Interrupts | None = None,
    function: FunctionCall | None = None,
) -> AsyncIterator[Request]:
    """Yield the request for these options; its transport is open within the context.

    `before` are the words of the command line before SCRIPT; `interrupts` end the wait for nodes of Slurm.
    With `function`, the ranks call that, and `script` is its name.
    Raises TypeError for an unknown option, UsageError for an invalid value, LaunchError if the folders of
    embedded nodes cannot be used, or Slurm gives no nodes.
    """
    check_names("launch", options, LaunchOptions if function is None else FunctionOptions)
    preflight = one_of("--preflight", options.get("preflight", "quick"), "quick", "full", "off")
    terms = _terms(options)
    restarts = number("--restarts", options.get("restarts"), 0, 1000)
    launcher_arguments = options.get("launcher_arg")
    asked = read_job(
        script,
        arguments,
        options,
        launcher_arguments=launcher_arguments,
        before=before,
        function=function,
    )
    elastic = _elastic(options.get("elastic"), restarts)
    asked = replace(asked, job=replace(asked.job, elastic=elastic))
    async with (
        slurm_hosts(options, asked.job, note, interrupts) as hosts,
        open_hosts(
            hosts, local_name=local_name(asked.job), include=options.get("include"), note=note
        ) as (inventory, transport),
    ):
        job = with_nproc(job_for(asked, inventory.hosts, note), asked.nproc, inventory)
        if asked.program is not None and preflight != "off":
            check_started_once(asked.program, choose_launcher(inventory.hosts, job))
        yield Request(
            inventory=inventory,
            job=job,
            source=asked.source,
            script=asked.script,
            name=options.get("name"),
            preflight=None if preflight == "off" else Level(preflight),
            detach=options.get("detach", False),
            wait=options.get("wait", False),
            restarts=(restarts or 0) if job.elastic is None else 0,
            overwrite=options.get("overwrite", False),
            terms=terms,
            transport=transport,
            call=None if function is None else function.folder,
            sync_limit=limit("--sync-limit", options.get("sync_limit"), SYNC_LIMIT),
        )


def _terms(options: LaunchOptions | FunctionOptions) -> RunOptions:
    """Return how to control the run. Raises UsageError."""
    patterns = word_list("--fetch", options.get("fetch"))
    check_patterns(patterns)
    on_failure = one_of("--on-failure", options.get("on_failure", "stop"), "stop", "continue")
    on_stall = one_of("--on-stall", options.get("on_stall", "show"), "show", "stop")
    if on_stall == "stop" and options.get("stall") is None:
        raise UsageError("--on-stall stop goes with --stall TIME")
    given = cast("Mapping[str, Any]", options)
    times = {
        name: seconds(f"--{name.replace('_', '-')}", given[name], least)
        for name, least in LEAST_SECONDS.items()
        if given.get(name) is not None
    }
    return RunOptions(
        **times,
        keep_going=on_failure == "continue",
        stop_when_stalled=on_stall == "stop",
        log_limit=limit("--log-limit", options.get("log_limit"), LOG_LIMIT),
        fetch=patterns,
        fetch_to=Path.cwd() if patterns else None,
        result_limit=limit("--result-limit", given.get("result_limit"), RESULT_LIMIT),
    )


def _elastic(sizes: str | None, restarts: int | None) -> Elastic | None:
    """Parse `MIN:MAX`. Raises UsageError."""
    if sizes is None:
        return None
    elastic = Elastic(*node_range("--elastic", sizes))
    return elastic if restarts is None else replace(elastic, restarts=restarts)
