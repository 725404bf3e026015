"""The files that a script may read, by its text and its arguments."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.plan.opened_files import opened_files

TUTORIAL = """
class Trainer:
    def __init__(self, model, snapshot_path):
        if os.path.exists(snapshot_path):
            torch.load(snapshot_path)
    def save(self):
        torch.save(state, self.snapshot_path)
def main(snapshot_path: str = "snapshot.pt"):
    Trainer(model, snapshot_path)
"""


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (TUTORIAL, ("snapshot.pt",)),
        ("torch.load('out/best.ckpt')", ("out/best.ckpt",)),
        ("open('vocab.json')", ("vocab.json",)),
        ("open('vocab.json', mode='rb')", ("vocab.json",)),
        ("open('train.log', 'w')", ()),
        ("open('train.log', mode='a')", ()),
        ("torch.save(model, 'model.pt')", ()),
        ("torch.save(model, 'model.pt')\ntorch.load('other.pt')", ("other.pt",)),
        ("json.load(open('a.json'))\ndf.to_csv(path='b.csv')", ("a.json",)),
        ("print('snapshot.pt')", ()),
        ("exists('/data/x.pt')\nexists('../x.pt')\nexists('./x.pt')\nexists('a/../x.pt')", ()),
        ("exists('e.g. this.')\nexists('%s.pt')\nexists('v1.2')\nexists('runs')", ()),
        ("exists('helper.py')", ()),
        ("exists(", ()),
        ("\0", ()),
    ],
)
def test_opened_files_are_those_that_may_be_read(text: str, found: tuple[str, ...]) -> None:
    assert opened_files(text) == found


def test_opened_files_includes_arguments() -> None:
    words = ["--resume", "last.ckpt", "--config=conf/a.yaml", "--lr", "0.1", "/abs/x.pt"]
    assert opened_files("load(sys.argv[2])", words) == ("last.ckpt", "conf/a.yaml")


@given(st.text())
def test_opened_files_of_any_text_ends(text: str) -> None:
    for name in opened_files(f"exists({text!r})", [text]):
        assert not name.startswith("/")
        assert ".." not in name.split("/")
