"""With any files in the folder of a run, all output of the ranks is copied to the controller.

The followers of the node and of the controller, in one process, on a folder of random files.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import socket
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator import events
from orchestrator.control.follower import Follower
from orchestrator.node import follow
from orchestrator.node.follow import Follower as NodeFollower
from orchestrator.remote import reports
from tests.runs.fakes import FakeConnection
from tests.runs.helpers import plan_of, record_in

STATUS = {
    "state": "ended", "attempt": 0, "pid": 1, "start": 1, "began": 1.0, "ended": 2.0,
    "launcher": {"pid": 9, "started": 1.0, "ended": 2.0, "code": 0, "signal": None},
    "stopped": None, "stopped_at": None, "left": [],
}  # fmt: skip
OURS = [f"attempt-0/rank-{rank}.{end}" for rank in (0, 1) for end in ("out", "err")]


def _file(path: Path) -> None:
    path.write_bytes(b"strange\n")


def _sparse(path: Path) -> None:
    path.touch()
    os.truncate(path, 5 << 30)


def _folder(path: Path) -> None:
    (path / "below").mkdir(parents=True)


def _link(path: Path) -> None:
    path.symlink_to("/dev/zero")


def _loop(path: Path) -> None:
    path.symlink_to(path.name)


def _socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        place = os.open(path.parent, os.O_RDONLY)
        server.bind(f"/proc/self/fd/{place}/{path.name}")
        os.close(place)


def _unreadable(path: Path) -> None:
    _file(path)
    path.chmod(0)


KINDS: list[Callable[[Path], None]] = [
    _file, _sparse, _folder, _link, _loop, _socket, _unreadable, os.mkfifo,
]  # fmt: skip
number = st.one_of(
    st.integers(0, 12).map(str),
    st.sampled_from(["00", "01", "9999", "10000", "9999999", "10000000", "99999999999", "-1", "x"]),
)
name = st.one_of(
    st.builds(
        "rank-{}.{}".format, number, st.sampled_from(["out", "err", "json", "stacks", "error"])
    ),
    st.sampled_from(
        ["launcher.out", "launcher.err", "launcher.json", "marks", "rank-.out", "weights"]
    ),
)
folder = st.one_of(st.just("attempt-0"), number.map("attempt-{}".format))
place = st.one_of(
    st.builds("{}/{}".format, folder, name), folder,
    st.sampled_from(["stop.json", "heard", "reserve", "hook", "shim", "supervisor.log"]),
)  # fmt: skip
# The output of a rank as a unit and a count, which is shorter in a report than the bytes.
contents = st.tuples(st.sampled_from([b"", b"\0", b"x", b"line\n"]), st.integers(0, 300_000))


def _is_real_folder(path: Path) -> bool:
    return path.is_dir() and not path.is_symlink()


class Pair:
    """An agent for one follow: the follower of the node takes a step when that of the controller asks."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self.follows = 0

    async def ask(self, verb: str, **arguments: Any) -> Any:
        return {"left": [], "time": 1.0} if verb == "sweep" else {"alive": False, "time": 1.0}

    async def follow(
        self, run: str, offsets: dict[str, int], *, quiet: bool = False
    ) -> AsyncIterator[reports.Report]:
        self.follows += 1
        sent: list[tuple[dict[str, Any], bytes]] = []
        node = NodeFollower(
            str(self._directory), offsets, lambda *message: sent.append(message), quiet
        )
        try:
            while not node.finished:
                node.step()
                while sent:
                    header, payload = sent.pop(0)
                    yield reports.parse(json.loads(json.dumps(header)), payload)
                await asyncio.sleep(min(0.02, node.wait()))
        finally:
            node.close()


@given(
    st.dictionaries(place, st.sampled_from(KINDS), max_size=8),
    st.lists(contents, min_size=len(OURS), max_size=len(OURS)),
)
def test_odd_files_do_not_prevent_following_ranks_to_the_end(
    tmp_path_factory: pytest.TempPathFactory,
    strange: dict[str, Callable[[Path], None]],
    printed: list[tuple[bytes, int]],
) -> None:
    root = tmp_path_factory.mktemp("odd")
    directory = root / "node"
    (directory / "attempt-0").mkdir(parents=True)
    ours = [unit * count for unit, count in printed]
    for path, data in zip(OURS, ours, strict=True):
        (directory / path).write_bytes(data)
    for path, put in strange.items():
        full = directory / path
        is_taken = os.path.lexists(full.parent) and not _is_real_folder(full.parent)
        if not is_taken and not os.path.lexists(full):
            full.parent.mkdir(parents=True, exist_ok=True)
            put(full)
    (directory / "status.json").write_text(json.dumps(STATUS))
    emitted: list[events.Event] = []
    record = record_in(root / "runs", plan_of(2), log_limit=None)
    pair = Pair(directory)
    follower = Follower(
        record.plan.nodes[0],
        cast(Any, FakeConnection(cast(Any, pair))),
        record,
        emitted.append,
        lambda: None,
    )
    try:
        asyncio.run(asyncio.wait_for(follower.follow(), 30))
        copies = {path: (record.logs / "n0" / path) for path in OURS}
        for path, data in zip(OURS, ours, strict=True):
            assert (copies[path].read_bytes() if copies[path].exists() else b"") == data
    finally:
        record.close()
        shutil.rmtree(root, ignore_errors=True)
    assert pair.follows == 1, "the connection was used once"
    assert [event for event in emitted if isinstance(event, events.NodeLost)] == []
    warnings = [event.message for event in emitted if isinstance(event, events.Warned)]
    assert len(warnings) == len(set(warnings)) <= follow._MAX_ODD + 1
