"""Settings of a run as JSON and back, and the silence timeout of its connections."""

from __future__ import annotations

import json

import pytest

from orchestrator.remote.ssh.transport import SshTransport
from orchestrator.remote.transports import SavedTransport
from orchestrator.runs.codec import decode, encode
from orchestrator.runs.options import Settings, with_silence_timeout

SETTINGS = Settings(
    script=("python", "train.py"),
    skews={"node0": 0.5},
    grace=1.0,
    node_timeout=0.0,
    lease=30.0,
    transport=SavedTransport("local", {"count": 2, "root": "/somewhere", "timeout": 2.0}),
)


@pytest.mark.parametrize("settings", [Settings(), SETTINGS])
def test_settings_survive(settings: Settings) -> None:
    assert decode(Settings, json.loads(json.dumps(encode(settings)))) == settings


def test_settings_are_encoded_as_one_flat_object() -> None:
    recorded = {"script": ["t.py"], "skews": {}, "grace": 7, "timeout": 60.0, "keep_going": True}
    settings = decode(Settings, {**recorded, "stall": None})
    assert settings == Settings(script=("t.py",), grace=7.0, timeout=60.0, keep_going=True)
    assert encode(settings).keys() >= recorded.keys()


@pytest.mark.parametrize(
    ("node_timeout", "keepalive"),
    [(60.0, 7.5), (600.0, 15.0), (12.0, 1.5), (0.1, 0.5), (0.0, 15.0)],
)
def test_silence_timeout_sets_the_keepalive_interval(node_timeout: float, keepalive: float) -> None:
    watching = with_silence_timeout(SshTransport(), node_timeout)
    assert isinstance(watching, SshTransport)
    assert watching.options.keepalive == keepalive


def test_shorter_keepalive_interval_is_kept() -> None:
    watching = with_silence_timeout(SshTransport(keepalive=0.5), 60.0)
    assert isinstance(watching, SshTransport)
    assert watching.options.keepalive == 0.5
