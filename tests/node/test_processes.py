"""The processes of a run, found in a /proc that hides some of them."""

from __future__ import annotations

import builtins
import errno
import os
from collections.abc import Callable
from typing import Any

import pytest

from orchestrator.node import processes


@pytest.fixture
def failing_open(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Have open() of files in /proc/1 fail with an errno."""
    real = open

    def install(number: int) -> None:
        def fail(path: Any, *arguments: Any, **more: Any) -> Any:
            if str(path).startswith("/proc/1/"):
                raise OSError(number, os.strerror(number))
            return real(path, *arguments, **more)

        monkeypatch.setattr(builtins, "open", fail)

    return install


def test_all_live_leaves_out_processes_that_proc_hides(
    failing_open: Callable[[int], None],
) -> None:
    """As it hides those of other users if it is mounted with hidepid=1."""
    failing_open(errno.EPERM)
    pids = {process.pid for process in processes.all_live()}
    assert os.getpid() in pids and 1 not in pids
    assert processes.of_run("/no/such/run") == set()
    assert not processes.is_of_run(os.getpid(), "/no/such/run", 1 << 30)


def test_of_run_without_free_descriptors_is_an_error(failing_open: Callable[[int], None]) -> None:
    """No process may be taken for gone that is only not seen."""
    failing_open(errno.EMFILE)
    with pytest.raises(OSError, match="Too many open files"):
        processes.of_run("/no/such/run")
