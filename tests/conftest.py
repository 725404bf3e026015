"""Fixtures for tests of several packages: labs of real hosts; markers of tests that may be skipped.

A test marked `lab` needs root and some system programs, one marked `torch` needs torch, and one marked
`slurm` Slurm and ORCH_SLURM=1. If these are missing, it is skipped with the reason; with
ORCH_REQUIRE=lab,torch,slurm it fails instead.

Such a test runs real daemons and processes, on a machine that may be busy: one that fails is run once more
if pytest-rerunfailures is installed, and listed at the end (docs/decisions/0033).

Properties are tested with the same forty examples each time; ORCH_FUZZ=1000 tries that many new ones.
"""

from __future__ import annotations

import faulthandler
import os
import signal
import sys
from collections.abc import Callable, Iterable, Iterator
from importlib.util import find_spec
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

sys.path.insert(0, str(Path(__file__).parent.parent / "scripts"))

from labkit import life, processes, slurm
from labkit.lab import Lab

from tests.homes import install
from tests.warm import Warm

# Hundreds of tests start Python: without bytecode, each would compile orch again.
sys.dont_write_bytecode = False
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

_TIMEOUT = 240.0
"""Seconds that each phase of a test may take without a marker `timeout(SECONDS)`."""

_FUZZ = int(os.environ.get("ORCH_FUZZ", "0"))
settings.register_profile(
    "orch", deadline=None, derandomize=not _FUZZ, max_examples=_FUZZ or 40, print_blob=True
)
settings.load_profile("orch")

# Namespaces that a process leaves when it ends; it stays in its PID namespace until it is reaped.
_KINDS = ("net", "mnt", "uts", "ipc")


def _no_torch() -> str | None:
    return None if find_spec("torch") else "torch is not installed: pip install '.[torch]'"


def _no_slurm() -> str | None:
    return slurm.missing() if os.environ.get("ORCH_SLURM") else "not asked for: ORCH_SLURM=1"


