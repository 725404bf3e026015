"""The event log: appended to, torn, read as it grows."""

from __future__ import annotations

import errno
import json
import os
from dataclasses import fields
from pathlib import Path
from typing import Any, get_type_hints

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator import events
from orchestrator.errors import OrchError
from orchestrator.logs.stream import Stream
from orchestrator.node.reasons import StopReason
from orchestrator.reasons import Stop
from orchestrator.runs.event_log import EventLog, EventReader
from tests.runs.helpers import plan_of

STREAM = Stream("n0", 0, 0, 0, "stdout")
# These are recorded elsewhere, or are only of the moment.
NOT_LOGGED: list[events.Event] = [
    events.Output(STREAM, 0, b"bytes", 1.0, Path("copy")),
    events.Planned(plan_of(1)),
    events.SyncAdvanced("n0", 1, 2),
    events.FetchAdvanced("n0", 1, 2),
    events.GpusSampled("n0", (events.GpuUse(0, 97, 1, 2),), 1.0),
    events.NodesInUse((events.User("a-run", ("n0",), 1.0, True),), 2),
]
LOGGED = [
    kind for kind in events.Event.__subclasses__() if kind not in {type(e) for e in NOT_LOGGED}
]

STOPS = st.builds(
    Stop,
    st.sampled_from(StopReason),
    node=st.text(),
    text=st.text(),
    seconds=st.none() | st.floats(allow_nan=False),
    signal=st.none() | st.integers(),
    pid=st.none() | st.integers(),
    because=st.none() | st.sampled_from(StopReason),
)
VALUES: dict[Any, Any] = {
    Stop: STOPS,
    Stop | None: st.none() | STOPS,
    str: st.text(),
    int: st.integers(),
    bool: st.booleans(),
    float: st.floats(allow_nan=False),
    Path: st.text(min_size=1).map(Path),
    int | None: st.none() | st.integers(),
    float | None: st.none() | st.floats(allow_nan=False),
    tuple[str, ...]: st.lists(st.text()).map(tuple),
    tuple[int, ...]: st.lists(st.integers()).map(tuple),
}


def events_of(kind: type) -> st.SearchStrategy[Any]:
    """Return any event of a kind. A field of a new type needs a line in VALUES."""
    hints = get_type_hints(kind)
    return st.builds(kind, **{field.name: VALUES[hints[field.name]] for field in fields(kind)})


ANY = st.one_of([events_of(kind) for kind in LOGGED])


def write(path: Path, *happened: events.Event) -> None:
    log = EventLog(path)
    for event in happened:
        log.append(event)
    log.close()


