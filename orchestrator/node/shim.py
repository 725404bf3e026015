"""Stand in for the interpreter of one rank, between the launcher and the script.

torchrun and `fabric run` start `$PYTHON_EXEC -u SCRIPT ARGS` for every rank. orch sets PYTHON_EXEC to
this shim: it points stdout and stderr at the files of the global rank, starts the real interpreter,
records how it ended, and ends the same way, so that the launcher sees what it would have seen.
"""

from __future__ import annotations

import os
import resource
import signal
import sys
import time
from typing import Any, Dict, List

from . import files, hook, oom

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
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o700)
    with os.fdopen(descriptor, "w", encoding="utf-8", errors="surrogateescape") as file:
        file.write('#!/bin/sh\nexec {} "$@"\n'.format(line))


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


def main(arguments: List[str]) -> None:
    """Run the interpreter with `arguments` as the rank that the environment names; do not return."""
    rank, local_rank = int(os.environ["RANK"]), int(os.environ["LOCAL_RANK"])
    restart = int(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0"))
    # orch's own attempts and the engine's restarts share one count: each has a folder of its own.
    attempt = int(os.environ.get("ORCH_ATTEMPT", "0")) + restart
    folder = os.path.join(os.environ["ORCH_DIR"], files.attempt_name(attempt))
    os.makedirs(folder, mode=0o700, exist_ok=True)
    base = os.path.join(folder, "rank-{:d}".format(rank))

    interpreter = os.environ["ORCH_PYTHON"]
    environment = {k: v for k, v in os.environ.items() if k not in ("PYTHON_EXEC", "ORCH_PYTHON")}
    environment["ORCH_ATTEMPT"] = str(attempt)
    hook.write_to(environment, base)
    output, error = files.open_log(base + ".out"), files.open_log(base + ".err")
    os.dup2(output, 1)
    os.dup2(error, 2)

    errors = error_file(environment, base)
    oom_kills = oom.Count()
    signal.pthread_sigmask(signal.SIG_BLOCK, _LEFT_TO_THE_RANK)
    pid = os.fork()
    if pid == 0:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _LEFT_TO_THE_RANK)
        signal.signal(
            signal.SIGPIPE, signal.SIG_DFL
        )  # Python ignores it; a rank starts without that
        try:
            os.execvpe(interpreter, [interpreter, *arguments], environment)
        except OSError as error_:
            os.write(2, "orch: cannot start {}: {}\n".format(interpreter, error_.strerror).encode())
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
    _, status = os.waitpid(pid, 0)
    record.update(exit_fields(status), ended=time.time(), oom_kills=oom_kills.since())
    files.try_to_write_json(base + ".json", record, patience=5.0)
    if record["signal"] is not None:
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # the rank's own core file is enough
        if record["signal"] != signal.SIGKILL:
            signal.signal(record["signal"], signal.SIG_DFL)  # the shim, or Python, ignores some
        os.kill(os.getpid(), record["signal"])
    os._exit(record["code"])
