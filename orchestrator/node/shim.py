"""Stand in for the interpreter of one rank, between the launcher and the script.

torchrun and `fabric run` start `$PYTHON_EXEC -u SCRIPT ARGS` for every rank. orch sets PYTHON_EXEC to this
shim: it directs stdout and stderr to the files of the global rank (`log_writer.py`), starts the real
interpreter, records how it ended, and ends the same way, so that the launcher sees what it would have seen.

With `--no-python` torchrun starts `PROGRAM ARGS`. The supervisor puts this shim before them, and without
ORCH_PYTHON the shim starts its arguments as they are.
"""

from __future__ import annotations

import errno
import os
import re
import resource
import shlex
import signal
import sys
import time
from typing import Any, Dict, List

from . import files, function_call, linux, stack_hook
from .log_writer import Streams
from .rank_setting import RankSetting

# If the wrapper's sh is dash, it drops the variables that no shell can name.
_SHELL_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_CARRIED = "ORCH_CARRIED_"  # and the bytes of the variable's name in hexadecimal digits


def write_wrapper(path: str) -> None:
    """Write the executable that PYTHON_EXEC names: this interpreter running this shim."""
    words = (sys.executable, "-IS", "-X", "utf8", sys.argv[0], "shim")
    script = '#!/bin/sh\nexec {} "$@"\n'.format(" ".join(map(shlex.quote, words)))
    files.replace_file(path, script.encode("utf-8", "surrogateescape"), 0o700)


def carry(environment: Dict[str, str]) -> None:
    """Encode the variables that no shell can name, such as `a.b`, for `main` to give them to its rank."""
    for name in [name for name in environment if not _SHELL_NAME.fullmatch(name)]:
        environment[_CARRIED + os.fsencode(name).hex()] = environment[name]


def _unpack(environment: Dict[str, str]) -> None:
    """Undo `carry`, and restore the variables that were dropped on the way."""
    for name in [name for name in environment if name.startswith(_CARRIED)]:
        original = os.fsdecode(bytes.fromhex(name[len(_CARRIED) :]))
        environment[original] = environment.pop(name)


def why_not_started(program: str, error: OSError, cwd: str = ".") -> str:
    """Return why `program` could not be started in the folder `cwd`, worded to follow its name."""
    exists = "/" in program and os.path.isfile(os.path.join(cwd, program))
    if error.errno == errno.ENOENT and exists:
        return "the interpreter that its first line names does not exist"
    return error.strerror or str(error)


def new_record(pid: int) -> Dict[str, Any]:
    """Return the record of a process that has just been started."""
    return {"pid": pid, "started": time.time(), "ended": None, "code": None, "signal": None}


def exit_fields(status: int) -> Dict[str, Any]:
    """Return the fields of a record for a process that has just ended with this wait status."""
    is_signal = os.WIFSIGNALED(status)
    return {
        "ended": time.time(),
        "code": None if is_signal else os.WEXITSTATUS(status),
        "signal": os.WTERMSIG(status) if is_signal else None,
    }


def error_file(environment: Dict[str, str], base: str) -> str:
    """Have torch's `record` keep a rank's exception beside its logs, unless the environment names a file.

    Returns the path of that file.
    """
    path = environment.get("TORCHELASTIC_ERROR_FILE") or base + ".error"
    environment["TORCHELASTIC_ERROR_FILE"] = path
    return path


def _wait_for(rank: int, streams: Streams) -> int:
    """Return the wait status of the rank; restart its log writer whenever that is killed."""
    while True:
        pid, status = os.waitpid(-1, 0)
        if pid == rank:
            return status
        if pid == streams.pid:
            streams.has_ended(status)


def main(arguments: List[str]) -> None:
    """Run the interpreter with `arguments`, or the program that they name, as the rank that the environment
    names; do not return.
    """
    rank, local_rank = int(os.environ["RANK"]), int(os.environ["LOCAL_RANK"])
    restart = int(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0"))
    # orch's own attempts and the engine's restarts share one count: each has a folder of its own.
    attempt = int(os.environ.get("ORCH_ATTEMPT", "0")) + restart
    folder = files.attempt_folder(os.environ["ORCH_DIR"], attempt)
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
    function_call.result_into(environment, base)
    setting = RankSetting()
    # What the launcher sends to the group of the rank reaches the rank itself; the shim outlives it.
    signal.pthread_sigmask(signal.SIG_BLOCK, linux.JOB_SIGNALS)
    shim = os.getpid()
    pid = os.fork()
    if pid == 0:
        # To the launcher, the end of the shim is the rank's. So that ends too; the supervisor records it.
        linux.end_with(shim)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, linux.JOB_SIGNALS)
        signal.signal(
            signal.SIGPIPE, signal.SIG_DFL
        )  # Python ignores it, and a rank must not inherit that
        try:
            os.execvpe(command[0], command, environment)
        except OSError as error:
            why = why_not_started(command[0], error)
            os.write(2, "orch: cannot start {}: {}\n".format(command[0], why).encode())
            os._exit(127)
    for number in linux.JOB_SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, linux.JOB_SIGNALS)

    record = new_record(pid)
    record.update(rank=rank, local_rank=local_rank, attempt=attempt, error_file=errors)
    record.update(setting.at_start())
    record["world_size"] = int(os.environ.get("WORLD_SIZE", "0"))
    files.try_to_write_json(base + ".json", record, timeout=0.0)
    status = _wait_for(pid, streams)
    record.update(exit_fields(status), **setting.at_end())
    files.try_to_write_json(base + ".json", record, timeout=5.0)
    if record["signal"] is not None:
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # the rank's own core file is enough
        if record["signal"] != signal.SIGKILL:
            signal.signal(record["signal"], signal.SIG_DFL)  # Python or the shim ignores some
        os.kill(os.getpid(), record["signal"])
    os._exit(record["code"])
