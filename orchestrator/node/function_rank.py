"""What each rank of a function launch does: load the call, call the function, write what it returned.

It is sent to the folder of the run with `value_writer.py` and cloudpickle, in an archive, and imports
nothing of orch: on a node there may be none. The program there (`function_call.py`) runs `main` as the
script of the rank, and removes these modules from those that the function could import.
"""

import importlib
import json
import os
import pickle
import sys
import types
from typing import Any, Callable, Dict, List, Optional, Tuple

_ARCHIVE = os.path.dirname(os.path.abspath(__file__))
_value_writer: Any = None

_NESTED = (
    "this process is a rank of run {run}: it cannot launch another run. Put what launches behind "
    '`if __name__ == "__main__":`, and call the function itself where it runs as a rank'
)


def main(folder: str, namespace: Dict[str, Any]) -> None:
    """Call the function of `folder`; `namespace` is that of the program's `__main__`."""
    call = _Call(folder)
    try:
        function, args, kwargs = call.load(namespace)
        value = function(*args, **kwargs)
        if isinstance(value, types.CoroutineType):
            import asyncio

            value = asyncio.run(value)
        call.write(value)
    except Exception as error:
        _cut_own_frames(error)
        _write("raised", _description(error))
        sys.excepthook(type(error), error, error.__traceback__)  # as the interpreter would
        sys.exit(1)
    except BaseException as error:
        _cut_own_frames(error)
        _write("raised", _description(error))
        raise


def restore(folder: str, namespace: Dict[str, Any]) -> None:
    """Define in `namespace`, of a process that multiprocessing has spawned, what the call defines."""
    _Call(folder).load(namespace)


class _Call:
    """The call in `folder`."""

    def __init__(self, folder: str) -> None:
        self._folder = folder
        with open(os.path.join(folder, "call.json"), encoding="utf-8") as file:
            said = json.load(file)
        self._name: str = said["name"]
        self._python: Optional[str] = said["python_version"]
        self._path: List[str] = said["path"]
        self._sources: Dict[str, str] = said["sources"]
        self._trust: bool = said["trust"]
        self._cloudpickle: Any = None

    def load(self, namespace: Dict[str, Any]) -> Tuple[Callable[..., Any], Any, Any]:
        """Return the function and its arguments, and define what belongs to `__main__`."""
        here = "{:d}.{:d}".format(*sys.version_info)
        if self._python not in (None, here):
            sys.exit(
                "orch: the code of {}() was sent by Python {}, and this is Python {}: {}".format(
                    self._name, self._python, here, sys.executable
                )
            )
        sys.path[:] = [each for each in sys.path if os.path.abspath(each or ".") != self._folder]
        sys.path[:0] = [os.path.abspath(each) for each in self._path]
        sys.argv[:] = [self._name]
        sys.meta_path.append(_StandIn)
        import linecache

        for name, text in self._sources.items():  # for tracebacks: the file itself is not here
            if not os.path.exists(name):
                lines = text.splitlines(keepends=True)
                linecache.cache[name] = (len(text), None, lines, name)
        with open(os.path.join(self._folder, "call.pickle"), "rb") as file:
            function, args, kwargs = self._with_cloudpickle(lambda _: pickle.load(file))
        for each in (function, *args, *kwargs.values()):
            for name, value in _main_globals(each).items():
                namespace.setdefault(name, value)
        return function, args, kwargs

    def write(self, value: Any) -> None:
        """Write what the function returned. Raises TypeError for what cannot come back."""
        if self._trust:
            data = self._with_cloudpickle(lambda module: module.dumps(value))
            _write("pickled", data)
            return
        writer = _writer()
        try:
            _write("returned", value)
        except writer.CannotTravel as error:
            raise TypeError(writer.describe(error, self._name)) from None

    def _with_cloudpickle(self, use: Callable[[Any], Any]) -> Any:
        """Return what `use` returns, called with the cloudpickle that came with the call.

        The node may have another one, which the function finds afterwards.
        """
        ours = {} if self._cloudpickle is None else self._cloudpickle
        theirs = _take_modules("cloudpickle")
        sys.modules.update(ours)
        try:
            return use(_import("cloudpickle"))
        finally:
            self._cloudpickle = _take_modules("cloudpickle")
            sys.modules.update(theirs)


