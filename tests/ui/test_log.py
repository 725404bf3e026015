"""The log: masked, safe for a terminal, limited in size, and above what is drawn."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.errors import UsageError
from orchestrator.plan import masking
from orchestrator.ui.display import Display
from orchestrator.ui.log import FileHandler, SafeFormatter, StderrHandler, log_to_file
from orchestrator.ui.stderr import log_through
from orchestrator.util.log import NODE

from .screens import Terminal, redirected


@pytest.fixture
def no_handlers() -> Iterator[None]:
    """Restore the loggers afterwards."""
    loggers = [logging.getLogger(name) for name in ("orch", "asyncssh")]
    before = [(log, log.level, list(log.handlers)) for log in loggers]
    yield
    for log, level, handlers in before:
        log.setLevel(level)
        log.handlers = handlers


@pytest.fixture
def log_secrets(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    values: set[str] = set()
    monkeypatch.setattr(masking, "_log_secrets", values)
    return values


def record(
    message: str, *arguments: object, name: str = "orch.ssh", node: str = ""
) -> logging.LogRecord:
    made = logging.LogRecord(name, logging.INFO, "", 0, message, arguments, None)
    if node:
        made.__dict__["node"] = node
    return made


def shown(message: str, *arguments: object, node: str = "") -> str:
    return SafeFormatter().format(record(message, *arguments, node=node)).split(" ", 1)[1]


def test_line_has_time_level_logger_node_and_message() -> None:
    line = SafeFormatter().format(record("connected in %.1f s", 0.25, node="node1"))
    assert re.fullmatch(
        r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}[+-]\d\d:\d\d INFO orch\.ssh node1: connected in 0\.2 s",
        line,
    )


def test_line_without_a_node_has_that_of_its_context() -> None:
    assert shown("closed") == "INFO orch.ssh: closed"
    token = NODE.set("node7")
    try:
        assert shown("closed") == "INFO orch.ssh node7: closed"
        assert shown("closed", node="node1") == "INFO orch.ssh node1: closed"
    finally:
        NODE.reset(token)


@pytest.mark.parametrize(
    ("said", "safe"),
    [
        ("a\x1b[2Jb\x1b]0;title\x07c", "a [2Jb ]0;title c"),
        ("one\n2026-01-01T00:00:00 INFO orch.ssh: forged", "one 2026-01-01T00:00:00 INFO"),
        ("left\u202eright", "left right"),
        ("\udcff", " "),
    ],
)
def test_remote_text_is_one_line_without_controls(said: str, safe: str) -> None:
    assert safe.strip() in shown("it says: %s", said)
    assert "\n" not in shown("it says: %s", said)
    assert "\x1b" not in shown("it says: %s", said)


@pytest.mark.parametrize(
    "said",
    [
        "https://user:hunter2hunter2@proxy.lan/",
        "hf_abcdefghijklmnopqrstuvwx",
        "authorization: Bearer abcdefghijklmnop",
        "https://host/?api_key=abcdefghijkl",
    ],
)
def test_text_that_looks_like_a_secret_is_masked(said: str, log_secrets: set[str]) -> None:
    line = shown("it says: %s", said)
    assert "***" in line
    assert "hunter2" not in line
    assert "abcdefgh" not in line


def test_secret_values_of_variables_are_masked_everywhere(log_secrets: set[str]) -> None:
    masking.mask_in_logs(
        {"WANDB_API_KEY": "correct-horse", "MODE": "unlike-secrets", "FILE": "battery-staple"},
        frozenset({"FILE"}),
    )
    assert shown("%s", "a correct-horse b battery-staple c unlike-secrets").endswith(
        "a *** b *** c unlike-secrets"
    )


def test_traceback_is_masked_and_safe(log_secrets: set[str]) -> None:
    log_secrets.add("correct-horse")
    made = record("failed")
    try:
        raise ValueError("correct-horse \x1b[2J")
    except ValueError as error:
        made.exc_info = (ValueError, error, error.__traceback__)
    lines = SafeFormatter().format(made).splitlines()
    assert lines[1].startswith("    Traceback")
    assert lines[-1] == "    ValueError: *** ^[[2J"


def test_command_lines_that_asyncssh_logs_are_left_out(tmp_path: Path) -> None:
    path = tmp_path / "log"
    handler = FileHandler(logging.DEBUG, path, os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND))
    handler.handle(record("[chan=0]   Command: %s", "export A=b", name="asyncssh"))
    handler.handle(record("[chan=0]   Env: %s=%s", "A", "b", name="asyncssh"))
    handler.handle(record("[chan=0] Requesting new SSH session", name="asyncssh"))
    (line,) = path.read_text().splitlines()
    assert line.endswith("asyncssh: [chan=0] Requesting new SSH session")


def test_file_with_a_limit_keeps_the_newest_whole_lines(tmp_path: Path) -> None:
    path = tmp_path / "log"
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND)
    other = os.open(path, os.O_WRONLY | os.O_APPEND)  # a traceback of the process, say
    handler = FileHandler(logging.DEBUG, path, descriptor, limit=10_000)
    for number in range(1000):
        handler.emit(record("line %d", number))
        assert path.stat().st_size <= 10_000
    os.write(other, b"the end\n")
    *lines, end = path.read_text().splitlines()
    numbers = [int(line.rpartition(" ")[2]) for line in lines]
    assert numbers == list(range(numbers[0], 1000))
    assert len(numbers) > 20
    assert end == "the end"


def test_file_that_cannot_be_written_is_reported_once(
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = Path("/dev/full")
    handler = FileHandler(logging.DEBUG, path, os.open(path, os.O_WRONLY))
    handler.emit(record("one"))
    handler.emit(record("two"))
    said = capsys.readouterr().err
    assert said.count("/dev/full: the log ends here: No space left on device") == 1


def test_new_log_file_is_readable_by_its_owner_only(tmp_path: Path, no_handlers: None) -> None:
    path = tmp_path / "log"
    log_to_file(path)
    logging.getLogger("orch.ssh").debug("hello")
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.read_text().endswith("DEBUG orch.ssh: hello\n")


def test_log_file_in_a_missing_folder_is_a_usage_error(tmp_path: Path, no_handlers: None) -> None:
    with pytest.raises(
        UsageError, match=r"--log-file .*/none/log: cannot be written: No such file"
    ):
        log_to_file(tmp_path / "none/log")


def test_lines_on_a_terminal_are_above_what_is_drawn() -> None:
    tty = Terminal(60, 20)
    with redirected(stderr=tty.descriptor):
        display = Display(2)
        log_through(display.log)
        try:
            display.draw(lambda columns, lines: [((("panel", ""),))])
            handler = StderrHandler(logging.DEBUG)
            rows: list[str] = []
            for number in range(5):
                handler.emit(record("line %d", number))
                display.refresh()
                rows = tty.look(0.2)
                assert [row for row in rows if "panel" in row] in ([], ["panel"])
            while rows[-1:] != ["panel"] or "line 4" not in "".join(rows):
                rows = tty.look(0.1)
        finally:
            log_through(None)
            display.close()
        assert [row.rpartition(" ")[2] for row in rows if "line" in row] == list("01234")


def test_flood_of_log_lines_leaves_room_for_messages() -> None:
    reader, writer = os.pipe()
    display = Display(writer)
    for number in range(20_000):
        display.log(b"log %05d %s\n" % (number, b"x" * 100))  # more than the pipe holds
    display.say(b"orch: important\n")
    os.set_blocking(reader, False)
    got = bytearray()
    while b"important" not in got:
        try:
            got += os.read(reader, 1 << 20)
        except BlockingIOError:
            continue
    display.close()
    os.close(writer)
    os.close(reader)
    assert b"messages left out" in got
