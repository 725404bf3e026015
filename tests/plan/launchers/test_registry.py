"""Launchers by name."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.errors import UsageError
from orchestrator.plan.launchers import registry
from tests.util.packages import install

CODE = """
from orchestrator.plan.launchers.base import Launcher, Process


class Mpi(Launcher):
    name = "mpi"
    help = "mpirun"

    def processes(self, share, job):
        return (Process("launcher", ("mpirun", job.script)),)


LAUNCHER = Mpi()
"""


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Return a folder for packages that the registry finds during the test."""
    monkeypatch.syspath_prepend(tmp_path)
    registry._plugins.cache_clear()
    yield tmp_path
    registry._plugins.cache_clear()


@pytest.mark.parametrize("name", registry.BUILT_IN)
def test_built_in_launcher_has_its_name(name: str) -> None:
    launcher = registry.find(name)
    assert launcher.name == name
    assert launcher.help.isprintable()


def test_plugin_is_found_and_listed_last(installed: Path) -> None:
    install(installed, "orch-mpi", registry.GROUP, {"mpi": "plug_mpi:LAUNCHER"}, plug_mpi=CODE)
    assert registry.find("mpi").help == "mpirun"
    assert registry.names() == (*registry.BUILT_IN, "mpi")
    assert [each.name for each in registry.all_launchers()] == [*registry.BUILT_IN, "mpi"]
    assert registry.left_out() == ()
    with pytest.raises(UsageError, match="unknown launcher 'mpj'") as caught:
        registry.find("mpj")
    assert caught.value.remedy == (
        f"did you mean mpi? There are {', '.join(registry.BUILT_IN)}, mpi"
    )


def test_broken_plugin_is_left_out_and_others_work(installed: Path) -> None:
    install(
        installed,
        "odd",
        registry.GROUP,
        {"bad": "plug_bad:LAUNCHER", "direct": "plug_good:LAUNCHER", "mpi": "plug_good:LAUNCHER"},
        plug_bad="import no_such_module",
        plug_good=CODE,
    )
    assert registry.left_out() == (
        "launcher 'bad' of odd 1.2 is left out: ModuleNotFoundError: No module named 'no_such_module'",
        "launcher 'direct' of odd 1.2 is left out: orch has one of that name itself",
    )
    assert registry.find("direct").help == "orch starts every rank"
    assert registry.find("mpi").name == "mpi"
    with pytest.raises(UsageError, match=r"launcher 'bad' of odd 1\.2 is left out: ModuleNotFound"):
        registry.find("bad")
