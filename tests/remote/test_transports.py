"""Transports, also those of installed packages, are found by name and restored from a run's record."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from orchestrator.errors import LaunchError, UsageError
from orchestrator.remote import transports
from orchestrator.remote.embedded.transport import EmbeddedTransport
from orchestrator.remote.ssh.transport import SshTransport
from orchestrator.remote.transports import SavedTransport, create, restore, saved
from tests.remote.plugin import install, install_shell

OWN = ["ssh", "openssh", "docker", "podman", "kubectl", "command", "srun"]


@pytest.fixture
def packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty folder of packages in Python's path; its imported modules are removed at the end."""
    folder = tmp_path / "packages"
    folder.mkdir()
    monkeypatch.syspath_prepend(folder)
    transports._plugins.cache_clear()
    before = set(sys.modules)
    yield folder
    for name in set(sys.modules) - before:
        if name.startswith("orch_"):
            del sys.modules[name]
    transports._plugins.cache_clear()


def test_create_without_a_name_returns_ssh() -> None:
    transport = create()
    assert isinstance(transport, SshTransport)
    assert (transport.timeout, transport.options.accept_new) == (10.0, False)


@pytest.mark.parametrize(
    "transport",
    [
        SshTransport(),
        SshTransport(2.5, accept_new=True, keepalive=3.0),
        EmbeddedTransport(2, "/there", 4.0),
    ],
)
def test_transport_is_restored_from_json_as_it_was_saved(
    transport: SshTransport | EmbeddedTransport,
) -> None:
    said = saved(transport)
    read = SavedTransport(said.name, json.loads(json.dumps(said.options)))
    again = restore(read)
    assert type(again) is type(transport)
    assert again.describe() == transport.describe()


def test_record_of_the_embedded_cluster_has_no_key() -> None:
    options = saved(EmbeddedTransport(2, "/there")).options
    assert options == {"count": 2, "root": "/there", "timeout": 10.0}


def test_installed_transport_is_listed_and_created(packages: Path) -> None:
    install_shell(packages, "detects_lost_link=False")
    assert transports.names() == [*OWN, "shell"]
    transport = create("shell", timeout=3.0)
    assert type(transport).__name__ == "ShellTransport"
    assert (transport.timeout, transport.capabilities.detects_lost_link) == (3.0, False)
    assert saved(transport) == SavedTransport("shell", {"timeout": 3.0})


def test_names_are_listed_without_importing_any(packages: Path) -> None:
    install(packages, "raise RuntimeError('imported')")
    assert transports.names() == [*OWN, "shell"]
    assert "orch_shell" not in sys.modules


@pytest.mark.parametrize(
    ("source", "why"),
    [
        ("import nowhere_to_be_found", "ModuleNotFoundError: No module named"),
        ("raise SystemError('old')", "SystemError: old"),
        ("", "AttributeError"),
        (
            "class ShellTransport: pass",
            "is not a subclass of Transport of orchestrator.remote.base",
        ),
    ],
)
def test_broken_plugin_is_reported_and_others_still_work(
    packages: Path, source: str, why: str
) -> None:
    install(packages, source)
    with pytest.raises(UsageError) as caught:
        create("shell")
    assert "transport 'shell' of orch_shell 1.5 is left out: " in str(caught.value)
    assert why in str(caught.value)
    assert create("ssh").name == "ssh"


def test_plugin_whose_name_differs_from_its_entry_point_is_refused(packages: Path) -> None:
    install_shell(packages)
    (packages / "orch_shell-1.5.dist-info/entry_points.txt").write_text(
        "[orch.transports]\nother = orch_shell:ShellTransport\n"
    )
    with pytest.raises(UsageError, match=r"transport 'other' of .* calls itself 'shell'"):
        create("other")


def test_plugin_with_the_name_of_a_built_in_transport_does_not_replace_it(packages: Path) -> None:
    install(packages, "raise RuntimeError('imported')", name="ssh")
    assert isinstance(create("ssh"), SshTransport)
    assert transports.names() == OWN


def test_unknown_name_is_reported_with_the_known_ones(packages: Path) -> None:
    install_shell(packages)
    with pytest.raises(UsageError, match="there is no transport 'shel'") as caught:
        create("shel")
    assert f"{', '.join(OWN)}, shell" in str(caught.value.remedy)


@pytest.mark.parametrize(
    ("name", "options", "why"),
    [
        ("ssh", {"accept": True}, "it has no option 'accept'; did you mean 'accept_new'"),
        ("ssh", {"timeout": "soon"}, "timeout is a number of seconds"),
        ("ssh", {"timeout": 10**400}, "timeout is a number of seconds"),
        ("ssh", {"timeout": float("nan")}, "timeout is a number of seconds"),
        ("ssh", {"timeout": True}, "timeout is a number of seconds"),
        ("ssh", {"accept_new": 1}, "accept_new is true or false"),
        ("ssh", {"keepalive": 0}, "keepalive is a number of seconds"),
        ("ssh", {"trust": "me"}, "trust is a pair of keys"),
        ("local", {"timeout": 1.0}, "its nodes are those of --local N"),
        ("local", {"count": 0, "root": "/there"}, "count is a number of nodes"),
        ("local", {"count": 2, "root": None}, "root a folder"),
        ("shell", {"accept_new": True}, "it has no option 'accept_new'; its options are timeout"),
    ],
)
def test_create_with_unknown_options_is_refused(
    packages: Path, name: str, options: dict[str, Any], why: str
) -> None:
    install_shell(packages)
    with pytest.raises(UsageError, match=f"transport {name}: .*{why}"):
        create(name, **options)


def test_restore_of_a_missing_transport_reports_it() -> None:
    with pytest.raises(LaunchError, match=r"cannot be reached: there is no transport 'shell'"):
        restore(SavedTransport("shell", {}))
