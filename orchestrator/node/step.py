"""A step of Slurm ends with its process, and Slurm kills what that leaves: it must last as long as the run.

The process that Slurm has started remains, as the parent of the agent and of the supervisors that outlive
the agent, until none of them is left. What Slurm does to the step, it does to all of them.
"""

from __future__ import annotations

import os
import signal

from . import linux

_PASSED_OVER = (signal.SIGHUP, signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2)


def remain() -> None:
    """Fork; return in the child, and end this process, with the child's code, after all its descendants.

    When a job is cancelled or reaches its time limit, Slurm sends every process of a step SIGTERM, and
    SIGKILL some time later. The ranks use that time, and the agent reports how they end.
    """
    linux.become_subreaper()
    for number in _PASSED_OVER:  # by a handler: programs that are started do not inherit it
        signal.signal(number, lambda received, frame: None)
    child = os.fork()
    if child == 0:
        return
    null = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(null, descriptor)
    code = 0
    while True:
        try:
            ended, status = os.wait()
        except ChildProcessError:
            os._exit(code)
        if ended == child:
            code = os.WEXITSTATUS(status) if os.WIFEXITED(status) else 128 + os.WTERMSIG(status)
