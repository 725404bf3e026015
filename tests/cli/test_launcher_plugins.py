"""A launcher of another package: one file of its own, and nothing of orch's is touched."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.plan.launchers.registry import GROUP
from tests.util.packages import install

from .orch import Orch

LAUNCHER = '''
"""Start every rank with nothing but its number."""

from orchestrator.plan.launchers.base import Launcher, Process


class Bare(Launcher):
    name = "bare"
    help = "ranks that know their number"

    def processes(self, share, job):
        return tuple(
            Process(
                f"rank-{rank}",
                job.rank_command(share.python),
                {"BARE_RANK": f"{rank} of {share.world_size}"},
                rank,
                rank - share.first_rank,
            )
            for rank in range(share.first_rank, share.first_rank + share.devices)
        )


LAUNCHER = Bare()
'''
RUN = ("launch", "--local", "2", "--nproc", "2", "--preflight", "off")


@pytest.fixture
def script(tmp_path: Path) -> Path:
    script = tmp_path / "t.py"
    script.write_text("import os\nprint('I am', os.environ.get('BARE_RANK', 'any'))\n")
    return script


@pytest.fixture
def packages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("packages")


def test_launcher_of_a_package_starts_the_ranks_and_its_run_is_read_without_it(
    orch: Orch, script: Path, packages: Path
) -> None:
    install(packages, "orch-bare", GROUP, {"bare": "orch_bare:LAUNCHER"}, orch_bare=LAUNCHER)
    more = {"PYTHONPATH": str(packages)}
    done = orch(*RUN, "--launcher", "bare", script, **more)
    assert (done.returncode, "left out" in done.stderr) == (0, False), done.stderr
    said = sorted(line.partition("│ ")[2] for line in done.stdout.splitlines())
    assert said == [f"I am {rank} of 4" for rank in range(4)]
    shown = orch(*RUN, "--dry-run", "--launcher", "bare", script, **more)
    assert "'BARE_RANK=3 of 4'" in shown.stdout
    assert "bare ranks that know their number" in " ".join(
        orch("launch", "--help", **more).stdout.split()
    )
    refused = orch(*RUN, "--launcher", "bare", "--launcher-arg=-x", script, **more)
    assert (refused.returncode, refused.stdout) == (2, "")

    status = orch("status")
    assert (status.returncode, "succeeded" in status.stdout) == (0, True)
    assert orch("logs", "--rank", "3", "--output", "raw").stdout == "I am 3 of 4\n"
    gone = orch(*RUN, "--launcher", "bare", script)
    assert gone.returncode == 2
    assert gone.stderr.startswith("orch: unknown launcher 'bare'\n")


def test_launcher_of_a_broken_package_is_named_and_nothing_else_changes(
    orch: Orch, script: Path, packages: Path
) -> None:
    install(
        packages,
        "odd",
        GROUP,
        {"bad": "odd_bad:LAUNCHER", "direct": "odd_bare:LAUNCHER"},
        odd_bad="import no_such_module",
        odd_bare=LAUNCHER,
    )
    more = {"PYTHONPATH": str(packages)}
    done = orch(*RUN, "--launcher", "direct", script, **more)
    assert (done.returncode, done.stdout.count("I am any")) == (0, 4), done.stderr
    assert done.stderr.count("is left out") == 2
    assert "launcher 'bad' of odd 1.2 is left out: ModuleNotFoundError" in done.stderr
    assert "launcher 'direct' of odd 1.2 is left out: orch has one of that name" in done.stderr
    asked = orch(*RUN, "--launcher", "bad", script, **more)
    assert (asked.returncode, asked.stdout) == (2, "")
    assert asked.stderr.startswith("orch: launcher 'bad' of odd 1.2 is left out: ModuleNotFound")
    assert orch("launch", "--help", **more).stdout == orch("launch", "--help").stdout
