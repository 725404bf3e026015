"""Start the supervisor of a run as a daemon, detached from the process that starts it."""

from __future__ import annotations

import os
from typing import Any, Dict, List, Optional

from . import files, linux
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
                _detach(directory, keep=[writer, *keep])

                def report(problem: Optional[str]) -> bool:
                    text = b"ok" if problem is None else b"!" + problem.encode("utf-8", "replace")
                    try:
                        os.write(writer, text)
                    except BrokenPipeError:
                        return False  # the agent was killed in the meantime
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
    with os.fdopen(reader, "rb") as pipe:
        answer = pipe.read().decode("utf-8", "replace")
    if answer.startswith("!"):
        return answer[1:]
    log = os.path.join(directory, "supervisor.log")
    return None if answer == "ok" else "the supervisor died: see {}".format(log)


def _detach(directory: str, keep: List[int]) -> None:
    """Release everything that ties this process to the one that forked it."""
    null = os.open(os.devnull, os.O_RDONLY)
    log = files.open_log(os.path.join(directory, "supervisor.log"))
    os.dup2(null, 0)
    os.dup2(log, 1)
    os.dup2(log, 2)
    linux.close_descriptors(but=[0, 1, 2, *keep])
    os.chdir("/")
