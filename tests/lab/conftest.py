"""What a test that fails leaves in the lab must not disturb the tests after it."""

from __future__ import annotations

import json
from collections.abc import Generator, Iterator

import pytest
from labkit.lab import Lab

from .orch import orch

_FAILED = pytest.StashKey[bool]()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Note whether the test itself failed."""
    report = yield
    if report.when == "call":
        item.stash[_FAILED] = report.failed
    return report


@pytest.fixture(autouse=True)
def _no_runs_of_a_failed_test(request: pytest.FixtureRequest) -> Iterator[None]:
    """Stop the runs that a failed test has left in the lab that tests share."""
    yield
    if not request.node.stash.get(_FAILED, False) or "lab3" not in request.fixturenames:
        return
    lab: Lab = request.getfixturevalue("lab3")
    listed = orch(lab, "runs", "--output", "json")
    for run in json.loads(listed.stdout) if listed.returncode == 0 else []:
        if run["state"] != "ended":
            orch(lab, "stop", run["run"])
