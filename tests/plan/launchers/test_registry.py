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
    name = "flux"
    help = "flux run"

    def processes(self, share, job):
        return (Process("launcher", ("flux run", job.script)),)


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
    install(installed, "orch-flux", registry.GROUP, {"flux": "plug_flux:LAUNCHER"}, plug_flux=CODE)
    assert registry.find("flux").help == "flux run"
    assert registry.names() == (*registry.BUILT_IN, "flux")
    assert [each.name for each in registry.all_launchers()] == [*registry.BUILT_IN, "flux"]
    assert registry.left_out() == ()
    with pytest.raises(UsageError, match="unknown launcher 'flix'") as caught:
        registry.find("flix")
    assert caught.value.remedy == (
        f"did you mean flux? There are {', '.join(registry.BUILT_IN)}, flux"
    )


def test_broken_plugin_is_left_out_and_others_work(installed: Path) -> None:
    install(
        installed,
        "odd",
        registry.GROUP,
        {"bad": "plug_bad:LAUNCHER", "direct": "plug_good:LAUNCHER", "flux": "plug_good:LAUNCHER"},
        plug_bad="import no_such_module",
        plug_good=CODE,
    )
    assert registry.left_out() == (
        "launcher 'bad' of odd 1.2 is left out: ModuleNotFoundError: No module named 'no_such_module'",
        "launcher 'direct' of odd 1.2 is left out: orch has one of that name itself",
    )
    assert registry.find("direct").help == "orch starts every rank"
    assert registry.find("flux").name == "flux"
    with pytest.raises(UsageError, match=r"launcher 'bad' of odd 1\.2 is left out: ModuleNotFound"):
        registry.find("bad")
