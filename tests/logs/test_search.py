"""Searching lines for a pattern of the user, with a time limit."""

from __future__ import annotations

import re
import signal
import threading
import time

import pytest

from orchestrator.logs.filter import Grep, painter, parse_pattern
from orchestrator.logs.lines import TextLines
from orchestrator.logs.search import Search, SlowPattern
from orchestrator.logs.stream import Stream

RANK0 = Stream("node0", 0, 0, 0, "stdout")
FOREVER = "a" * 60 + "b"
PATTERNS = ["(a+)+$", r"(?:\w+\s?)+!", ".*.*.*.*.*!", r"(?:(?:a|a)*)*$"]


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("orchestrator.logs.search.TICK", 0.1)


def grep(pattern: str) -> Grep:
    return Grep(parse_pattern(pattern), TextLines(lambda stream: b"", "pipe"))


@pytest.mark.parametrize("pattern", PATTERNS)
def test_endless_search_is_ended_and_names_pattern_and_line(pattern: str) -> None:
    started = time.process_time()
    with pytest.raises(SlowPattern, match=r"takes too long.* starts with 'aaaa") as raised:
        grep(pattern).feed(RANK0, f"fine\n{FOREVER * 4}\n".encode(), 0.0)
    assert repr(pattern) in str(raised.value)
    assert time.process_time() - started < 30


@pytest.mark.parametrize("line", [FOREVER, f"\x1b[31m{FOREVER}"])
def test_endless_highlighting_is_ended(line: str) -> None:
    with pytest.raises(SlowPattern, match="takes too long"):
        painter(parse_pattern("(a+)+$"))(line.encode())


def test_endless_search_of_an_unfinished_line_is_ended() -> None:
    lines = grep("(a+)+$")
    lines.feed(RANK0, FOREVER.encode(), 0.0)
    with pytest.raises(SlowPattern, match="takes too long"):
        lines.close()


def test_limit_applies_to_each_line() -> None:
    slow = (b"ab" * 500 + b"\n") * 200
    assert grep("(?:a.*x|a.*y|a.*!)$|never").feed(RANK0, slow, 0.0) == b""


def test_timer_and_signal_handler_are_restored() -> None:
    before = signal.getsignal(signal.SIGVTALRM)
    with Search(re.compile("a")).within_limits():
        assert signal.getitimer(signal.ITIMER_VIRTUAL)[0] > 0
    assert signal.getitimer(signal.ITIMER_VIRTUAL)[0] == 0
    assert signal.getsignal(signal.SIGVTALRM) == before


def test_search_in_another_thread_has_no_limit() -> None:
    found: list[bytes] = []
    thread = threading.Thread(target=lambda: found.append(grep("a").feed(RANK0, b"a\nb\n", 0.0)))
    thread.start()
    thread.join()
    assert found == [b"a\n"]
