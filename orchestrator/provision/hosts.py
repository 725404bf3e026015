"""All hosts at once: inspect them, and run the steps that prepare them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass

from fabric import Connection

from orchestrator.inventory import Host
from orchestrator.provision.connection import (
    FAILURES,
    connect_problem,
    connection,
    run_command,
)
from orchestrator.provision.probe import CPU_BUILDS, PROBE, HostFacts
from orchestrator.provision.steps import CannotPrepare, Requirements, Step, UnsuitablePython, steps
from orchestrator.util.log import node_logger
from orchestrator.util.quoting import command_line
from orchestrator.util.text import first_few

_MAX_PARALLEL = 32
_PROBE_TIMEOUT = 60  # seconds
_INSTALL_TIMEOUT = 3600  # torch is large, and the network may be slow
_CANCEL_TIMEOUT = 10.0  # seconds for interrupted commands to end
_PROGRESS_INTERVAL = 20.0  # seconds

Report = Callable[[str], None]


@dataclass(frozen=True)
class HostState:
    """What a host has and lacks, or why it cannot be prepared.

    `facts` is None if it could not be inspected, `problem` is None if nothing is in the way.
    """

    host: Host
    facts: HostFacts | None = None
    todo: tuple[Step, ...] = ()
    problem: str | None = None
    needs_other_python: bool = False  # another `python:` in the inventory would work

    @property
    def is_ready(self) -> bool:
        """Whether nothing is left to do."""
        return self.problem is None and not self.todo


class Hosts:
    """Hosts with a connection each, opened when needed; `close` closes them and ends what waits."""

    def __init__(self, hosts: Sequence[Host], requirements: Requirements) -> None:
        self._hosts = hosts
        self._requirements = requirements
        self._connections: dict[str, Connection] = {}

    def inspect(self, report: Report) -> list[HostState]:
        """Return the state of every host, in order."""
        return list(self._all(self._hosts, self._inspect, "inspecting", report))

    def run_steps(self, states: Sequence[HostState], report: Report) -> list[HostState]:
        """Run the steps of each host, and return its new state; `report` is called before each step."""
        todo = {state.host.name: state.todo for state in states}

        def work(host: Host) -> HostState:
            return self._run_steps(host, todo[host.name], report)

        return list(self._all([state.host for state in states], work, "preparing", report))

    def close(self) -> None:
        """Close the connections."""
        for each in list(self._connections.values()):
            each.close()

    def _inspect(self, host: Host) -> HostState:
        facts = None
        log = node_logger("prepare", host.name)
        log.debug("connecting to %s", host.address)
        index = "" if self._requirements.index else CPU_BUILDS
        probe = ("sh", "-c", PROBE, "sh", host.python, self._requirements.base, index)
        try:
            node = self._connection(host)
            facts = HostFacts.parse(run_command(node, probe, _PROBE_TIMEOUT))
            return HostState(host, facts, tuple(steps(facts, self._requirements)))
        except CannotPrepare as error:
            other = isinstance(error, UnsuitablePython)
            return HostState(host, facts, problem=str(error), needs_other_python=other)
        except FAILURES as error:
            log.info("not connected: %s", error)
            return HostState(host, problem=f"cannot be reached: {connect_problem(host, error)}")

    def _run_steps(self, host: Host, todo: Sequence[Step], report: Report) -> HostState:
        try:
            for number, each in enumerate(todo, 1):
                report(f"{host.name}: step {number} of {len(todo)}")
                node_logger("prepare", host.name).info("running %s", command_line(each.argv))
                run_command(self._connection(host), each.argv, _INSTALL_TIMEOUT)
        except CannotPrepare as error:
            return HostState(host, problem=str(error))
        except FAILURES as error:
            return HostState(host, problem=f"the connection broke: {connect_problem(host, error)}")
        state = self._inspect(host)
        if state.todo:
            left = " ".join(state.todo[0].argv)
            return HostState(host, state.facts, problem=f"after all steps it still lacks: {left}")
        return state

    def _connection(self, host: Host) -> Connection:
        if host.name not in self._connections:
            self._connections[host.name] = connection(host)
        return self._connections[host.name]

    def _all(
        self, hosts: Sequence[Host], work: Callable[[Host], HostState], doing: str, report: Report
    ) -> Iterator[HostState]:
        """Yield the result of `work` for each host, in order; an interrupt ends the wait."""
        pool = ThreadPoolExecutor(_MAX_PARALLEL)
        futures: dict[Future[HostState], str] = {pool.submit(work, h): h.name for h in hosts}
        try:
            waiting = set(futures)
            while waiting:
                done, waiting = wait(waiting, _PROGRESS_INTERVAL, FIRST_COMPLETED)
                if not done:
                    names = [futures[future] for future in futures if future in waiting]
                    report(f"still {doing} {first_few(names, 5)}")
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            running = [future for future in futures if not future.cancelled()]
            deadline = time.monotonic() + _CANCEL_TIMEOUT
            # Repeated: Fabric opens a closed connection again if a command is about to start on it.
            while wait(running, 0.1).not_done and time.monotonic() < deadline:
                self.close()
            raise
        pool.shutdown()
        for future in futures:
            yield future.result()