_MARKERS: dict[str, Callable[[], str | None]] = {
    "lab": life.missing, "torch": _no_torch, "slurm": _no_slurm,
}  # fmt: skip


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Start with the files that wait most; let marked tests that fail run once more.

    Not with --pdb, which stops at the failure.
    """
    slow = {item.path for item in items if _is_marked(item)}
    items.sort(key=lambda item: item.path not in slow)
    if not config.pluginmanager.hasplugin("rerunfailures") or config.getoption("usepdb"):
        return
    for item in items:
        if _is_marked(item):
            item.add_marker(pytest.mark.flaky(reruns=1))


def _is_marked(item: pytest.Item) -> bool:
    return any(item.get_closest_marker(marker) for marker in _MARKERS)


_stderr = -1
"""A descriptor of stderr that is not captured."""


def pytest_configure() -> None:
    """Keep stderr, and restore signals that the caller ignores, such as `nohup` and `&`.

    Ignored signals are inherited: a script in a test could not be interrupted.
    """
    global _stderr
    _stderr = os.dup(2)
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM):
        if signal.getsignal(number) is signal.SIG_IGN:
            default = signal.default_int_handler if number is signal.SIGINT else signal.SIG_DFL
            signal.signal(number, default)


@pytest.hookimpl(specname="pytest_runtest_setup", tryfirst=True)
def pytest_skip_or_fail(item: pytest.Item) -> None:
    """Skip a test that cannot run here, or fail it if it is required."""
    required = os.environ.get("ORCH_REQUIRE", "").replace(",", " ").split()
    for marker, why_not in _MARKERS.items():
        if item.get_closest_marker(marker) and (reason := why_not()):
            if marker in required:
                pytest.fail(f"{reason} (ORCH_REQUIRE has {marker})", pytrace=False)
            pytest.skip(reason)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> Iterator[None]:
    """Interrupt a setup that hangs."""
    yield from _interrupt(item)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_call(item: pytest.Item) -> Iterator[None]:
    """Interrupt a test that hangs."""
    yield from _interrupt(item)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_teardown(item: pytest.Item) -> Iterator[None]:
    """Interrupt a teardown that hangs."""
    yield from _interrupt(item)


def _interrupt(item: pytest.Item) -> Iterator[None]:
    """Interrupt a phase after its timeout, and every 30 seconds after that; in the end exit.

    Once is not enough: `Popen.__exit__` waits without a limit while the exception propagates. What cannot
    be interrupted shows the stacks of all threads.
    """
    if item.config.getoption("usepdb"):
        yield
        return
    marker = item.get_closest_marker("timeout")
    timeout = float(marker.args[0]) if marker else _TIMEOUT

    def fail(number: int, frame: object) -> None:
        pytest.fail(f"timeout after {timeout:g} s")

    before = signal.signal(signal.SIGALRM, fail)
    signal.setitimer(signal.ITIMER_REAL, timeout, 30)
    faulthandler.dump_traceback_later(2 * timeout + 300, exit=True, file=_stderr)
    try:
        return (yield)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
        faulthandler.cancel_dump_traceback_later()


class _Labs:
    """The labs of this test session, with unique names; remembered until the end."""

    def __init__(self) -> None:
        self._numbers = count()
        self._namespaces: dict[Path, set[str]] = {}
        self._threads_left: list[str] = []

    def up(self, n: int, **traps: Any) -> Lab:
        """Start a lab with this Python in its inventory; `traps` are those of `life.up`."""
        lab = life.up(n, f"test-{os.getpid()}-{next(self._numbers)}", **traps)
        self._namespaces[lab.dir] = _namespaces(lab.pids.values())
        return lab

    def down(self, lab: Lab) -> None:
        """Stop a lab, and look for threads in its namespaces: later, the kernel may reuse their ids."""
        life.down(lab.name)
        others = _namespaces(init.pid for init in processes.inits())
        threads = [int(path.name) for path in Path("/proc").glob("[0-9]*/task/[0-9]*")]
        inside = [t for t in threads if _namespaces([t]) & (self._namespaces[lab.dir] - others)]
        self._threads_left += [f"thread {thread} inside {lab.name}" for thread in inside]

    def left(self) -> list[str]:
        """Return what is left of labs that were stopped."""
        mounts = Path("/proc/self/mountinfo").read_text()
        return [
            *(
                f"process {init}"
                for init in processes.inits()
                if init.directory in self._namespaces
            ),
            *self._threads_left,
            *(f"mount at {place}" for place in self._namespaces if f" {place}" in mounts),
            *(f"directory {place}" for place in self._namespaces if place.exists()),
        ]


def _namespaces(pids: Iterable[int]) -> set[str]:
    found = {processes.namespace(pid, kind) for pid in pids for kind in _KINDS}
    return {namespace for namespace in found if namespace}


@pytest.fixture(scope="session")
def _labs() -> Iterator[_Labs]:
    labs = _Labs()
    yield labs
    assert labs.left() == []


@pytest.fixture(scope="session")
def warm() -> Iterator[Warm]:
    """A process that runs commands of orch on this machine quickly."""
    warm = Warm()
    yield warm
    warm.close()


@pytest.fixture(scope="session")
def used_home(tmp_path_factory: pytest.TempPathFactory, warm: Warm) -> Path:
    """A home in which a node has been installed: `copy_node` has others be like that."""
    home = tmp_path_factory.mktemp("used-home")
    install(home, warm)
    return home


@pytest.fixture(scope="session")
def lab3(_labs: _Labs) -> Iterator[Lab]:
    """Three hosts that share no files, resolve their own name to 127.0.1.1, and have the same docker0."""
    lab = _labs.up(3, own_name_loopback=True, decoy=True)
    yield lab
    _labs.down(lab)


@pytest.fixture
def make_lab(_labs: _Labs) -> Iterator[Callable[..., Lab]]:
    """A function `make_lab(n, **traps)` that starts a lab until the end of the test."""
    made: list[Lab] = []

    def make(n: int, **traps: Any) -> Lab:
        made.append(_labs.up(n, **traps))
        return made[-1]

    yield make
    for lab in made:
        _labs.down(lab)
