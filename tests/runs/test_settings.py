"""What is kept of how a run is minded."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.remote.ssh import ConnectOptions
from orchestrator.runs.settings import Embedded, Settings, watchful

SECONDS = st.floats(0, 1e6)


@given(
    st.builds(
        Settings,
        script=st.lists(st.text()).map(tuple),
        skews=st.dictionaries(st.text(), st.floats(-1e6, 1e6)),
        grace=SECONDS,
        node_timeout=SECONDS,
        lease=st.none() | SECONDS,
        connect_timeout=SECONDS,
        accept_new=st.booleans(),
        embedded=st.none() | st.builds(Embedded, st.integers(1, 64), st.just(Path("/here"))),
    )
)
def test_they_come_back_from_json(settings: Settings) -> None:
    assert Settings.parse(json.loads(json.dumps(settings.describe()))) == settings


@pytest.mark.parametrize(
    "described",
    [None, [], {"script": "words"}, {"embedded": 0}, {"embedded": {}}, {"lease": "3"}, {"x": 1}],
)
def test_what_are_no_settings_is_refused(described: object) -> None:
    with pytest.raises(ValueError, match="not a"):
        Settings.parse(described)


def test_a_run_with_a_short_node_timeout_is_probed_often_enough() -> None:
    options = ConnectOptions(keepalive=15.0)
    assert watchful(options, 0.0) == options  # no node is ever given up
    assert watchful(options, 600.0) == options
    assert watchful(options, 12.0).keepalive == 4.0
    assert watchful(options, 0.1).keepalive == 1.0
