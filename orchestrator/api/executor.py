"""Many calls of functions on the hosts of an inventory, each on one GPU or one node: `Executor`."""

from __future__ import annotations

import asyncio
import concurrent.futures
import signal
import tempfile
import threading
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, ParamSpec, TypeVar, cast

from orchestrator import events
from orchestrator.api import functions
from orchestrator.api.blocking import call
from orchestrator.api.hosts import HostOptions, Hosts, open_hosts
from orchestrator.api.job import FunctionCall, JobOptions, source_of_function
from orchestrator.api.remote_function import refuse_inside_a_rank, unwrapped
from orchestrator.api.request import FunctionOptions
from orchestrator.api.run import AsyncRun, Run, ignore
from orchestrator.api.values import check_names
from orchestrator.calls import packing
from orchestrator.control.interrupts import Interrupts
from orchestrator.errors import ConnectError, UsageError
from orchestrator.pipeline.connect import connect_all
from orchestrator.plan.devices import devices_of, gpu_indices
from orchestrator.plan.job import Function, Job
from orchestrator.remote.fleet import Fleet
from orchestrator.runs.folder import runs_folder
from orchestrator.util.log import logger

P = ParamSpec("P")
T = TypeVar("T")

_log = logger("executor")

_OWN_OPTIONS = ("nproc", "include", "detach", "wait", "elastic", "slurm", "module", "no_python")


class CallFuture(concurrent.futures.Future[T]):
    """The future of one call; `run` is its run once that has a name, None before."""

    run: Run | None = None


@dataclass(frozen=True)
class Slot:
    """Where one call at a time runs: `name` for people, and the options that select it."""

    name: str
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(eq=False)
class _Call:
    """A call, and its requests to stop. `has_started`: it has run, on a node that could not be reached."""

    future: CallFuture[Any]
    packed: packing.PackedCall
    interrupts: Interrupts = field(default_factory=Interrupts)
    has_started: bool = False


