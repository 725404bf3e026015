"""`orch init`: an inventory is written once, whole, or not at all."""

from __future__ import annotations

from pathlib import Path

from orchestrator.inventory import load

from .orch import Orch


def test_what_is_written_loads_and_the_next_steps_are_told(tmp_path: Path, orch: Orch) -> None:
    done = orch("init", "--user", "ubuntu", "--python", "~/venv/bin/python", "node0", "gpu[01-04]")
    assert (done.returncode, done.stdout) == (0, "")
    assert "orch nodes\n" in done.stderr
    assert "orch launch --dry-run train.py\n" in done.stderr
    hosts = load(tmp_path / "hosts.yaml").hosts
    assert [host.name for host in hosts] == ["node0", "gpu01", "gpu02", "gpu03", "gpu04"]
    assert {(host.user, host.python) for host in hosts} == {("ubuntu", "~/venv/bin/python")}


def test_a_file_that_is_there_stays_unless_forced(tmp_path: Path, orch: Orch) -> None:
    file = tmp_path / "hosts.yaml"
    file.write_text("precious")
    done = orch("init", "node0")
    assert done.returncode == 2
    assert "hosts.yaml exists already" in done.stderr
    assert "--force" in done.stderr
    assert file.read_text() == "precious"
    assert orch("init", "--force", "node0").returncode == 0
    assert load(file).hosts[0].name == "node0"


def test_another_file_is_named_in_the_next_steps(tmp_path: Path, orch: Orch) -> None:
    done = orch("init", "-o", "my hosts.yaml", "node0")
    assert "orch nodes -i 'my hosts.yaml'\n" in done.stderr
    assert (tmp_path / "my hosts.yaml").is_file()


def test_a_dash_prints_it_and_writes_nothing(tmp_path: Path, orch: Orch) -> None:
    done = orch("init", "-o", "-", "gpu[01-04]")
    assert '  - "gpu[01-04]"\n' in done.stdout
    assert done.stderr == ""
    assert list(tmp_path.iterdir()) == []


def test_what_is_no_host_is_told_and_nothing_is_written(tmp_path: Path, orch: Orch) -> None:
    done = orch("init", "node0", "bad!host")
    assert done.returncode == 2
    assert "'bad!host'" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_missing_is_told(orch: Orch) -> None:
    done = orch("init", "-o", "none/hosts.yaml", "node0")
    assert done.returncode == 2
    assert "none/hosts.yaml: cannot be written: No such file or directory" in done.stderr
