"""`-v`, `-vv` and `--log-file`: what orch does, on every command."""

from __future__ import annotations

import re
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from typer.main import get_command

from orchestrator.cli.app import app

from .fake_run import FakeRun
from .orch import Orch

LINE = re.compile(r"\d{4}-\d\d-\d\dT\S+ (DEBUG|INFO|WARNING) (orch\.\w+|asyncssh)(?: \S+)?: .+")
COMMANDS = sorted(get_command(app).commands)  # type: ignore[attr-defined]


@pytest.fixture
def silent_server() -> Iterator[int]:
    """The port of a server that takes connections and says nothing."""
    held: list[socket.socket] = []
    with socket.create_server(("127.0.0.1", 0)) as server:

        def accept() -> None:
            with suppress(OSError):
                while True:
                    held.append(server.accept()[0])

        thread = threading.Thread(target=accept)
        thread.start()
        yield server.getsockname()[1]
        server.shutdown(socket.SHUT_RDWR)
        thread.join()
        for each in held:
            each.close()


@pytest.fixture
def inventory(silent_server: int, tmp_path: Path) -> Path:
    path = tmp_path / "silent.yaml"
    path.write_text(f"hosts:\n- {{name: node1, address: 127.0.0.1, port: {silent_server}}}\n")
    return path


def nodes(orch: Orch, inventory: Path, *more: str) -> subprocess.CompletedProcess[str]:
    return orch("nodes", "-i", inventory, "--connect-timeout", "1", *more)


def test_handshake_that_hangs_is_logged_with_its_step(orch: Orch, inventory: Path) -> None:
    done = nodes(orch, inventory, "-vv")
    assert done.returncode == 125
    steps = [
        "orch.ssh node1: waiting for a TCP connection to 127.0.0.1 port ",
        "orch.ssh node1: TCP connection to 127.0.0.1 port ",
        "orch.ssh node1: waiting for the SSH greeting of 127.0.0.1 port ",
        "asyncssh node1: [conn=0] Sending version SSH-2.0-",
        "orch.ssh node1: not connected after 1.",
    ]
    places = [done.stderr.find(step) for step in steps]
    assert -1 not in places, done.stderr
    assert places == sorted(places)
    assert "waiting for authentication" not in done.stderr


def test_v_shows_outcomes_and_not_every_step(orch: Orch, inventory: Path) -> None:
    done = nodes(orch, inventory, "-v")
    assert "INFO orch.inventory: " in done.stderr
    assert "INFO orch.ssh node1: not connected after " in done.stderr
    assert "DEBUG" not in done.stderr
    assert "asyncssh" not in done.stderr


def test_nothing_is_logged_without_v(orch: Orch, inventory: Path) -> None:
    assert "orch.ssh" not in nodes(orch, inventory).stderr


def test_log_file_has_every_step_and_stderr_stays_as_it_is(
    orch: Orch, inventory: Path, tmp_path: Path
) -> None:
    log = tmp_path / "orch.log"
    done = nodes(orch, inventory, "--log-file", str(log))
    assert "orch.ssh" not in done.stderr
    lines = log.read_text().splitlines()
    assert [line for line in lines if not LINE.fullmatch(line)] == []
    assert any("waiting for the SSH greeting" in line for line in lines)
    assert log.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    "words",
    [
        ["-vv", "status"],
        ["status", "-vv"],
        ["-v", "status", "-v"],
        ["--verbose", "status", "--verbose", "latest"],
    ],
)
def test_log_options_may_be_before_and_after_the_command(
    orch: Orch, tmp_path: Path, words: list[str]
) -> None:
    FakeRun(tmp_path).end()
    done = orch("--log-file", tmp_path / "log", *words)
    assert done.returncode == 0, done.stderr
    assert "orch.runs: run " in done.stderr
    assert "orch.runs: run " in (tmp_path / "log").read_text()


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_both_log_options(name: str) -> None:
    command = get_command(app).commands[name]  # type: ignore[attr-defined]
    options = {option for parameter in command.params for option in parameter.opts}
    assert options >= {"-v", "--verbose", "--log-file"}


def test_log_file_that_cannot_be_written_is_an_error_at_once(orch: Orch, tmp_path: Path) -> None:
    done = orch("status", "--log-file", tmp_path / "none" / "log")
    assert done.returncode == 2
    assert done.stderr.startswith(f"orch: --log-file {tmp_path}/none/log: cannot be written: ")


def test_v_after_the_script_goes_to_the_script(orch: Orch, tmp_path: Path) -> None:
    (tmp_path / "t.py").write_text("import sys; print(sys.argv[1:])")
    done = orch(
        *("launch", "--local", "1", "--launcher", "direct", "--preflight", "off", "t.py", "-v"),
        *("--verbose",),
    )
    assert done.returncode == 0, done.stderr
    assert "['-v', '--verbose']" in done.stdout
    assert "warning" not in done.stderr
    assert "orch.ssh" not in done.stderr


def test_secrets_of_the_job_are_not_in_its_log(orch: Orch, tmp_path: Path) -> None:
    (tmp_path / "t.py").write_text("import os; raise SystemExit(os.environ['API_TOKEN'])")
    (tmp_path / "env").write_text("DATABASE=battery-staple\n")
    done = orch(
        *("launch", "-vv", "--log-file", tmp_path / "log", "--local", "2"),
        *("--launcher", "direct", "--preflight", "off", "--env", "API_TOKEN=correct-horse"),
        *("--env-file", tmp_path / "env", "t.py", "--password", "open-sesame"),
    )
    assert done.returncode == 1, done.stderr
    for log in (done.stderr, (tmp_path / "log").read_text()):
        logged = [line for line in log.splitlines() if LINE.fullmatch(line)]
        assert any("orch.run local0: rank 0 exited with 1" in line for line in logged)
        assert any("orch.agent local1: start (request " in line for line in logged)
        for secret in ("correct-horse", "battery-staple", "open-sesame"):
            assert [line for line in logged if secret in line] == []


def test_preflight_shows_what_passes_with_v_as_well(orch: Orch, tmp_path: Path) -> None:
    words = ("preflight", "--local", "2", "--only", "host.name")
    quiet, verbose = orch(*words), orch(*words, "-v")
    assert len(verbose.stdout.splitlines()) > len(quiet.stdout.splitlines())
    assert "INFO orch.preflight: " in verbose.stderr


def test_help_does_not_import_logging_for_it() -> None:
    script = (
        "import sys\nsys.argv = ['orch', 'status', '--help']\n"
        "from orchestrator.cli import main\n"
        "try:\n    main()\nexcept SystemExit:\n    pass\n"
        "assert 'orchestrator.ui.log' not in sys.modules\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