class Executor(concurrent.futures.Executor):
    """Calls functions on the hosts of an inventory, one call for each GPU (or node) at a time.

    `submit` and `map` are those of `concurrent.futures`: each call gets a `Future`, waits until a GPU is
    free, and is a run of one rank, whose value is the result. A call that fails raises what `run` raises,
    and the others continue. `per="node"` gives each call a whole node. A node that cannot be reached is
    used no more, and its call runs on another one.

    `hosts` and the other keywords are the options of `run` for each call; the main port is `"auto"`. GPUs
    are those of the inventory (`devices`), which are asked for unless it has their number. A host without
    GPUs takes one call at a time, or as many as its `devices` says.

    As a context manager, it waits for all calls in the end. Ctrl-C cancels the waiting calls and stops
    those that run. Raises UsageError for invalid options, ConnectError if GPUs are asked for and a host
    cannot be reached.
    """

    def __init__(
        self,
        hosts: Hosts | None = None,
        *,
        per: Literal["gpu", "node"] = "gpu",
        trust: bool = False,
        **options: Any,
    ) -> None:
        refuse_inside_a_rank()
        if per not in ("gpu", "node"):
            raise UsageError(f"per={per!r}: expected 'gpu' or 'node'")
        for name in _OWN_OPTIONS:
            if name in options:
                raise UsageError(f"{name}= is no option of an Executor: each call has one rank")
        if hosts is not None:
            options["hosts"] = hosts
        check_names("Executor", options, FunctionOptions)
        self._options = {"main_port": "auto", "launcher": "direct", **options}
        self._trust = trust
        where = {name: options[name] for name in HostOptions.__annotations__ if name in options}
        slots = call(lambda emit: _find_slots(cast("HostOptions", where), per))
        self._free = deque(slots)
        for name in ("nodes", "exclude"):  # they have been selected
            self._options.pop(name, None)
        self._slots = len(self._free)
        self._waiting: deque[_Call] = deque()
        self._running: set[_Call] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._is_closed = False
        self._lock = threading.Lock()
        self._loop = asyncio.new_event_loop()
        self._closing = asyncio.Event()
        self._idle = threading.Condition(self._lock)
        self._thread = threading.Thread(target=self._serve, name="orch executor", daemon=True)
        self._thread.start()

    @property
    def slots(self) -> int:
        """How many calls can run at the same time."""
        return self._slots

    def submit(
        self, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs
    ) -> CallFuture[T]:
        """Call `function(*args, **kwargs)` once a GPU (or node) is free.

        The call is pickled at once. Raises UsageError if that fails, RuntimeError after `shutdown`.
        """
        packed = packing.pack(
            unwrapped(function),
            args,
            kwargs,
            source=source_of_function(cast("JobOptions", self._options)),
            cwd=Path.cwd(),
            trust=self._trust,
        )
        future: CallFuture[T] = CallFuture()
        with self._lock:
            if self._is_closed:
                raise RuntimeError("cannot schedule new futures after shutdown")
            self._waiting.append(_Call(future, packed))
        self._in_loop(self._start_waiting)
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Take no more calls. With `wait`, return when all have ended; `cancel_futures` cancels those that
        have not started.

        Ctrl-C meanwhile cancels the waiting calls, stops the running ones, and is raised when they ended.
        """
        with self._lock:
            self._is_closed = True
        if cancel_futures:
            self._cancel_waiting()
        if not wait:
            self._in_loop(self._close_if_done)
            return
        interrupt: KeyboardInterrupt | None = None
        while True:
            try:
                with self._idle:
                    self._idle.wait_for(lambda: not self._waiting and not self._running)
                break
            except KeyboardInterrupt as error:
                interrupt = error
                self._stop()
        self._in_loop(self._close_if_done)
        self._thread.join()
        if interrupt is not None:
            raise interrupt

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if kind is not None and issubclass(kind, KeyboardInterrupt):
            self._stop()
        self.shutdown()

    def __repr__(self) -> str:
        with self._lock:
            counts = f"{len(self._running)} running, {len(self._waiting)} waiting"
            return f"Executor({self._slots} slots, {counts})"

    # -- called in any thread ------------------------------------------------------------------

    def _stop(self) -> None:
        """Cancel what waits, and stop what runs; the second time, kill it."""
        self._cancel_waiting()
        self._in_loop(self._interrupt)

    def _in_loop(self, callback: Callable[[], None]) -> None:
        """Call it in the loop, unless that has ended: all calls have, after `shutdown`."""
        with suppress(RuntimeError):
            self._loop.call_soon_threadsafe(callback)

    def _cancel_waiting(self) -> None:
        with self._idle:
            waiting = list(self._waiting)
            self._waiting.clear()
            self._idle.notify_all()
        for each in waiting:
            if each.has_started:
                each.future.set_exception(concurrent.futures.CancelledError())
            else:
                each.future.cancel()
                each.future.set_running_or_notify_cancel()

    # -- called in the loop --------------------------------------------------------------------

    def _serve(self) -> None:
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            runner.run(self._closing.wait())

    def _close_if_done(self) -> None:
        """End the loop after `shutdown`, once all calls have ended."""
        if self._is_closed and not self._waiting and not self._running:
            self._closing.set()

    def _interrupt(self) -> None:
        for each in self._running:
            each.interrupts.send(signal.SIGINT)

    def _start_waiting(self) -> None:
        while self._free:
            with self._idle:
                if not self._waiting:
                    return
                each = self._waiting.popleft()
                if not (each.has_started or each.future.set_running_or_notify_cancel()):
                    self._idle.notify_all()
                    continue
                each.has_started = True
                self._running.add(each)
            task = self._loop.create_task(self._run(each, self._free.popleft()))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _run(self, each: _Call, slot: Slot) -> None:
        """Run a call, and give the slot back; one that cannot be reached is used no more."""
        unreachable: ConnectError | None = None
        try:
            value = await self._value(each, slot)
        except ConnectError as error:
            unreachable = error
        except BaseException as error:
            each.future.set_exception(error)
            if not isinstance(error, Exception):
                raise
        else:
            each.future.set_result(value)
        with self._idle:
            self._running.remove(each)
            if unreachable is None:
                self._free.append(slot)
            else:
                self._slots -= 1
                self._waiting.appendleft(each)
        if unreachable is not None:
            _log.warning("%s is used no more: %s", slot.name, unreachable)
            if self._slots == 0:
                self._fail_waiting(unreachable)
        with self._idle:
            self._idle.notify_all()
        self._start_waiting()
        self._close_if_done()

    def _fail_waiting(self, error: ConnectError) -> None:
        """Fail all calls that wait: no node is left."""
        with self._idle:
            waiting = list(self._waiting)
            self._waiting.clear()
        for each in waiting:
            if each.has_started or each.future.set_running_or_notify_cancel():
                each.future.set_exception(error)

    async def _value(self, each: _Call, slot: Slot) -> Any:
        """Run a call in a slot, and return what it returns."""
        future = each.future

        def hear(event: events.Event) -> None:
            if isinstance(event, events.Planned):
                future.run = Run(runs_folder() / event.plan.run)
            elif isinstance(event, events.Warned):
                _log.warning("%s: %s", slot.name, event.message)

        with tempfile.TemporaryDirectory(prefix="orch-call-") as name:
            folder = Path(name)
            await asyncio.to_thread(each.packed.write, folder)
            run = await functions.start(
                each.packed.name,
                (),
                cast("FunctionOptions", {**self._options, **slot.options}),
                hear,
                each.interrupts,
                FunctionCall(folder, packing.script_of(folder), Function(each.packed.python)),
            )
        results = await AsyncRun(run).results(trust=self._trust, on_event=hear)
        return results[0]


async def _find_slots(options: HostOptions, per: str) -> list[Slot]:
    """Return where calls run: on each node, or on each GPU, those of one node not side by side."""
    async with open_hosts(options) as (inventory, transport):
        local = options.get("local")
        base: dict[str, Any] = {"hosts": inventory} if local is None else {"local": local}
        whole = [
            Slot(host.name, {**base, "nodes": host.name, "nproc": 1}) for host in inventory.hosts
        ]
        if per == "node":
            return whole
        fleet = Fleet(inventory.hosts, transport)
        try:
            facts = await connect_all(fleet, ignore)
        finally:
            await fleet.close()
    slots = []
    for number, (host, fact) in enumerate(zip(inventory.hosts, facts, strict=True)):
        count = devices_of(host, fact, Job("")).ranks
        gpus = gpu_indices(host, fact, Job(""))[:count]
        slots += [
            (
                at,
                number,
                Slot(f"GPU {gpu} of {host.name}", {**base, "include": f"{host.name}:{gpu}"}),
            )
            for at, gpu in enumerate(gpus)
        ]
        if not gpus:
            slots += [(at, number, whole[number]) for at in range(count)]
    return [slot for _, _, slot in sorted(slots, key=lambda each: each[:2])]
