"""Turn a forked child into the supervisor of a run, tied to nothing that it came from."""

from __future__ import annotations

import os
from typing import Any, Dict, List, Optional

from . import files
from .supervise import Supervisor


def daemonise(spec: Dict[str, Any], keep: List[int]) -> Optional[str]:
    """Start a supervisor that outlives this process; return None, or why it could not start.

    Returns once the processes of `spec` are started. The descriptors `keep` stay open in it. The caller
    must have one thread only.
    """
    directory = files.run_directory(spec["run"], spec["node"])
    files.make_folder(directory)
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.close(reader)
            os.setsid()
            if os.fork() == 0:
                _cut_loose(directory, keep=[writer, *keep])

                def report(problem: Optional[str]) -> bool:
                    said = b"ok" if problem is None else b"!" + problem.encode("utf-8", "replace")
                    try:
                        os.write(writer, said)
                    except BrokenPipeError:
                        return False  # the agent was killed meanwhile
                    finally:
                        os.close(writer)
                    return True

                Supervisor(spec).main(report)
        except BaseException:
            import traceback

            traceback.print_exc()  # to supervisor.log, or to the agent's stderr before that
            os._exit(1)
        os._exit(0)
    os.close(writer)
    os.waitpid(child, 0)
    answer = b""
    with os.fdopen(reader, "rb") as pipe:
        answer = pipe.read()
    if answer == b"ok":
        return None
    if answer.startswith(b"!"):
        return answer[1:].decode("utf-8", "replace")
    return "the supervisor died: see {}".format(os.path.join(directory, "supervisor.log"))


def _cut_loose(directory: str, keep: List[int]) -> None:
    """Let go of everything that ties this process to the one it came from."""
    null = os.open(os.devnull, os.O_RDONLY)
    log = files.open_log(os.path.join(directory, "supervisor.log"))
    os.dup2(null, 0)
    os.dup2(log, 1)
    os.dup2(log, 2)
    for name in os.listdir("/proc/self/fd"):
        descriptor = int(name)
        if descriptor > 2 and descriptor not in keep:
            try:
                os.close(descriptor)
            except OSError:
                continue  # the descriptor of this very listing
    os.chdir("/")
