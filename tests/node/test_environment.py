"""The limits of environment and arguments agree with those of the kernel."""

from __future__ import annotations

import errno
import json
import os
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from orchestrator.node.environment import fits, too_large, total_limit

from .conftest import AgentProcess

ONE = 32 * os.sysconf("SC_PAGE_SIZE")


def starts(environment: dict[str, str], argv: list[str]) -> bool:
    """Return whether the kernel accepts these."""
    try:
        subprocess.run(argv, env=environment, check=True)
    except OSError as error:
        assert error.errno == errno.E2BIG
        return False
    return True


@pytest.mark.parametrize("length", [ONE - 3, ONE - 2])
def test_too_large_agrees_with_the_kernel_on_the_longest_variable(length: int) -> None:
    environment = {"V": "x" * (length - 1)}  # with its name, = and NUL: two and one more
    found = too_large(environment, ["true"])
    assert (found is None) == starts(environment, ["/bin/true"])
    if found is not None:
        assert found == {"one": "V", "size": ONE + 1, "limit": ONE}


def test_too_large_of_too_long_argument_reports_it() -> None:
    argv = ["/bin/true", "x" * ONE]
    assert not starts({}, argv)
    assert too_large({}, argv) == {"one": None, "size": ONE + 1, "limit": ONE}


@pytest.mark.parametrize("over", [-40_000, 40_000])
def test_total_limit_agrees_with_the_kernel(over: int) -> None:
    each = 50_000
    count, rest = divmod(total_limit() + over, each + 20)
    environment = {f"VAR{n:07}": "x" * each for n in range(count)}
    environment["REST"] = "x" * max(0, rest - 20)
    found = too_large(environment, ["true"])
    assert (found is None) == starts(environment, ["/bin/true"]) == (over < 0)
    if found is not None:
        assert found["size"] > found["limit"] == total_limit()
        assert found["largest"][0] == ["VAR0000000", each + 12]


@pytest.mark.parametrize(
    ("stack", "limit"),
    [
        (8 << 20, 2 << 20),
        (64 << 10, 128 << 10),
        (resource.RLIM_INFINITY, 6 << 20),
        (1 << 30, 6 << 20),
    ],
)
def test_total_limit_depends_on_the_stack_limit(stack: int, limit: int) -> None:
    code = (
        "import resource, sys; from orchestrator.node.environment import total_limit\n"
        f"resource.setrlimit(resource.RLIMIT_STACK, ({stack}, resource.RLIM_INFINITY))\n"
        "print(total_limit())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert int(done.stdout) == limit


def test_fits_counts_variables_of_the_login(monkeypatch: pytest.MonkeyPatch) -> None:
    processes: list[dict[str, Any]] = [{"argv": ["true"], "env": {"MORE": "x"}}]
    assert fits({}, [], processes) is None
    for number in range(1 + total_limit() // 100_000):
        monkeypatch.setenv(f"LOGIN{number}", "x" * 100_000)
    found = fits({}, [], processes)
    assert found is not None
    assert found["size"] > found["limit"]


def test_fits_verb_of_too_long_variable_names_it(agent: AgentProcess) -> None:
    job = {"env": {"BIG": "x" * ONE}, "unset": [], "processes": [{"argv": ["true"], "env": {}}]}
    answer = agent.ask("fits", **job)["ok"]
    assert answer == {"one": "BIG", "size": ONE + 5, "limit": ONE}
    assert json.loads(json.dumps(answer)) == answer


def test_rank_below_launcher_starts_with_an_environment_that_fits(agent: AgentProcess) -> None:
    from .test_supervise import launcher

    each = 50_000
    environment = {f"VAR{n:07}": "x" * each for n in range((total_limit() - 60_000) // (each + 20))}
    argv = launcher(0, "-c", "print('up')")
    process = {"argv": argv, "env": {}}
    assert agent.ask("fits", env=environment, unset=[], processes=[process])["ok"] is None
    assert agent.start(argv, launcher=True, env=environment)["ok"] == {"problem": None}
    agent.follow()
    assert Path(agent.directory / "attempt-0/rank-0.out").read_bytes() == b"up\n"
