"""Which version of a file wins, and that a push may be cut off anywhere: by the rules, without rsync."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.node import files, manifest, placed
from orchestrator.sync import collect
from orchestrator.sync.placement import packed

OWNER = "0" * 32
CLIMBS = ["../../x", "file", 1, 1, 1, "", 1, 1, 0]


class Push:
    """What a controller does to a node's folder; `transfer` copies what rsync would transfer."""

    def __init__(self, here: Path, there: Path, run: str = "a-run", owner: str = OWNER) -> None:
        self.here, self.there = here, there
        self.run, self.owner = run, owner
        self.placing = placed.Placing(run, "node0")
        self.tree = collect(here)

    def enter(self, **more: Any) -> dict[str, Any]:
        arguments: dict[str, Any] = {
            "workdir": str(self.there), "own": False, "owner": self.owner, "source": "me:/here",
            "digest": self.tree.digest, "names": [], "overwrite": False, "again": False,
        }  # fmt: skip
        return self.placing.enter(**{**arguments, **more})

    def compare(self) -> dict[str, Any]:
        return self.placing.compare(packed(self.tree))

    def transfer(self, answer: dict[str, Any], most: int = 1 << 30) -> None:
        rows = [index for first, end in answer["send"] for index in range(first, end)]
        for index in rows[:most]:
            entry = self.tree.entries[index]
            source, target = self.here / entry.path, self.there / entry.path
            target.parent.mkdir(parents=True, exist_ok=True)
            if target.is_symlink() or target.is_file():
                target.unlink()
            if entry.kind == "folder":
                target.mkdir(exist_ok=True)
            else:
                shutil.copy2(source, target, follow_symlinks=False)

    def all(self, **more: Any) -> dict[str, Any]:
        """Do all steps; return the last answer on what is to be done."""
        seen = self.enter(**more)
        try:
            if seen["done"]:
                return seen
            answer = self.compare()
            if not answer["blocked"]:
                self.placing.begin()
                self.transfer(answer)
                self.placing.settle()
            return answer
        finally:
            self.placing.leave()


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    return home


@pytest.fixture
def here(tmp_path: Path) -> Path:
    (tmp_path / "here").mkdir()
    return tmp_path / "here"


@pytest.fixture
def there(tmp_path: Path) -> Path:
    (tmp_path / "there").mkdir()
    return tmp_path / "there"


def put(root: Path, name: str, text: str = "", at: float | None = None) -> Path:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    if at is not None:
        os.utime(path, (at, at))
    return path


def contents(root: Path) -> dict[str, str]:
    return {
        str(path.relative_to(root)): f"-> {path.readlink()}"
        if path.is_symlink()
        else path.read_text()
        for path in sorted(root.rglob("*"))
        if path.is_symlink() or path.is_file()
    }


# -- the rules -----------------------------------------------------------------------------------


@dataclass
class Model:
    """A second implementation of the rules: what is in the folder, and what orch knows of it."""

    there: dict[str, tuple[str, int]] = field(default_factory=dict)  # path -> content, time
    placed: dict[str, tuple[str, int]] = field(default_factory=dict)

    def push(self, here: dict[str, tuple[str, int]], overwrite: bool) -> set[str]:
        """Return which files of `here` are not sent."""
        kept = set()
        for path in self.placed.keys() - here.keys():
            if self.there.get(path) == self.placed[path]:
                del self.there[path]
            del self.placed[path]
        for path, version in here.items():
            is_ours = self.there.get(path) in (None, self.placed.get(path), version)
            if not is_ours and not overwrite:
                kept.add(path)
                self.placed.pop(path, None)
                continue
            self.there[path] = self.placed[path] = version
        return kept


