"""All hosts at once: what each of them is and lacks, and then what it lacks put there."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass

from fabric import Connection

from orchestrator.inventory import Host
from orchestrator.provision import tasks
from orchestrator.provision.connection import FAILURES, connection, why_not
from orchestrator.provision.found import Found
from orchestrator.provision.steps import OtherPython, Step, Unable, Wanted, steps
from orchestrator.util.log import node_logger
from orchestrator.util.quoting import command_line

AT_ONCE = 32
_END_TIMEOUT = 10.0  # seconds in which what is interrupted should have ended
EVERY = 20.0  # seconds between two signs of life


@dataclass(frozen=True)
class State:
    """What a host is and lacks, or what keeps it from being made ready.

    `found` is None where it could not be looked at, `problem` where nothing is in the way.
    """

    host: Host
    found: Found | None = None
    todo: tuple[Step, ...] = ()
    problem: str | None = None
    other_python: bool = False  # another `python:` in the inventory would do

    @property
    def is_ready(self) -> bool:
        """Whether nothing is left to do."""
        return self.problem is None and not self.todo


Tell = Callable[[str], None]


class Hosts:
    """Connections to hosts, opened as they are needed; close ends them, and what waits for them."""

    def __init__(self, hosts: Sequence[Host], wanted: Wanted) -> None:
        self._hosts = hosts
        self._wanted = wanted
        self._connections: dict[str, Connection] = {}

    def look(self, tell: Tell) -> list[State]:
        """Return the state of every host, in order."""
        return list(self._all(self._hosts, self._look, "looking at", tell))

    def carry_out(self, states: Sequence[State], tell: Tell) -> list[State]:
        """Do what each host lacks, and return its state after that; `tell` hears of every step."""
        todo = {state.host.name: state.todo for state in states}

        def work(host: Host) -> State:
            return self._carry_out(host, todo[host.name], tell)

        return list(self._all([state.host for state in states], work, "at work on", tell))

    def close(self) -> None:
        """Close the connections."""
        for made in list(self._connections.values()):
            made.close()

    def _look(self, host: Host) -> State:
        found = None
        log = node_logger("prepare", host.name)
        log.debug("connecting to %s", host.address)
        try:
            node = self._connection(host)
            found = tasks.look(node, host.python, self._wanted)
            return State(host, found, tuple(steps(found, self._wanted)))
        except Unable as error:
            return State(
                host, found, problem=str(error), other_python=isinstance(error, OtherPython)
            )
        except FAILURES as error:
            log.info("not connected: %s", error)
            return State(host, problem=f"cannot be reached: {why_not(host, error)}")

    def _carry_out(self, host: Host, todo: Sequence[Step], tell: Tell) -> State:
        try:
            for number, each in enumerate(todo, 1):
                tell(f"{host.name}: step {number} of {len(todo)}")
                node_logger("prepare", host.name).info("running %s", command_line(each.argv))
                tasks.step(self._connection(host), each.argv)
        except Unable as error:
            return State(host, problem=str(error))
        except FAILURES as error:
            return State(host, problem=f"the connection broke: {why_not(host, error)}")
        state = self._look(host)
        if state.todo:
            left = " ".join(state.todo[0].argv)
            return State(host, state.found, problem=f"after all steps it still lacks: {left}")
        return state

    def _connection(self, host: Host) -> Connection:
        if host.name not in self._connections:
            self._connections[host.name] = connection(host)
        return self._connections[host.name]

    def _all(
        self, hosts: Sequence[Host], work: Callable[[Host], State], doing: str, tell: Tell
    ) -> Iterator[State]:
        """Yield what `work` makes of each host, in order; an interrupt ends the waiting."""
        pool = ThreadPoolExecutor(AT_ONCE)
        futures: dict[Future[State], str] = {pool.submit(work, host): host.name for host in hosts}
        try:
            waiting = set(futures)
            while waiting:
                done, waiting = wait(waiting, EVERY, FIRST_COMPLETED)
                if not done:
                    names = [futures[future] for future in futures if future in waiting]
                    tell(f"still {doing} {', '.join(names[:5])}{' …' if len(names) > 5 else ''}")
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            begun = [future for future in futures if not future.cancelled()]
            deadline = time.monotonic() + _END_TIMEOUT
            # Fabric opens a connection again that is closed as a command is about to begin.
            while wait(begun, 0.1).not_done and time.monotonic() < deadline:
                self.close()
            raise
        pool.shutdown()
        for future in futures:
            yield future.result()
