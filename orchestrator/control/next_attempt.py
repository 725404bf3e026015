"""Start the next attempt of a run that has failed.

connect to the remaining nodes, and to spares -> check that the failed attempt is gone -> rendezvous ->
plan -> upload (to a spare) -> quick checks -> start
"""

from __future__ import annotations

from collections.abc import Coroutine
from dataclasses import replace
from functools import partial
from typing import Any

from orchestrator import events
from orchestrator.control.interrupts import Interrupts, first_done
from orchestrator.control.spares import NoSpare, connect_with_spares
from orchestrator.control.start import start
from orchestrator.control.verdict import how_stopped, stopped_code
from orchestrator.errors import Interrupted, LaunchError, OrchError
from orchestrator.inventory import Main
from orchestrator.pipeline.phase import Phase
from orchestrator.pipeline.prepare import plan_job, prepare
from orchestrator.plan import Facts, Plan
from orchestrator.preflight.level import Level
from orchestrator.reasons import Stop
from orchestrator.remote.base import Transport
from orchestrator.remote.connection import NodeConnection, close_all
from orchestrator.remote.fleet import Fleet
from orchestrator.runs.disk_space import write_within
from orchestrator.runs.folder import CALL, FILES
from orchestrator.runs.launch_spec import LaunchSpec
from orchestrator.runs.record import Record
from orchestrator.runs.stop_request import stop_requests
from orchestrator.util.text import first_line

# Seconds for which a full disk may delay an attempt, which must be recorded first.
_WRITE_TIMEOUT = 60.0


class NotRestarted(Exception):
    """There is no next attempt; the argument is the reason, `changes` those to make to the verdict."""

    def __init__(self, why: str, **changes: Any) -> None:
        super().__init__(why)
        self.changes = changes


class NextAttempt:
    """Starts the next attempt of the run of `record`, unless `interrupts` or a request stop it."""

    def __init__(
        self, record: Record, transport: Transport, interrupts: Interrupts, emit: events.Emit
    ) -> None:
        self._record = record
        self._transport = transport
        self._interrupts = interrupts
        self._emit = emit

    async def start(self, spec: LaunchSpec) -> list[NodeConnection]:
        """Start it and return the connections to its nodes. Raises NotRestarted."""
        failed = self._record.failed[-1]
        count, of = len(self._record.failed) + 1, spec.restarts + 1
        self._emit(events.Restarting(count, of, failed.summary))
        try:
            fleet, facts, plan = await self._unless_stopped(self._prepare(spec))
            connections: list[NodeConnection] = fleet.connections()
            try:
                skews = {h.name: f.clock_skew for h, f in zip(fleet.hosts, facts, strict=True)}
                await self._unless_stopped(self._write(plan, failed.last + 1, skews))
                with Phase("start", (node.name for node in plan.nodes), self._emit):
                    call = None if spec.job.function is None else self._record.folder / CALL
                    await start(
                        plan, connections, self._record.settings, self._record.attempt, call
                    )
            except BaseException:
                await close_all(connections)
                raise
        except NoSpare as error:
            raise NotRestarted(error.message) from None
        except OrchError as error:
            self._emit(events.Warned(f"attempt {count} of {of} could not be started: {error}"))
            why = f"attempt {count} could not be started: {first_line(error.message)}"
            raise NotRestarted(why) from None
        return connections

    async def _unless_stopped(self, work: Coroutine[Any, Any, Any]) -> Any:
        """Return the result of `work`; raise NotRestarted if the user stops the run before it is done."""
        requests = stop_requests(self._record.folder)
        try:
            working, request = await first_done(self._interrupts.abort(work), anext(requests))
            if working is not None:
                return working.result()
            assert request is not None
            stop = Stop(request.result().reason)
        except Interrupted:
            stop = Stop(self._interrupts.reason)
        how, detail = how_stopped(stop)
        raise NotRestarted(
            "",
            exit_code=stopped_code(stop),
            how=how,
            detail=detail,
            first_failure=None,
            outcome="stopped",
            stop=stop,
        )

    async def _prepare(self, spec: LaunchSpec) -> tuple[Fleet, list[Facts], Plan]:
        """Do everything up to the start of the attempt's first process."""
        record, last = self._record, self._record.plan.nodes
        hosts = {host.name: host for host in (*spec.hosts, *spec.spares)}
        used = {node.name for node in (*last, *record.former)}
        lost = record.failed[-1].lost
        wanted = {node.name: None if node.name in lost else hosts[node.name] for node in last}
        spares = [host for host in spec.spares if host.name not in used]
        fleet, facts = await connect_with_spares(wanted, spares, self._transport, self._emit)
        try:
            names = [host.name for host in fleet.hosts]
            await _require_gone(fleet, record.plan.run)
            if names[0] != last[0].name:  # a given address belongs to the old main node
                job = replace(spec.job, main_address=None)
                spec = replace(spec, job=job, main=Main(port=spec.main.port))
            plan = await plan_job(fleet, facts, spec, record.plan.run, self._emit)
            self._emit(events.Planned(plan))
            level = Level.QUICK if spec.preflight else None
            nodes = (*record.former, *last)
            folders = {node.name: node.workdir for node in nodes if node.name in names}
            plan, _ = await prepare(
                fleet, facts, plan, spec, level, self._emit,
                folders=folders, copy=record.folder / FILES,
            )  # fmt: skip
        except BaseException:
            await fleet.close()
            raise
        return fleet, facts, plan

    async def _write(self, plan: Plan, number: int, skews: dict[str, float]) -> None:
        """Record that the attempt starts. Raises LaunchError: no controller would find it otherwise."""
        message = f"it cannot be recorded in {self._record.folder}"

        def on_wait(error: OSError) -> None:
            self._emit(events.Warned(f"the next attempt waits: {message}: {error.strerror}"))

        begin = partial(self._record.begin_attempt, plan, number, skews)
        try:
            await write_within(_WRITE_TIMEOUT, begin, on_wait=on_wait)
        except OSError as error:
            raise LaunchError(
                f"{message}: {error.strerror}", remedy="free disk space there"
            ) from None


async def _require_gone(fleet: Fleet, run: str) -> None:
    """Kill what is left of earlier attempts. Raises LaunchError if processes survive."""
    answers = await fleet.ask_all(
        "sweep", lambda index: {"run": run, "node": fleet.hosts[index].name}
    )
    for host, answer in zip(fleet.hosts, answers, strict=True):
        if not isinstance(answer, dict) or answer.get("left") != []:
            raise LaunchError(f"{host.name}: processes of the failed attempt are still running")