def read(path: Path) -> list[events.Event]:
    return [logged.event for logged in EventReader(path).read()]


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file for the examples of a property; each starts without it."""
    return tmp_path_factory.mktemp("log") / "events.jsonl"


@pytest.mark.parametrize("kind", LOGGED, ids=lambda kind: kind.__name__)
@given(data=st.data())
def test_every_kind_of_event_is_read_as_written(
    path: Path, kind: type, data: st.DataObject
) -> None:
    event = data.draw(events_of(kind))
    path.unlink(missing_ok=True)
    write(path, event)
    assert read(path) == [event]


@pytest.mark.parametrize("event", NOT_LOGGED, ids=lambda event: type(event).__name__)
def test_events_that_are_recorded_elsewhere_are_not_logged(
    tmp_path: Path, event: events.Event
) -> None:
    write(tmp_path / "log", event)
    assert (tmp_path / "log").read_bytes() == b""


@given(
    st.lists(ANY, min_size=1, max_size=4), st.lists(ANY, min_size=1, max_size=2), st.floats(0, 1)
)
def test_torn_line_loses_no_other_event(
    path: Path, before: list[events.Event], after: list[events.Event], share: float
) -> None:
    path.unlink(missing_ok=True)
    write(path, *before)
    text = path.read_bytes()
    cut = int(share * len(text))
    path.write_bytes(text[:cut])
    whole = before[: text[:cut].count(b"\n")]
    assert read(path) == whole
    write(path, *after)
    ended = before[: len(whole) + 1]  # the torn one may only lack its newline
    assert read(path) in ([*whole, *after], [*ended, *after])


@given(st.binary(), ANY)
def test_invalid_lines_are_skipped(path: Path, rubbish: bytes, event: events.Event) -> None:
    path.write_bytes(rubbish + b"\n")
    write(path, event)
    assert read(path)[-1] == event


@pytest.mark.parametrize(
    "line",
    [
        {"at": 1.0, "event": "FromTheFuture", "x": 1},
        {"at": 1.0, "event": "Warned", "message": "a", "more": 1},
        {"at": 1.0, "event": "Warned"},
        {"at": 1.0, "event": "Warned", "message": 3},
        {"at": 1.0, "event": ["Warned"], "message": "a"},
        {"at": "1", "event": "Warned", "message": "a"},
        {"at": 10**400, "event": "Warned", "message": "a"},
        {"event": "Warned", "message": "a"},
        {"at": 1.0, "event": "Output", "message": "a"},
        [],
        3,
        None,
    ],
    ids=lambda line: f"{line}"[:60],
)
def test_event_of_another_version_is_skipped(tmp_path: Path, line: object) -> None:
    path = tmp_path / "log"
    path.write_text(json.dumps(line) + "\n")
    write(path, events.Warned("known"))
    assert read(path) == [events.Warned("known")]


def test_growing_log_is_read_once_per_event(tmp_path: Path) -> None:
    path = tmp_path / "log"
    reader = EventReader(path)
    assert list(reader.read()) == []  # there is no file yet
    log = EventLog(path)
    read = []
    for n in range(3):
        log.append(events.Warned(str(n)))
        read.append([logged.event for logged in reader.read()])
    log.close()
    assert read == [[events.Warned(str(n))] for n in range(3)]
    half = path.read_bytes().splitlines(keepends=True)[0]
    with path.open("ab") as file:
        file.write(half[:20])
        file.flush()
        assert list(reader.read()) == []
        file.write(half[20:])
    assert [logged.event for logged in reader.read()] == [events.Warned("0")]


def test_full_disk_raises_and_loses_only_the_events_of_that_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "log"
    log = EventLog(path)
    log.append(events.Warned("before"))
    really_write, room = os.write, 10

    def write_a_little(descriptor: int, data: memoryview) -> int:
        nonlocal room
        if room == 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        written = really_write(descriptor, data[:room])
        room -= written
        return written

    monkeypatch.setattr(os, "write", write_a_little)
    for _ in range(2):
        with pytest.raises(OSError, match="No space left"):
            log.append(events.Warned("lost"))
    monkeypatch.undo()
    log.append(events.Warned("after"))
    log.close()
    assert read(path) == [events.Warned("before"), events.Warned("after")]


def test_overlong_line_is_skipped(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_bytes(b"x" * (9 << 20))
    reader = EventReader(path)
    assert list(reader.read()) == []
    with path.open("ab") as file:
        file.write(b"x\n")
    log = EventLog(path)
    log.append(events.Warned("after"))
    log.close()
    assert [logged.event for logged in reader.read()] == [events.Warned("after")]


def test_hole_is_skipped(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    hole = 1 << 40
    for text in ("first", "second"):
        log = EventLog(path)
        log.append(events.Warned(text))
        log.close()
        os.truncate(path, path.stat().st_size + hole)
    read = [logged.event for logged in EventReader(path).read()]
    assert read == [events.Warned("first"), events.Warned("second")]


def test_line_that_is_nested_too_deeply_is_skipped(tmp_path: Path) -> None:
    (tmp_path / "log").write_bytes(b"[" * 100_000 + b"\n")
    assert read(tmp_path / "log") == []


def test_log_that_is_no_regular_file_is_an_error(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OrchError, match="not a regular file"):
        list(EventReader(tmp_path / "pipe").read())
    with pytest.raises(OSError, match="symbolic link"):
        EventLog(tmp_path / "link")
    assert not (tmp_path / "elsewhere").exists()


def test_secrets_in_events_are_masked(tmp_path: Path) -> None:
    log = EventLog(tmp_path / "log")
    log.append(events.Warned("no way to pg://me:hunter2@db"))
    log.append(events.NodeLost("n0", "ghp_hunter2hunter2 is refused"))
    log.close()
    assert "hunter2" not in (tmp_path / "log").read_text()
    assert read(tmp_path / "log")[0] == events.Warned("no way to pg://me:***@db")


def test_old_cause_with_the_name_of_the_node_is_read_without_it(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    said = {"at": 1.0, "event": "NodeLost", "node": "n0"}
    causes = ("n0: the connection broke", "the connection broke")
    path.write_text("".join(json.dumps({**said, "cause": cause}) + "\n" for cause in causes))
    lost = events.NodeLost("n0", "the connection broke")
    assert [logged.event for logged in EventReader(path).read()] == [lost, lost]
