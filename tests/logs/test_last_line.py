from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.logs.last_line import last_line


@pytest.mark.parametrize(
    ("content", "line"),
    [
        (b"a\nb\n", "b"),
        (b"a\nunfini", "unfini"),
        (b"a\n\n \r\n\x1b[0m\n", "a"),
        (b"x\r 10%\r 20%\r", "20%"),
        (b"\x1b[31mred\x1b[0m \x1b[2J\xff\n", "red ^[[2J\ufffd"),
        (b"a\n" + b"x" * 9000, "…" + "x" * 8192),
        (b"a\n" + b"x" * 9000 + b"\r100%", "100%"),
        (b"a\n" + b"x" * 8190 + b"\nb", "b"),
        (b"a" + b"\n" * 9000, ""),
        (b"", ""),
    ],
)
def test_the_last_line_is_what_a_terminal_shows_last(
    tmp_path: Path, content: bytes, line: str
) -> None:
    (tmp_path / "log").write_bytes(content)
    assert last_line(tmp_path / "log") == line


def test_a_file_that_is_not_there_has_none(tmp_path: Path) -> None:
    assert last_line(tmp_path / "log") == ""
