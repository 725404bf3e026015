"""Have the Python processes of a run ready to say where they are, for when somebody asks (`stacks.py`).

A `sitecustomize` on PYTHONPATH, in the run's folder, registers faulthandler on a signal that nobody uses,
takes itself off sys.path, and imports whatever `sitecustomize` there is besides. So it works under every
launcher and in what a rank starts; a fork has the handler anyhow. An interpreter that takes no notice of
PYTHONPATH (-I, -E) or has no `site` (-S) runs without, as does a job with ORCH_STACKS=0.

Who has it is known from the process itself, never from a record: it holds the file open to which its
stacks go (closed by exec, as the handler is), and its signal mask says that it catches the signal.
"""

from __future__ import annotations

import os
from typing import Dict

from . import files

SIGNAL = 41
"""SIGRTMIN+7 of glibc. SIGUSR1 and 2 belong to Slurm, Lightning and profilers; the first real-time signals
to the C library and to runtimes of other languages; the last to debuggers."""

_OFF = "0"
# It must be Python for any version, and leave no name behind. `os` is there already; `faulthandler` is
# built in. What goes wrong here is no reason for a script not to run.
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
    path = os.path.join(folder, "sitecustomize.py")
    temporary = "{}.{}.tmp".format(path, os.getpid())
    with os.fdopen(files.create(temporary), "w", encoding="ascii") as file:
        file.write(_HOOK.format(signal=SIGNAL))
    files.replace(temporary, path)


def hook_into(environment: Dict[str, str], directory: str, base: str) -> None:
    """Let a Python that starts with `environment` have the hook; its stacks go to `base`.stacks."""
    if environment.get("ORCH_STACKS") == _OFF or os.pathsep in directory:
        return
    before = environment.get("PYTHONPATH", "")
    environment["PYTHONPATH"] = _folder(directory) + (os.pathsep + before if before else "")
    write_to(environment, base)


def write_to(environment: Dict[str, str], base: str) -> None:
    """Let the stacks of a Python that has the hook go to `base`.stacks."""
    if environment.get("ORCH_STACKS") != _OFF:
        environment["ORCH_STACKS"] = stacks_path(base)


def stacks_path(base: str) -> str:
    """Return where the stacks go of the process whose files begin with `base`."""
    return base + ".stacks"


def _folder(directory: str) -> str:
    return os.path.join(directory, "hook")
