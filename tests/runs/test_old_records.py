"""Settings of runs that were written before they had a transport."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from orchestrator.remote.embedded.transport import EmbeddedTransport
from orchestrator.remote.ssh.transport import SshTransport
from orchestrator.remote.transports import restore
from orchestrator.runs.saved_run import SavedRun, load_run
from tests.runs.helpers import record_in


def written_with(root: Path, **settings: Any) -> SavedRun | None:
    """Return the run with these settings in its record in place of a transport."""
    record_in(root).close()
    path = root / "r" / "run.json"
    said = json.loads(path.read_text())
    del said["settings"]["transport"]
    path.write_text(json.dumps({**said, "settings": {**said["settings"], **settings}}))
    return load_run(path.parent)


def test_old_ssh_options_become_the_ssh_transport(tmp_path: Path) -> None:
    saved = written_with(tmp_path, connect_timeout=2.0, accept_new=True, embedded=None)
    assert saved is not None
    transport = restore(saved.settings.transport)
    assert isinstance(transport, SshTransport)
    assert (transport.timeout, transport.options.accept_new) == (2.0, True)


def test_old_embedded_nodes_become_the_local_transport(tmp_path: Path) -> None:
    embedded = {"count": 2, "root": "/there"}
    saved = written_with(tmp_path, connect_timeout=2.0, accept_new=False, embedded=embedded)
    assert saved is not None
    transport = restore(saved.settings.transport)
    assert isinstance(transport, EmbeddedTransport)
    assert transport.describe() == {**embedded, "timeout": 2.0}


def test_old_settings_without_options_use_ssh(tmp_path: Path) -> None:
    saved = written_with(tmp_path)
    assert saved is not None
    assert restore(saved.settings.transport).describe() == {"timeout": 10.0, "accept_new": False}


@pytest.mark.parametrize("embedded", [True, "text", [0], 7])
def test_record_with_invalid_embedded_nodes_is_no_run(tmp_path: Path, embedded: object) -> None:
    assert written_with(tmp_path, embedded=embedded) is None
