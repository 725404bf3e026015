"""What whoever minds a run must know of it: as JSON and back, and how closely it is minded."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from orchestrator.remote.ssh import ConnectOptions
from orchestrator.runs.settings import Embedded, Settings, watchful

SETTINGS = Settings(
    script=("python", "train.py"),
    skews={"node0": 0.5},
    grace=1.0,
    node_timeout=0.0,
    lease=30.0,
    connect_timeout=2.0,
    accept_new=True,
    embedded=Embedded(2, Path("/somewhere")),
)


@pytest.mark.parametrize("settings", [Settings(), SETTINGS])
def test_settings_are_read_as_they_were_written(settings: Settings) -> None:
    assert Settings.parse(json.loads(json.dumps(settings.describe()))) == settings


def test_settings_of_a_record_are_one_flat_object() -> None:
    recorded = {"script": ["t.py"], "skews": {}, "grace": 7, "timeout": 60.0, "keep_going": True}
    settings = Settings.parse({**recorded, "stall": None, "accept_new": True, "embedded": None})
    assert settings == Settings(
        script=("t.py",), grace=7.0, timeout=60.0, keep_going=True, accept_new=True
    )
    assert settings.describe().keys() >= recorded.keys()


@pytest.mark.parametrize(
    ("node_timeout", "keepalive"),
    [(60.0, 7.5), (600.0, 15.0), (12.0, 1.5), (0.1, 0.5), (0.0, 15.0)],
)
def test_connections_are_probed_as_closely_as_the_run_is_minded(
    node_timeout: float, keepalive: float
) -> None:
    assert watchful(ConnectOptions(), node_timeout).keepalive == keepalive


def test_probes_that_are_closer_already_stay() -> None:
    assert watchful(ConnectOptions(keepalive=0.5), 60.0).keepalive == 0.5
