"""Words after SCRIPT go to the script; those that look like options of orch are a warning."""

from __future__ import annotations

from pathlib import Path

import pytest

from .orch import Orch

DRY = ("launch", "--local", "1", "--dry-run")


@pytest.fixture(autouse=True)
def script(tmp_path: Path) -> Path:
    script = tmp_path / "t.py"
    script.write_text("print('hello')\n")
    return script


def test_dry_run_after_the_script_is_refused(orch: Orch) -> None:
    done = orch("launch", "--local", "1", "t.py", "--lr", "1", "--dry-run")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("orch: --dry-run is after t.py")
    assert "orch launch --dry-run t.py" in done.stderr
    assert "orch launch -- t.py --dry-run" in done.stderr


def test_dry_run_of_the_script_itself_goes_to_the_script(orch: Orch, script: Path) -> None:
    assert orch(*DRY, "--", "t.py", "--dry-run").stdout.endswith("t.py --dry-run\n")
    script.write_text("parser.add_argument('--dry_run')\n")
    done = orch(*DRY, "t.py", "--dry-run")
    assert done.stdout.endswith("t.py --dry-run\n")
    assert "warning" not in done.stderr


def test_options_after_the_script_are_a_warning_of_one_line(orch: Orch) -> None:
    done = orch(*DRY, "t.py", "--nproc", "2", "-i", "hosts.yaml", "--help", "--lr=1", "--name=x")
    assert done.returncode == 0
    (warning,) = (line for line in done.stderr.splitlines() if "SCRIPT" in line)
    assert warning.startswith("orch: warning: --nproc, -i, --name after t.py go to the script; ")
    assert done.stdout.endswith("t.py --nproc 2 -i hosts.yaml --help --lr=1 --name=x\n")


@pytest.mark.parametrize("before", [["t.py"], ["--", "t.py"], ["t.py", "--"]], ids=" ".join)
def test_options_of_the_script_are_no_warning(orch: Orch, script: Path, before: list[str]) -> None:
    if before == ["t.py"]:
        script.write_text("add('--nproc', '-e')\n")
    done = orch(*DRY, *before, "--nproc", "2", "-e", "K=V")
    assert done.returncode == 0
    assert "warning" not in done.stderr


def test_program_is_shown_as_it_is_started(orch: Orch, tmp_path: Path) -> None:
    program = tmp_path / "run.sh"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    assert " --no-python -- ./run.sh -x\n" in orch(*DRY, "run.sh", "-x").stdout
    assert orch(*DRY, "--launcher", "direct", "run.sh", "-x").stdout.endswith(" ./run.sh -x\n")
    done = orch(*DRY, "--launcher", "fabric", "run.sh")
    assert (done.returncode, done.stdout) == (125, "")
    assert "`fabric run` runs a Python script, not a program: ./run.sh" in done.stderr


def test_program_that_starts_ranks_is_refused_under_a_launcher_that_does_too(
    orch: Orch, tmp_path: Path
) -> None:
    program = tmp_path / "run.sh"
    program.write_text("#!/bin/sh\ntorchrun --standalone t.py\n")
    program.chmod(0o755)
    done = orch(*DRY, "run.sh")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("orch: run.sh:2 runs torchrun, which starts ranks itself")
    assert orch(*DRY, "--launcher", "python", "run.sh").returncode == 0
    assert orch(*DRY, "--preflight", "off", "run.sh").returncode == 0


def test_options_of_another_launcher_are_no_warning(orch: Orch) -> None:
    done = orch("launch", "mpirun", "-H", "a:2,b:2", "--nodes", "2", "python", "t.py")
    assert done.returncode == 2
    assert "warning" not in done.stderr
    assert "→ type: orch launch -H a:2,b:2 t.py\n" in done.stderr