PATHS = ["a", "b", "lib/a", "lib/b", "lib/deep/c"]
EDITS = st.lists(
    st.tuples(
        st.sampled_from(["here", "there"]),
        st.sampled_from(PATHS),
        st.sampled_from(["write", "write", "remove"]),
    ),
    max_size=6,
)
HISTORIES = st.lists(
    st.tuples(EDITS, st.sampled_from(["push", "push", "overwrite", "crash"]), st.integers(0, 4)),
    min_size=1,
    max_size=6,
)


@contextmanager
def _folders() -> Iterator[tuple[Path, Path]]:
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        for each in ("here", "there", "home"):
            (root / each).mkdir()
        before = os.environ["HOME"]
        os.environ["HOME"] = str(root / "home")
        try:
            yield root / "here", root / "there"
        finally:
            os.environ["HOME"] = before


@settings(max_examples=4 * settings().max_examples)  # interesting histories are rare
@given(HISTORIES)
def test_push_after_any_history_follows_the_rules(
    history: list[tuple[list[tuple[str, str, str]], str, int]],
) -> None:
    with _folders() as (here, there):
        model, now = Model(), 1_700_000_000
        ours: dict[str, tuple[str, int]] = {}
        for edits, how, most in history:
            for side, path, what in edits:
                now += 7
                root, known = (here, ours) if side == "here" else (there, model.there)
                if what == "write":
                    put(root, path, f"{side} {now}", now)
                    known[path] = (f"{side} {now}", now)
                elif path in known:
                    (root / path).unlink()
                    del known[path]
            if how == "crash":
                _cut_off(here, there, most, model, ours)
                continue
            answer = Push(here, there).all(overwrite=how == "overwrite")
            assert set(answer["kept"]) == model.push(ours, how == "overwrite")
            assert contents(there) == {path: text for path, (text, _) in model.there.items()}
        # A second push changes nothing.
        before = contents(there)
        model.push(ours, False)
        Push(here, there).all()
        assert Push(here, there).all()["done"] or not ours
        assert contents(there).keys() >= before.keys() - ours.keys() - model.placed.keys()


def _cut_off(
    here: Path, there: Path, most: int, model: Model, ours: dict[str, tuple[str, int]]
) -> None:
    """Cut a push off after `most` files: those that arrived are placed, the others are as before."""
    push = Push(here, there)
    if push.enter()["done"]:
        push.placing.leave()
        return
    answer = push.compare()
    push.placing.begin()
    push.transfer(answer, most)
    push.placing.leave()  # as the kernel does for a process that is killed
    rows = [index for first, end in answer["send"] for index in range(first, end)][:most]
    for path in list(model.placed.keys() - ours.keys()):
        if model.there.get(path) == model.placed[path]:
            del model.there[path], model.placed[path]
    for index in rows:
        path = push.tree.entries[index].path
        model.there[path] = model.placed[path] = ours[path]
    assert contents(there) == {path: text for path, (text, _) in model.there.items()}


def test_newer_checkpoint_on_the_node_stays_through_three_pushes(here: Path, there: Path) -> None:
    put(here, "snapshot.pt", "100", 1_700_000_000)
    assert Push(here, there).all()["kept"] == []
    for step in ("200", "300", "400"):
        put(there, "snapshot.pt", step)
        answer = Push(here, there).all()
        assert (answer["done"], answer["kept"]) == (True, ["snapshot.pt"])
        assert (there / "snapshot.pt").read_text() == step
    assert Push(here, there).all(overwrite=True)["kept"] == []
    assert (there / "snapshot.pt").read_text() == "100"


def test_stale_package_is_deleted_with_its_python_cache(here: Path, there: Path) -> None:
    put(here, "model/__init__.py")
    put(here, "model/deep/net.py")
    Push(here, there).all()
    put(there, "model/__pycache__/__init__.cpython-311.pyc")
    put(there, "model/deep/__pycache__/net.cpython-311.pyc")
    shutil.rmtree(here / "model")
    put(here, "model.py", "new")
    Push(here, there).all()
    assert contents(there) == {"model.py": "new"}
    assert not (there / "model").exists()


