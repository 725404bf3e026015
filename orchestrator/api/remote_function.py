"""Call a Python function on every rank: `run`, `submit` and the decorator `function`."""

from __future__ import annotations

import copy
import functools
import inspect
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Generic, ParamSpec, TypeVar, cast, overload

from orchestrator import events
from orchestrator.api import functions
from orchestrator.api.blocking import EventLoopThread
from orchestrator.api.job import FunctionCall, JobOptions, source_of_function
from orchestrator.api.job_handle import Job
from orchestrator.api.request import FunctionOptions
from orchestrator.api.results import Results
from orchestrator.api.run import OnEvent, Run
from orchestrator.calls import packing
from orchestrator.control.interrupts import Interrupts
from orchestrator.errors import UsageError
from orchestrator.logs.log_line import LogLine
from orchestrator.node.function_call import MARK
from orchestrator.plan.job import Function
from orchestrator.util.text import nearest

P = ParamSpec("P")
T = TypeVar("T")

_OPTIONS = FunctionOptions.__optional_keys__ - {"module", "no_python"}


def run(
    function: Callable[..., T],
    *args: Any,
    on_event: OnEvent | None = None,
    on_line: functions.OnLine | None = None,
    display: bool | None = None,
    trust: bool = False,
    **options: Any,
) -> Results[T]:
    """Call `function(*args)` on every rank and return what the ranks return, when all have returned.

    Keywords that are options of `launch` (`hosts`, `local`, `nproc`, `launcher`, `env` and so on) are
    options of the launch, and all others are passed to the function. If the function has a parameter with
    the name of an option, pass that with `functools.partial(function, timeout=3)`. `result_limit` is the
    maximum size of all results together ("8GB"; 0: no limit).

    Each line that a rank prints is printed here with its rank and node; `on_line` gets it instead, and
    `on_event` every event, both in the caller's thread. In a notebook the cell shows the run instead, as
    `launch` does, unless `display=False` or there is an `on_line`. Ctrl-C stops the run, and
    KeyboardInterrupt is raised when it has ended.

    Results travel in a format that cannot run code: numbers, text, containers, dataclasses, enums, dates,
    paths, numpy arrays, torch tensors and state dicts. Anything else makes the rank raise TypeError, unless
    the nodes are to be trusted with running code on this machine: `trust=True`.

    Raises the exception that the function raised on the rank which failed first, with that rank's
    traceback as its cause, RemoteError if its class is not known here, and RunFailed if a rank was killed,
    a node was lost, or the run was stopped; the `results` of the exception are those of the ranks that
    returned, its `others` the exceptions of other ranks. Raises UsageError for an invalid option and for a
    call that cannot be pickled, LaunchError if nothing could be started.
    """
    if options.pop("detach", False):
        raise UsageError("run() waits for the results", remedy="to return at once, use submit()")
    wanted = on_line is None if display is None else display
    with functions.shown_in_cell(on_event, wanted=wanted) as hear:
        is_shown = hear is not on_event
        emit = functions.listener(hear, on_line) if is_shown else _printer(on_event, on_line)
        started = _launch(function, args, options, emit, trust=trust)
    return started.results(trust=trust, on_event=on_event)


def submit(
    function: Callable[..., T],
    *args: Any,
    on_event: OnEvent | None = None,
    trust: bool = False,
    **options: Any,
) -> Job[T]:
    """Call `function(*args)` on every rank as `run` does, but return once the job runs.

    It is controlled in the background and outlives this process: `get_run(NAME).results()` has the results
    in any other process of this machine. Raises what `run` raises before the job runs.
    """
    options["detach"] = True
    return Job(_launch(function, args, options, on_event, trust=trust), trust=trust)


class RemoteFunction(Generic[P, T]):
    """A function with the options of its launch; made by the decorator `function`.

    A call is an ordinary call, in this process. `launch` calls it on every rank and returns the results,
    `submit` does and returns a `Job`: all their arguments are the function's.
    """

    def __init__(self, call: Callable[P, T], options: Mapping[str, Any]) -> None:
        functools.update_wrapper(self, call)
        self._call = call
        self._options = dict(options)

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> T:
        return self._call(*args, **kwargs)

    def launch(self, *args: P.args, **kwargs: P.kwargs) -> Results[T]:
        """Call it on every rank, as `run` does."""
        return run(functools.partial(self._call, *args, **kwargs), **self._options)

    def submit(self, *args: P.args, **kwargs: P.kwargs) -> Job[T]:
        """Call it on every rank, as `submit` does."""
        options = {k: v for k, v in self._options.items() if k not in ("on_line", "display")}
        return submit(functools.partial(self._call, *args, **kwargs), **options)

    def __reduce__(self) -> Any:
        return copy.copy, (self._call,)  # on a node there is no orch: the function alone goes there


