"""A hook in the Python processes of a run that writes their stacks on a signal (see `stacks.py`).

A `sitecustomize` on PYTHONPATH, in the run's folder, registers faulthandler on an unused signal, takes
itself off sys.path, and imports any other `sitecustomize`. So it works under every launcher and in what a
rank starts; a fork inherits the handler. An interpreter that ignores PYTHONPATH (-I, -E) or has no `site`
(-S) runs without it, as does a job with ORCH_STACKS=0.

Whether a process has it is known from the process itself, never from a record: it has the file for its
stacks open (closed by exec, as the handler is), and its signal mask shows that it catches the signal.
"""

from __future__ import annotations

import os
from typing import Dict

from . import files

SIGNAL = 41
"""SIGRTMIN+7 of glibc. SIGUSR1 and 2 belong to Slurm, Lightning and profilers, the first real-time signals
to the C library and to runtimes of other languages, and the last to debuggers."""

_OFF = "0"
# It must be Python for any version, and leave no name behind. `os` is imported already; `faulthandler` is
# built in. An error here must not keep a script from running.
_HOOK = '''\
"""Put here by orch, for `orch stacks`; it takes itself off sys.path."""
import sys

sys.path[:] = [path for path in sys.path if path != __file__.rpartition("/")[0]]
try:
    import faulthandler
    import os

    if os.environ.get("ORCH_STACKS", "").startswith("/"):
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NONBLOCK | os.O_NOFOLLOW
        file = os.open(os.environ["ORCH_STACKS"], flags, 0o600)
        try:
            faulthandler.register({signal:d}, file=file, all_threads=True)
        except BaseException:
            os.close(file)
            raise
except Exception:
    pass
del sys.modules["sitecustomize"]
import sitecustomize
'''


def put_hook(directory: str) -> None:
    """Write the hook into the run's folder. Raises OSError."""
    folder = _folder(directory)
    files.remake_folder(folder)
    hook = _HOOK.format(signal=SIGNAL).encode("ascii")
    files.replace_file(os.path.join(folder, "sitecustomize.py"), hook)


def hook_into(environment: Dict[str, str], directory: str, base: str) -> None:
    """Have a Python that starts with `environment` load the hook; its stacks go to `base`.stacks."""
    if environment.get("ORCH_STACKS") == _OFF or os.pathsep in directory:
        return
    before = environment.get("PYTHONPATH", "")
    environment["PYTHONPATH"] = _folder(directory) + (os.pathsep + before if before else "")
    write_to(environment, base)


def write_to(environment: Dict[str, str], base: str) -> None:
    """Have a Python with the hook write its stacks to `base`.stacks."""
    if environment.get("ORCH_STACKS") != _OFF:
        environment["ORCH_STACKS"] = stacks_path(base)


def stacks_path(base: str) -> str:
    """Return the file for the stacks of a process; `base` is the path of its files without an ending."""
    return base + ".stacks"


def _folder(directory: str) -> str:
    return os.path.join(directory, "hook")