def test_folder_with_foreign_files_stays_when_placed_ones_are_deleted(
    here: Path, there: Path
) -> None:
    put(here, "lib/a.py")
    Push(here, there).all()
    put(there, "lib/cache.bin", "theirs")
    shutil.rmtree(here / "lib")
    Push(here, there).all()
    assert contents(there) == {"lib/cache.bin": "theirs"}


def test_folder_that_orch_has_not_made_stays_when_empty(here: Path, there: Path) -> None:
    (there / "lib").mkdir()
    put(here, "lib/a.py")
    Push(here, there).all()
    shutil.rmtree(here / "lib")
    Push(here, there).all()
    assert (there / "lib").is_dir()
    assert contents(there) == {}


def test_deleted_source_of_changed_file_is_reported_once(here: Path, there: Path) -> None:
    put(here, "a.py", "ours")
    Push(here, there).all()
    put(there, "a.py", "theirs, longer")
    (here / "a.py").unlink()
    assert Push(here, there).all()["left"] == ["a.py"]
    assert Push(here, there).all()["left"] == []
    assert contents(there) == {"a.py": "theirs, longer"}


@pytest.mark.parametrize("back", [False, True])
def test_link_and_folder_replace_each_other(here: Path, there: Path, back: bool) -> None:
    def link() -> None:
        put(here, "real/x", "x")
        (here / "data").symlink_to("real")

    def folder() -> None:
        put(here, "data/x", "own")

    for make in (folder, link) if back else (link, folder):
        shutil.rmtree(here)
        here.mkdir()
        make()
        Push(here, there).all()
        assert contents(there) == contents(here)
        assert (there / "data").is_symlink() == (here / "data").is_symlink()


def test_folder_with_foreign_files_is_not_replaced_by_a_file(here: Path, there: Path) -> None:
    put(here, "data/a")
    Push(here, there).all()
    put(there, "data/theirs", "precious")
    shutil.rmtree(here / "data")
    put(here, "data", "a file now")
    for overwrite in (False, True):
        answer = Push(here, there).all(overwrite=overwrite)
        assert answer["blocked"] == [["data", "data/theirs"]]
    assert (there / "data/theirs").read_text() == "precious"


def test_foreign_file_blocks_a_folder_unless_overwritten(here: Path, there: Path) -> None:
    put(there, "lib", "theirs")
    put(here, "lib/a.py", "ours")
    assert Push(here, there).all()["blocked"] == [["lib/a.py", "lib"]]
    assert contents(there) == {"lib": "theirs"}
    assert Push(here, there).all(overwrite=True)["blocked"] == []
    assert contents(there) == {"lib/a.py": "ours"}


def test_folder_that_is_a_link_on_the_node_stays_a_link(here: Path, there: Path) -> None:
    (there / "disk").mkdir()
    (there / "out").symlink_to("disk")
    put(here, "out/readme", "1")
    Push(here, there).all()
    put(here, "out/readme", "22")
    assert Push(here, there).all()["kept"] == []
    assert (there / "out").is_symlink()
    assert (there / "disk/readme").read_text() == "22"


def test_file_of_the_same_size_and_time_counts_as_placed(here: Path, there: Path) -> None:
    put(here, "a.py", "one", 1_700_000_000)
    put(there, "a.py", "one", 1_700_000_000)
    assert Push(here, there).all()["send"] == []
    put(here, "a.py", "three")
    assert Push(here, there).all()["kept"] == []
    assert contents(there) == {"a.py": "three"}


def test_two_projects_in_one_folder_delete_nothing_of_each_other(
    tmp_path: Path, here: Path, there: Path
) -> None:
    other = tmp_path / "other"
    put(here, "a.py", "a")
    put(other, "b.py", "b")
    Push(here, there).all()
    Push(other, there, owner="1" * 32).all()
    assert contents(there) == {"a.py": "a", "b.py": "b"}
    (here / "a.py").unlink()
    put(here, "c.py", "c")
    Push(here, there).all()
    assert contents(there) == {"b.py": "b", "c.py": "c"}


