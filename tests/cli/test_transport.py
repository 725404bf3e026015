"""`--transport`: a package that is installed beside orch brings commands to the nodes its own way."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from tests.remote.plugin import install, install_shell

from .orch import Orch

SCRIPT = "import os\nprint('rank', os.environ['RANK'], 'of', os.environ['WORLD_SIZE'])\n"


def lines_of(shown: str) -> list[str]:
    """What the ranks printed, line by line, in order of the text."""
    return sorted(line.partition("│ ")[2] for line in shown.splitlines())


@pytest.fixture
def packages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("packages")


@pytest.fixture
def hosts(tmp_path: Path) -> Path:
    """An inventory of one host, which is this machine, with the script in its working folder."""
    work = tmp_path / "work"
    work.mkdir()
    (work / "train.py").write_text(SCRIPT)
    path = tmp_path / "hosts.yaml"
    path.write_text(
        "defaults: {launcher: direct, devices: 2}\n"
        f"hosts: [{{name: a, address: 127.0.0.1, python: {sys.executable}, workdir: {work}}}]\n"
    )
    return path


def test_exec_runs_over_an_installed_transport(orch: Orch, packages: Path, hosts: Path) -> None:
    install_shell(packages)
    done = orch("exec", "--transport", "shell", "--", "sh", "-c", "echo $((20 + 1)); exit 3",
                PYTHONPATH=str(packages))  # fmt: skip
    assert (done.returncode, done.stdout) == (3, "a │ 21\n"), done.stderr


def test_launch_runs_over_an_installed_transport(orch: Orch, packages: Path, hosts: Path) -> None:
    install_shell(packages)
    done = orch("launch", "--transport", "shell", "--no-sync", "train.py",
                PYTHONPATH=str(packages))  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert lines_of(done.stdout) == ["rank 0 of 2", "rank 1 of 2"]


def test_run_in_the_background_is_reached_again_over_its_transport(
    orch: Orch, packages: Path, hosts: Path, tmp_path: Path
) -> None:
    install_shell(packages)
    (tmp_path / "work/train.py").write_text(
        f"{SCRIPT}import pathlib, time\n"
        f"while not pathlib.Path({str(tmp_path / 'go')!r}).exists(): time.sleep(0.02)\n"
    )
    words = ("launch", "--transport", "shell", "--no-sync", "--detach", "train.py")
    done = orch(*words, PYTHONPATH=str(packages))
    assert done.returncode == 0, done.stderr
    run = done.stdout.strip()
    record = tmp_path / ".local/state/orch/runs" / run / "run.json"
    assert json.loads(record.read_text())["settings"]["transport"] == {
        "name": "shell", "options": {"timeout": 10.0},
    }  # fmt: skip
    (tmp_path / "go").touch()
    attached = orch("attach", run, PYTHONPATH=str(packages))
    assert attached.returncode == 0, attached.stderr
    assert lines_of(attached.stdout) == ["rank 0 of 2", "rank 1 of 2"]


@pytest.mark.parametrize(
    ("cannot", "words", "why"),
    [
        (
            "outlives_controller=False",
            ("launch", "--no-sync", "--detach", "train.py"),
            "--detach: with transport shell a run ends with its controller",
        ),
        (
            "carries_rsync=False",
            ("launch", "--sync", "work", "work/train.py"),
            "cannot be copied to the nodes: transport shell does not carry rsync",
        ),
        (
            "many_sessions=False",
            ("launch", "--sync", "work", "work/train.py"),
            "cannot be copied to the nodes: transport shell has one session a node",
        ),
        (
            "carries_rsync=False",
            ("launch", "--no-sync", "--fetch", "*.pt", "train.py"),
            "--fetch: transport shell does not carry rsync",
        ),
        (
            "carries_rsync=False",
            ("preflight", "--level", "quick"),
            "no files can be copied to the nodes: transport shell does not carry rsync",
        ),
        (
            "detects_lost_link=False",
            ("exec", "--", "true"),
            "transport shell does not detect lost nodes",
        ),
        (
            "many_sessions=False",
            ("exec", "--in-workdir", "--", "true"),
            "--in-workdir: transport shell has one session a node",
        ),
        ("", ("ssh", "a"), "transport shell has no terminal for a shell"),
    ],
)
def test_missing_capability_of_a_transport_is_refused_with_the_reason(
    orch: Orch, packages: Path, hosts: Path, cannot: str, words: tuple[str, ...], why: str
) -> None:
    install_shell(packages, cannot)
    command, *rest = words
    done = orch(command, "--transport", "shell", *rest, PYTHONPATH=str(packages))
    assert done.returncode == 2, done.stderr
    assert why in done.stderr
    assert "→" in done.stderr


def test_launch_without_what_the_transport_cannot_do_runs(
    orch: Orch, packages: Path, hosts: Path
) -> None:
    cannot = "outlives_controller=False, many_sessions=False, carries_rsync=False, detects_lost_link=False"
    install_shell(packages, cannot)
    words = ("launch", "--transport", "shell", "--no-sync", "train.py")
    done = orch(*words, PYTHONPATH=str(packages))
    assert done.returncode == 0, done.stderr
    assert lines_of(done.stdout) == ["rank 0 of 2", "rank 1 of 2"]


def test_broken_transport_is_named_and_the_rest_of_orch_works(
    orch: Orch, packages: Path, hosts: Path
) -> None:
    install(packages, "import nowhere_to_be_found\n")
    done = orch("exec", "--transport", "shell", "--", "true", PYTHONPATH=str(packages))
    assert done.returncode == 2
    assert "transport 'shell' of orch_shell 1.5 is left out: ModuleNotFound" in done.stderr
    assert "nowhere_to_be_found" in done.stderr
    done = orch("exec", "--local", "1", "--", "echo", "here", PYTHONPATH=str(packages))
    assert (done.returncode, done.stdout) == (0, "local0 │ here\n"), done.stderr


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (("--transport", "nothing"), "there is no transport 'nothing'"),
        (("--transport", "local"), "transport local: its nodes are those of --local N"),
        (("--transport", "shell", "--local", "2"), "--local and --transport exclude each other"),
        (
            ("--transport", "shell", "--accept-new"),
            "transport shell: it has no option 'accept_new'",
        ),
    ],
)
def test_invalid_transport_is_a_usage_error(
    orch: Orch, packages: Path, hosts: Path, words: tuple[str, ...], why: str
) -> None:
    install_shell(packages)
    done = orch("nodes", *words, PYTHONPATH=str(packages))
    assert done.returncode == 2
    assert why in done.stderr


def test_transport_of_the_inventory_is_used(orch: Orch, packages: Path, hosts: Path) -> None:
    install_shell(packages)
    hosts.write_text(f"transport: {{shell: {{timeout: 3}}}}\n{hosts.read_text()}")
    done = orch("exec", "--", "echo", "here", PYTHONPATH=str(packages))
    assert (done.returncode, done.stdout) == (0, "a │ here\n"), done.stderr


def test_transport_of_the_command_line_replaces_that_of_the_inventory(
    orch: Orch, packages: Path, hosts: Path
) -> None:
    install_shell(packages)
    hosts.write_text(f"transport: {{nothing: {{timeout: 3}}}}\n{hosts.read_text()}")
    done = orch("exec", "--transport", "shell", "--", "echo", "here", PYTHONPATH=str(packages))
    assert (done.returncode, done.stdout) == (0, "a │ here\n"), done.stderr


@pytest.mark.parametrize(
    ("value", "words", "why"),
    [
        ("nothing", (), "hosts.yaml:1:12: there is no transport 'nothing'"),
        ("{shell: {tmeout: 1}}", (), "hosts.yaml:1:13: transport shell: it has no option 'tmeout'"),
        ("{shell: {timeout: 1}}", ("--accept-new",), "transport shell: it has no option 'accept_"),
        ("{shell: {timeout: x}}", ("--transport", "shell"), "hosts.yaml:1:13: transport shell: "),
    ],
)
def test_invalid_transport_of_the_inventory_is_refused(
    orch: Orch, packages: Path, hosts: Path, value: str, words: tuple[str, ...], why: str
) -> None:
    install_shell(packages)
    hosts.write_text(f"transport: {value}\n{hosts.read_text()}")
    done = orch("nodes", *words, PYTHONPATH=str(packages))
    assert done.returncode == 2
    assert f"orch: {why}" in done.stderr or f"error: {why}" in done.stderr, done.stderr


def test_prepare_refuses_an_inventory_with_another_transport_than_ssh(
    orch: Orch, hosts: Path
) -> None:
    hosts.write_text(f"transport: docker\n{hosts.read_text()}")
    done = orch("prepare")
    assert done.returncode == 2
    assert (
        "hosts.yaml:1:12: orch prepare installs over SSH, not with transport docker" in done.stderr
    )


def test_program_of_an_inventory_runs(orch: Orch, hosts: Path) -> None:
    hosts.write_text(f'transport: {{command: [sh, -c, "{{script}}"]}}\n{hosts.read_text()}')
    done = orch("exec", "--", "sh", "-c", "echo here; exit 3")
    assert (done.returncode, done.stdout) == (3, "a │ here\n"), done.stderr
    done = orch("launch", "--no-sync", "train.py")
    assert done.returncode == 0, done.stderr
    assert lines_of(done.stdout) == ["rank 0 of 2", "rank 1 of 2"]


def test_program_of_an_inventory_that_others_can_write_is_refused(
    orch: Orch, hosts: Path, tmp_path: Path
) -> None:
    ran = tmp_path / "ran"
    hosts.write_text(
        f'transport: {{command: [sh, -c, "touch {ran}; {{script}}"]}}\n{hosts.read_text()}'
    )
    hosts.chmod(0o666)
    done = orch("exec", "--", "true")
    assert done.returncode == 2
    assert (
        "its transport runs a program on this machine, and the file can be written by"
        in done.stderr
    )
    assert "chmod go-w" in done.stderr
    assert not ran.exists()


def test_command_without_a_program_is_refused(orch: Orch, hosts: Path) -> None:
    done = orch("nodes", "--transport", "command")
    assert done.returncode == 2
    assert "transport command: its command is missing; write it in the inventory" in done.stderr


def test_run_that_would_end_with_its_program_is_not_detached(orch: Orch, hosts: Path) -> None:
    command = '{command: {command: [sh, -c, "{script}"], outlives_controller: false}}'
    hosts.write_text(f"transport: {command}\n{hosts.read_text()}")
    done = orch("launch", "--no-sync", "--detach", "train.py")
    assert done.returncode == 2
    assert "--detach: with transport command a run ends with its controller" in done.stderr
