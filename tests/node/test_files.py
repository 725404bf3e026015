"""Names of a run's files, and opening them whatever a script has put in their place."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.logs.stream import Stream
from orchestrator.node import faulthandler_dump, files, lease, records, stack_hook, write_times


def pipe(path: Path) -> None:
    os.mkfifo(path)


def folder(path: Path) -> None:
    path.mkdir()
    (path / "inside").touch()


def link(path: Path) -> None:
    path.symlink_to("/dev/null")


def listening(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        place = os.open(path.parent, os.O_RDONLY)
        server.bind(f"/proc/self/fd/{place}/{path.name}")
        os.close(place)


ODD = [pipe, folder, link, listening]

numbers = st.one_of(
    st.integers(0, 10**9).map(str),
    st.integers(0, 20_000_000).map(str),
    st.text("0123456789", max_size=9),
    st.sampled_from(["01", "-1", "1_0", "٣", "1\n", "9999999", "10000000"]),
)
paths = st.one_of(
    st.builds(
        lambda a, r, e: f"attempt-{a}/rank-{r}.{e}",
        numbers, numbers, st.sampled_from(["out", "err", "json", "out\n"]),
    ),
    st.builds(lambda a, e: f"attempt-{a}/launcher.{e}", numbers, st.sampled_from(["out", "err"])),
    st.text(max_size=30).map(lambda name: f"attempt-0/{name}"),
)  # fmt: skip


@given(paths)
def test_stream_names_are_the_same_on_node_and_controller(path: str) -> None:
    """A name that only the node accepts is sent again and again, and refused each time."""
    folder, _, name = path.partition("/")
    node_accepts = bool(files.ATTEMPT.match(folder) and files.STREAM.match(name))
    try:
        Stream.parse("n0", path)
        controller_accepts = True
    except ValueError:
        controller_accepts = False
    assert node_accepts == controller_accepts


@pytest.mark.parametrize("put", ODD)
def test_open_file_of_anything_but_a_file_raises_at_once(tmp_path: Path, put: object) -> None:
    put(tmp_path / "odd")  # type: ignore[operator]
    with pytest.raises(files.NotAFile):
        files.open_file(str(tmp_path / "odd"))
    with pytest.raises(files.NotAFile):
        files.open_file(str(tmp_path / "odd"), os.O_WRONLY)
    with pytest.raises(files.NotAFile):
        files.read_some(str(tmp_path / "odd"), 10)


@pytest.mark.parametrize("put", ODD)
def test_open_log_moves_anything_else_aside(tmp_path: Path, put: object) -> None:
    path = tmp_path / "rank-5.out"
    put(path)  # type: ignore[operator]
    descriptor = files.open_log(str(path))
    os.write(descriptor, b"text")
    assert os.get_blocking(descriptor)
    os.close(descriptor)
    assert path.read_bytes() == b"text"
    assert len(list(tmp_path.glob("rank-5.out.*.aside"))) == 1


@pytest.mark.parametrize("put", ODD)
def test_write_json_replaces_anything_at_its_path(tmp_path: Path, put: object) -> None:
    path = tmp_path / "status.json"
    put(path)  # type: ignore[operator]
    put(tmp_path / f"status.json.{os.getpid()}.tmp")  # type: ignore[operator]
    files.write_json(str(path), {"a": 1})
    assert files.read_json(str(path)) == {"a": 1}


@pytest.mark.parametrize("put", ODD)
def test_reserve_marks_lease_and_hook_replace_anything_at_their_paths(
    tmp_path: Path, put: object
) -> None:
    for name in ("reserve", "heard", "hook"):
        put(tmp_path / name)  # type: ignore[operator]
    (tmp_path / "attempt-0").mkdir()
    put(tmp_path / "attempt-0" / "marks")  # type: ignore[operator]
    put(tmp_path / "attempt-0" / "rank-1.out")  # type: ignore[operator]
    (tmp_path / "attempt-0" / "rank-0.out").write_bytes(b"text")
    directory = str(tmp_path)
    assert not files.has_room_aside(directory)
    files.set_room_aside(directory)
    assert files.has_room_aside(directory)
    assert lease.renew(directory) is False
    lease.Lease(directory, 5.0).restore()
    assert lease.renew(directory) is True
    stack_hook.put_hook(directory)
    assert (tmp_path / "hook" / "sitecustomize.py").read_text()
    write_times.WriteTimeRecorder(directory, 0).check()
    assert list(write_times.timelines(str(tmp_path / "attempt-0"), 0.0)) == ["rank-0.out"]


def test_file_of_stacks_that_is_a_link_is_not_emptied(tmp_path: Path) -> None:
    precious = tmp_path / "weights"
    precious.write_bytes(b"x" * (faulthandler_dump._MAX_FILE_BYTES + 1))
    (tmp_path / "rank-0.stacks").symlink_to(precious)
    with pytest.raises(files.NotAFile):
        faulthandler_dump._end_of(str(tmp_path / "rank-0.stacks"))
    assert precious.stat().st_size == faulthandler_dump._MAX_FILE_BYTES + 1


def test_read_rank_of_a_huge_file_is_none(tmp_path: Path) -> None:
    with (tmp_path / "rank-0.json").open("wb") as file:
        file.write(b"{}")
        file.truncate(10 << 30)
    assert records.read_rank(str(tmp_path / "rank-0.json")) is None