def _import(name: str) -> Any:
    """Import a module from the archive of this one."""
    sys.path.insert(0, _ARCHIVE)
    try:
        return importlib.import_module(name)
    finally:
        sys.path.remove(_ARCHIVE)


def _writer() -> Any:
    """Return the module that writes values; it is not needed before the function's first line."""
    global _value_writer
    if _value_writer is None:
        _value_writer = _import("value_writer")
        del sys.modules["value_writer"]
    return _value_writer


def _take_modules(package: str) -> Dict[str, types.ModuleType]:
    """Remove a package and its modules from those that are imported, and return them."""
    names = [name for name in sys.modules if name == package or name.startswith(package + ".")]
    return {name: sys.modules.pop(name) for name in names}


def _main_globals(value: Any) -> Dict[str, Any]:
    """Return the global names that code of the sender's `__main__` uses, which came with it."""
    while hasattr(value, "func") and hasattr(value, "keywords"):  # functools.partial
        value = value.func
    kind = value if isinstance(value, type) else type(value)
    found: Dict[str, Any] = {}
    functions = [value] if isinstance(value, types.FunctionType) else []
    if kind.__module__ == "__main__":
        found[kind.__name__] = kind
        functions += [each for each in vars(kind).values() if isinstance(each, types.FunctionType)]
    for function in functions:
        if function.__module__ == "__main__":
            found.update(function.__globals__)
            found.setdefault(function.__name__, function)
    return {name: each for name, each in found.items() if not name.startswith("__")}


def _write(kind: str, value: Any) -> None:
    """Write the file of this rank's result, all at once, for its owner only."""
    path = os.environ["ORCH_RESULT"]
    temporary = "{}.{:d}.tmp".format(path, os.getpid())
    descriptor = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            _writer().write(file, kind, value)
        os.rename(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise


def _description(error: BaseException) -> Dict[str, Any]:
    """Return an exception as plain types, for the controller."""
    import traceback

    kind = type(error)
    lines = traceback.format_exception(kind, error, error.__traceback__)
    return {
        "module": kind.__module__,
        "name": kind.__qualname__,
        "text": _text_of(error),
        "args": _plain(error.args),
        "state": _plain({k: v for k, v in vars(error).items() if k != "__notes__"}),
        "notes": [str(note) for note in getattr(error, "__notes__", ())],
        "traceback": "".join(lines)[-_MAX_TRACEBACK:],
    }


_MAX_TRACEBACK = 1 << 20  # characters


def _text_of(error: BaseException) -> str:
    try:
        return str(error)[:_MAX_TRACEBACK]
    except Exception as problem:
        return "(no text: {!r:.200})".format(problem)


def _plain(value: Any) -> Any:
    """Return a value if it can travel, else None."""
    import io

    try:
        _writer().write(io.BytesIO(), "returned", value)
    except (TypeError, ValueError, RecursionError):
        return None
    return value


def _cut_own_frames(error: BaseException) -> None:
    """Cut the frames of this program off the traceback, up to the first of the user's."""
    cut = error.__traceback__
    while cut is not None and cut.tb_frame.f_code.co_filename == main.__code__.co_filename:
        cut = cut.tb_next
    error.__traceback__ = cut


class _StandIn:
    """Finds a module `orchestrator` where there is none: the function's module may import it to launch."""

    @staticmethod
    def find_spec(name: str, path: Any = None, target: Any = None) -> Any:
        if name != "orchestrator":
            return None
        from importlib.util import spec_from_loader

        return spec_from_loader(name, _StandIn)  # type: ignore[arg-type]

    @staticmethod
    def create_module(spec: Any) -> Any:
        return None

    @staticmethod
    def exec_module(module: Any) -> None:
        """Give the module a decorator that changes nothing, and names that only fail when they are used."""

        class Unavailable(Exception):
            def __init__(self, *args: Any, **kwargs: Any) -> None:
                raise RuntimeError(_NESTED.format(run=os.environ.get("ORCH_RUN")))

        def function(*args: Any, **options: Any) -> Any:
            if args:
                args[0].launch = args[0].submit = Unavailable
                return args[0]
            return function

        def get(name: str) -> Any:
            if name.startswith("__"):
                raise AttributeError(name)
            return Unavailable

        module.function = function
        module.__getattr__ = get
