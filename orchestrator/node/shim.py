"""Stand in for the interpreter of one rank, between the launcher and the script.

torchrun and `fabric run` start `$PYTHON_EXEC -u SCRIPT ARGS` for every rank. orch sets PYTHON_EXEC to
this shim: it has stdout and stderr written to the files of the global rank (`log_writer.py`), starts the
real interpreter, records how it ended, and ends the same way, so that the launcher sees what it would
have seen.

With `--no-python` torchrun starts `PROGRAM ARGS`. The supervisor puts this shim before them, and without
ORCH_PYTHON the shim starts its arguments as they are.
"""

from __future__ import annotations

import errno
import os
import re
import resource
import signal
import sys
import time
from typing import Any, Dict, List

from . import files, linux, oom, stack_hook
from .log_writer import Streams

# dash, where it is the wrapper's sh, hands on no variable that it cannot name itself.
_NAME_OF_SHELL = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_CARRIED = "ORCH_CARRIED_"  # and the bytes of the variable's name in hexadecimal digits

# What the launcher sends to the group of the rank reaches the rank itself; the shim outlives it.
_LEFT_TO_THE_RANK = (
    signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2,
)  # fmt: skip


def write_wrapper(path: str) -> None:
    """Write the executable that PYTHON_EXEC names: this interpreter running this shim."""
    import shlex

    line = " ".join(
        shlex.quote(word) for word in (sys.executable, "-IS", "-X", "utf8", sys.argv[0], "shim")
    )
    temporary = "{}.{}.tmp".format(path, os.getpid())
    descriptor = files.create(temporary, 0o700)
    with os.fdopen(descriptor, "w", encoding="utf-8", errors="surrogateescape") as file:
        file.write('#!/bin/sh\nexec {} "$@"\n'.format(line))
    files.replace(temporary, path)


def carry(environment: Dict[str, str]) -> None:
    """Add what `main` needs to give its rank variables that no shell has a name for, such as `a.b`."""
    for name in [name for name in environment if not _NAME_OF_SHELL.fullmatch(name)]:
        environment[_CARRIED + os.fsencode(name).hex()] = environment[name]


def _unpack(environment: Dict[str, str]) -> None:
    """Undo `carry`, and restore the variables that were lost on the way."""
    for name in [name for name in environment if name.startswith(_CARRIED)]:
        original = os.fsdecode(bytes.fromhex(name[len(_CARRIED) :]))
        environment[original] = environment.pop(name)


def why_not_started(program: str, error: OSError, cwd: str = ".") -> str:
    """Return why `program` could not be started in the folder `cwd`, in words that go after its name."""
    is_there = "/" in program and os.path.isfile(os.path.join(cwd, program))
    if error.errno == errno.ENOENT and is_there:
        return "the interpreter that its first line names is not there"
    return error.strerror or str(error)


def exit_fields(status: int) -> Dict[str, Any]:
    """Return the `code` and `signal` of a wait status; one of the two is None."""
    if os.WIFSIGNALED(status):
        return {"code": None, "signal": os.WTERMSIG(status)}
    return {"code": os.WEXITSTATUS(status), "signal": None}


def error_file(environment: Dict[str, str], base: str) -> str:
    """Have torch's `record` keep a rank's exception beside its logs, unless the environment says where.

    Returns where.
    """
    if not environment.get("TORCHELASTIC_ERROR_FILE"):
        environment["TORCHELASTIC_ERROR_FILE"] = base + ".error"
    return environment["TORCHELASTIC_ERROR_FILE"]


def _wait_for(rank: int, streams: Streams) -> int:
    """Return the wait status of the rank, while its log writer is started again whenever it is killed."""
    while True:
        pid, status = os.waitpid(-1, 0)
        if pid == rank:
            return status
        if pid == streams.pid:
            streams.has_ended(status)


def main(arguments: List[str]) -> None:
    """Run the interpreter with `arguments`, or a program that they are, as the rank that the environment
    names; do not return.
    """
    rank, local_rank = int(os.environ["RANK"]), int(os.environ["LOCAL_RANK"])
    restart = int(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0"))
    # orch's own attempts and the engine's restarts share one count: each has a folder of its own.
    attempt = int(os.environ.get("ORCH_ATTEMPT", "0")) + restart
    folder = os.path.join(os.environ["ORCH_DIR"], files.attempt_name(attempt))
    files.remake_folder(folder)
    base = os.path.join(folder, "rank-{:d}".format(rank))

    environment = dict(os.environ)
    environment.pop("PYTHON_EXEC", None)
    interpreter = environment.pop("ORCH_PYTHON", None)
    command = arguments if interpreter is None else [interpreter, *arguments]
    _unpack(environment)
    environment["ORCH_ATTEMPT"] = str(attempt)
    stack_hook.write_to(environment, base)
    streams = Streams(base)
    os.dup2(streams.stdout, 1)
    os.dup2(streams.stderr, 2)
    streams.close_writing()

    errors = error_file(environment, base)
    oom_kills = oom.Count()
    signal.pthread_sigmask(signal.SIG_BLOCK, _LEFT_TO_THE_RANK)
    shim = os.getpid()
    pid = os.fork()
    if pid == 0:
        # The launcher takes the end of the shim for the rank's. So it is, and the supervisor records it.
        linux.end_with(shim)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _LEFT_TO_THE_RANK)
        signal.signal(
            signal.SIGPIPE, signal.SIG_DFL
        )  # Python ignores it; a rank starts without that
        try:
            os.execvpe(command[0], command, environment)
        except OSError as error_:
            why = why_not_started(command[0], error_)
            os.write(2, "orch: cannot start {}: {}\n".format(command[0], why).encode())
            os._exit(127)
    for number in _LEFT_TO_THE_RANK:
        signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _LEFT_TO_THE_RANK)

    record: Dict[str, Any] = {
        "rank": rank, "local_rank": local_rank, "attempt": attempt, "pid": pid,
        "started": time.time(), "ended": None, "code": None, "signal": None,
        "world_size": int(os.environ.get("WORLD_SIZE", "0")), "error_file": errors,
    }  # fmt: skip
    files.try_to_write_json(base + ".json", record, patience=0.0)
    status = _wait_for(pid, streams)
    record.update(exit_fields(status), ended=time.time(), oom_kills=oom_kills.since())
    files.try_to_write_json(base + ".json", record, patience=5.0)
    if record["signal"] is not None:
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # the rank's own core file is enough
        if record["signal"] != signal.SIGKILL:
            signal.signal(record["signal"], signal.SIG_DFL)  # the shim, or Python, ignores some
        os.kill(os.getpid(), record["signal"])
    os._exit(record["code"])