@overload
def function(call: Callable[P, T], /) -> RemoteFunction[P, T]: ...
@overload
def function(**options: Any) -> Callable[[Callable[P, T]], RemoteFunction[P, T]]: ...
def function(call: Callable[..., Any] | None = None, /, **options: Any) -> Any:
    """Decorate a function with the options of its launch.

    `@orch.function(hosts="hosts.yaml", nproc=8)` above `def train(lr)`: then `train(0.1)` calls it here,
    `train.launch(0.1)` on every rank. The options are those of `run`. Raises TypeError for others.
    """
    _check_options(options)
    if call is not None:
        return RemoteFunction(call, options)
    return lambda call: RemoteFunction(call, options)


def _launch(
    function: Callable[..., Any],
    args: tuple[Any, ...],
    options: dict[str, Any],
    emit: OnEvent | None,
    *,
    trust: bool,
) -> Run:
    """Launch the call; return its run once that has ended, or with the option `detach` once it runs."""
    refuse_inside_a_rank()
    function = unwrapped(function)
    kwargs = _without_options(function, args, options)
    interrupts = Interrupts()
    with (
        _packed(function, args, kwargs, options, trust=trust) as call,
        EventLoopThread(emit) as loop,
    ):
        work = functions.start(
            packing.name_of(function),
            (),
            cast("FunctionOptions", options),
            loop.emit,
            interrupts,
            call,
        )
        return Run(loop.wait(work, lambda: interrupts.send(signal.SIGINT)))


@contextmanager
def _packed(
    function: Callable[..., Any],
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any],
    options: Mapping[str, Any],
    *,
    trust: bool,
) -> Iterator[FunctionCall]:
    """Pack the call into a folder of this user's, which is removed in the end."""
    source = source_of_function(cast("JobOptions", options))
    packed = packing.pack(function, args, kwargs, source=source, cwd=Path.cwd(), trust=trust)
    folder = Path(tempfile.mkdtemp(prefix="orch-call-"))
    try:
        packed.write(folder)
        yield FunctionCall(folder, packing.script_of(folder), Function(packed.python))
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _without_options(
    function: Callable[..., Any], args: tuple[Any, ...], options: dict[str, Any]
) -> dict[str, Any]:
    """Remove the keywords of the function from `options`, and return them. Raises TypeError, UsageError."""
    kwargs = {name: options.pop(name) for name in list(options) if name not in _OPTIONS}
    name = packing.name_of(function)
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):  # of some functions written in C
        return kwargs
    bound = function.keywords if isinstance(function, functools.partial) else {}
    kinds = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    for each in options.keys() & signature.parameters.keys() - bound.keys() - {"detach"}:
        if signature.parameters[each].kind in kinds:
            raise UsageError(
                f"{each}= is an option of the launch, and a parameter of {name}()",
                remedy=f"for the function: functools.partial({name}, {each}=...); for the launch as well, "
                "rename the parameter",
            )
    try:
        signature.bind(*args, **kwargs)
    except TypeError as error:
        near = next((found for each in kwargs if (found := nearest(each, _OPTIONS))), None)
        hint = f" (did you mean the option {near}=?)" if near else ""
        raise TypeError(f"{name}(): {error}{hint}") from None
    return kwargs


def _check_options(options: Mapping[str, Any]) -> None:
    allowed = _OPTIONS | {"trust", "on_line", "on_event", "display"}
    for name in options.keys() - allowed:
        near = nearest(name, allowed)
        raise TypeError(f"no option {name!r}" + (f"; did you mean {near!r}?" if near else ""))


def unwrapped(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return the function itself, if it is decorated."""
    while isinstance(function, RemoteFunction):
        function = function._call
    return function


def refuse_inside_a_rank() -> None:
    """Raise UsageError in a process that a run has started: a rank that launches would never end."""
    if MARK in os.environ or {"ORCH_RUN", "RANK"} <= os.environ.keys():
        raise UsageError(
            f"this process is a rank of run {os.environ.get('ORCH_RUN')}: it cannot launch another run",
            remedy='put what launches behind `if __name__ == "__main__":`, and where the file also runs as '
            'a script of ranks, behind `if "RANK" not in os.environ:`',
        )


def _printer(on_event: OnEvent | None, on_line: functions.OnLine | None) -> OnEvent | None:
    """Return a function that prints lines and warnings unless there is one for them."""

    def show(line: LogLine) -> None:
        sys.stdout.write(f"{line}\n")
        sys.stdout.flush()

    def warn(event: events.Event) -> None:
        if isinstance(event, events.Warned):
            sys.stderr.write(f"orch: {event.message}\n")

    return functions.listener(on_event or warn, on_line or show)
