"""Any content of a run folder gives a value, or an error with a remedy.

`corpus/run_folder/` has files that once caused errors, named `<case>.<file of a run folder>` (`@` for `/`).
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator import events
from orchestrator.api.status import RunStatus, status_of
from orchestrator.errors import OrchError
from orchestrator.logs.index import INDEX_NAME, RECORD_SIZE, IndexReader
from orchestrator.logs.replay import Replay
from orchestrator.logs.stream import Stream
from orchestrator.runs.lock import find_controller
from orchestrator.runs.registry import all_runs, find_run, unreadable_runs, untrusted_runs
from orchestrator.runs.saved_run import SavedRun, load_run
from orchestrator.runs.state import RunState, state_of
from orchestrator.runs.stop_request import find_stop_request
from tests.runs.helpers import plan_of, record_in

CORPUS = Path(__file__).parent / "corpus/run_folder"
FILES = (
    "run.json",
    "events.jsonl",
    "stop.json",
    "controller.lock",
    "logs/n0/index",
    "logs/n0/attempt-0/rank-0.out",
    "logs/n0/attempt-0/launcher.err",
)
MAX_READ = 1 << 16  # bytes, of a folder that has a few hundred


def make_run(root: Path, name: str = "r") -> Path:
    """Return the folder of a run in which no file is empty."""
    record = record_in(root, plan_of(1, 1, run=name), script=("t.py",))
    for n in range(4):
        stream = Stream(f"n{n % 2}", 0, n % 2, 0, "stdout")
        record.store.append(stream, record.store.size(stream), b"line\nhalf", 1000.0 + n)
    record.store.append(Stream("n0", 0, None, None, "stderr"), 0, b"launcher\n", 1004.0)
    for event in (
        events.Following("n0"),
        events.RankBegan(0, 0, "n0", 0, 100, 1000.0),
        events.RankEnded(0, "n0", 3, None, 1001.0),
        events.NodeEnded("n0", "ended", ()),
        events.Warned("of something"),
    ):
        record.note(event)
    record.close()
    (record.folder / "stop.json").write_text('{"reason": "orch stop", "grace": 3.0}')
    return record.folder


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_run(tmp_path_factory.mktemp("runs"))


@contextmanager
def copied(template: Path) -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as root:
        yield Path(shutil.copytree(template, Path(root) / "r"))


def use(folder: Path) -> None:
    """Read the folder as commands do."""

    def value_or_error(ask: Any, kind: Any) -> Any:
        try:
            value = ask()
        except OrchError:
            return None
        assert isinstance(value, kind)
        return value

    root = folder.parent
    saved = value_or_error(lambda: load_run(folder), SavedRun | None)
    value_or_error(lambda: load_run(folder, allow_untrusted=True), SavedRun | None)
    for ask in (all_runs, unreadable_runs, untrusted_runs):
        value_or_error(lambda ask=ask: ask(root), list)
    value_or_error(lambda: find_run("r", root), SavedRun)
    value_or_error(lambda: find_run(None, root), SavedRun)
    value_or_error(lambda: state_of(folder), RunState)
    value_or_error(lambda: find_controller(folder), object)
    find_stop_request(folder)
    if saved is not None:
        value_or_error(lambda: status_of(saved), RunStatus)
    reader = IndexReader(folder / "logs", "n0")
    read = [*reader.records(), *reader.rest(), *(r for _, r in reader.newest_first())]
    assert sum(record.length for record in read) < MAX_READ
    for more in ({}, {"last": 2}, {"since": 1002.0}):
        replay = Replay(folder / "logs", {"n0": 0.5}, **more)
        pieces = [*replay.pieces(), *replay.rest()]
        replay.close()
        assert sum(len(piece.data) for piece in pieces) < MAX_READ


@st.composite
def damage(draw: st.DrawFn, whole: bytes) -> bytes:
    """Draw a file of a run with a part replaced."""
    start = draw(st.integers(0, len(whole)))
    end = draw(st.integers(start, min(len(whole), start + 64)))
    return whole[:start] + draw(st.binary(max_size=64)) + whole[end:]


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=5)
    | st.sampled_from([10**400, -1, 2**63, 1e308, "n0", "r", "../x", "\0"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["at", "event", "node", "rank", "plan"]), inner, max_size=4
        )
    ),
    max_leaves=6,
)


def paths_in(value: Any, *path: Any) -> Iterator[tuple[Any, ...]]:
    """Yield the path of each part of a JSON value."""
    yield path
    if isinstance(value, dict):
        for name, item in value.items():
            yield from paths_in(item, *path, name)
    elif isinstance(value, list):
        for n, item in enumerate(value):
            yield from paths_in(item, *path, n)


def with_value(value: Any, path: tuple[Any, ...], by: Any) -> Any:
    if not path:
        return by
    copy = list(value) if isinstance(value, list) else dict(value)
    copy[path[0]] = with_value(value[path[0]], path[1:], by)
    return copy


@given(st.data())
def test_damaged_files_give_a_value_or_an_error(template: Path, data: st.DataObject) -> None:
    with copied(template) as folder:
        for name in data.draw(st.lists(st.sampled_from(FILES), min_size=1, unique=True)):
            path = folder / name
            path.write_bytes(data.draw(st.binary(max_size=300) | damage(path.read_bytes())))
        use(folder)


@given(st.data())
def test_json_with_other_values_gives_a_value_or_an_error(
    template: Path, data: st.DataObject
) -> None:
    with copied(template) as folder:
        name = data.draw(st.sampled_from(["run.json", "stop.json", "events.jsonl"]))
        lines = (folder / name).read_text().splitlines()
        documents = lines if name == "events.jsonl" else ["\n".join(lines)]
        changed = []
        for document in documents:
            value = json.loads(document)
            place = data.draw(st.sampled_from(list(paths_in(value))))
            changed.append(json.dumps(with_value(value, place, data.draw(JSON))))
        (folder / name).write_text("\n".join(changed) + "\n")
        use(folder)


@given(st.data())
def test_index_with_other_records_gives_a_value_or_an_error(
    template: Path, data: st.DataObject
) -> None:
    with copied(template) as folder:
        path = folder / "logs/n0" / INDEX_NAME
        whole = path.read_bytes()
        records = [whole[n : n + RECORD_SIZE] for n in range(0, len(whole), RECORD_SIZE)]
        odd = st.sampled_from(records) | st.binary(min_size=RECORD_SIZE, max_size=RECORD_SIZE)
        path.write_bytes(b"".join(data.draw(st.lists(odd, max_size=20))))
        use(folder)


@pytest.mark.parametrize("kind", ["missing", "empty", "folder", "pipe", "dangling", "circle"])
@pytest.mark.parametrize("name", [*FILES, "logs", "logs/n0", "logs/n0/attempt-0"])
def test_special_file_in_place_of_a_file_gives_a_value_or_an_error(
    template: Path, name: str, kind: str
) -> None:
    with copied(template) as folder:
        path = folder / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()
        match kind:
            case "empty":
                path.write_bytes(b"")
            case "folder":
                path.mkdir()
            case "pipe":
                os.mkfifo(path)
            case "dangling":
                path.symlink_to("nowhere")
            case "circle":
                path.symlink_to(path)
        use(folder)


@pytest.mark.parametrize("name", ["run.json", "events.jsonl", "stop.json", "controller.lock"])
@pytest.mark.parametrize("text", [b"[" * 100_000, b'{"a":' * 100_000, b"9" * 100_000])
def test_nested_or_long_json_gives_a_value_or_an_error(
    template: Path, name: str, text: bytes
) -> None:
    with copied(template) as folder:
        (folder / name).write_bytes(text + b"\n")
        use(folder)


@given(
    st.lists(
        st.text(st.characters(exclude_characters="/\0", codec="utf-8"), min_size=1, max_size=40)
    )
)
def test_folders_with_odd_names_are_ignored(template: Path, names: list[str]) -> None:
    with copied(template) as folder:
        for name in names:
            for place in (folder.parent, folder / "logs", folder / "logs/n0"):
                if name not in (".", "..", "r"):
                    (place / name).mkdir(exist_ok=True)
        use(folder)


@pytest.mark.parametrize("case", sorted(CORPUS.iterdir()), ids=lambda case: case.name)
def test_file_of_the_corpus_gives_a_value_or_an_error(template: Path, case: Path) -> None:
    with copied(template) as folder:
        path = folder / case.name.split(".", 1)[1].replace("@", "/")
        path.write_bytes(case.read_bytes())
        use(folder)