def test_enter_lists_names_that_were_not_placed(here: Path, there: Path) -> None:
    put(here, "config.json")
    put(there, "snapshot.pt")
    names = ["config.json", "snapshot.pt", "none.pt", "lib"]
    push = Push(here, there)
    assert push.enter(names=names)["have"] == ["snapshot.pt"]
    push.compare()
    push.placing.begin()
    push.transfer(push.compare())
    assert push.placing.settle()["have"] == ["snapshot.pt"]
    push.placing.leave()


def test_file_changed_during_transfer_is_sent_again(here: Path, there: Path) -> None:
    put(here, "train.log", "1", 1_700_000_000)
    push = Push(here, there)
    push.enter()
    answer = push.compare()
    push.placing.begin()
    put(here, "train.log", "22", 1_700_000_007)  # a process writes to it
    push.transfer(answer)
    assert push.placing.settle()["missing"] == 1
    push.placing.leave()
    put(here, "train.log", "333", 1_700_000_009)
    assert Push(here, there).all()["kept"] == []
    assert contents(there) == {"train.log": "333"}


# -- the record ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "spoil",
    [
        lambda text: "",
        lambda text: text[: len(text) // 2],
        lambda text: "[]",
        lambda text: json.dumps({**json.loads(text), "placed": [CLIMBS]}),
        lambda text: json.dumps({**json.loads(text), "made": ["/etc"]}),
        lambda text: json.dumps({**json.loads(text), "format": 99}),
        lambda text: json.dumps({**json.loads(text), "placed": 3}),
    ],
)  # fmt: skip
def test_invalid_manifest_counts_as_none(
    here: Path, there: Path, spoil: Callable[[str], str]
) -> None:
    put(here, "a.py", "one", 1_700_000_000)
    Push(here, there).all()
    path = Path(manifest.state_of(str(there))) / "manifest.json"
    path.write_text(spoil(path.read_text()))
    answer = Push(here, there).all()
    assert (answer["send"], answer["kept"]) == ([], [])


def test_manifest_is_private(here: Path, there: Path) -> None:
    put(here, "a.py")
    Push(here, there).all()
    state = Path(manifest.state_of(str(there)))
    modes = {path.stat().st_mode & 0o777 for path in (state, state / "manifest.json")}
    assert modes == {0o700, 0o600}


def test_full_disk_leaves_the_manifest_as_it_was(
    here: Path, there: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(here, "a.py", "one")
    Push(here, there).all()
    put(here, "a.py", "three")
    push = Push(here, there)
    push.enter()
    push.compare()
    before = (Path(manifest.state_of(str(there))) / "manifest.json").read_text()

    create = files.create

    def on_full_disk(path: str, mode: int = 0o600) -> int:
        os.close(create(path, mode))
        return os.open("/dev/full", os.O_WRONLY)

    with monkeypatch.context() as patch:
        patch.setattr(files, "create", on_full_disk)
        with pytest.raises(OSError, match="No space"):
            push.placing.begin()
    push.placing.leave()
    state = Path(manifest.state_of(str(there)))
    assert (state / "manifest.json").read_text() == before
    assert list(state.glob("*.tmp")) == []
    assert contents(there) == {"a.py": "one"}
    Push(here, there).all()
    assert contents(there) == {"a.py": "three"}


# -- what is not placed ------------------------------------------------------------------------------


def test_as_placed_is_false_for_changed_and_foreign_files(here: Path, there: Path) -> None:
    put(here, "train.py", "x")
    put(here, "snapshot.pt", "100")
    Push(here, there).all()
    put(there, "snapshot.pt", "2000")
    put(there, "run.log", "line")
    is_placed = placed.as_placed(str(there))
    names = ("train.py", "snapshot.pt", "run.log", "gone")
    assert [is_placed(name) for name in names] == [True, False, False, False]
