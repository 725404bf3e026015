"""What makes a folder large."""

from __future__ import annotations

from pathlib import Path

from orchestrator.sync import collect
from orchestrator.sync.largest import Large, is_output, largest


def place(root: Path, name: str, size: int) -> None:
    (root / name).parent.mkdir(parents=True, exist_ok=True)
    (root / name).write_bytes(b"x" * size)


def test_largest_come_first_with_the_lines_that_leave_them_out(tmp_path: Path) -> None:
    place(tmp_path, "checkpoints/a/last.pt", 4000)
    place(tmp_path, "checkpoints/b.pt", 1000)
    place(tmp_path, "data/raw/part [1]/x", 3000)
    place(tmp_path, "data/readme", 10)
    place(tmp_path, "model.bin", 2000)
    place(tmp_path, "train.py", 20)
    assert largest(collect(tmp_path)) == [
        Large("checkpoints/", 5000, True, "/checkpoints/"),
        Large("data/raw/part [1]/", 3000, False, "/data/raw/part \\[1]/"),
        Large("model.bin", 2000, False, "/model.bin"),
    ]


def test_lines_leave_out_what_they_name(tmp_path: Path) -> None:
    for name in ("a*b/x", "run s/x", "wandb/x", "keep.py"):
        place(tmp_path, name, 100)
    lines = [large.line for large in largest(collect(tmp_path)) if large.path != "keep.py"]
    (tmp_path / ".orchignore").write_text("\n".join(lines))
    assert collect(tmp_path).files == (".orchignore", "keep.py")


def test_empty_folder_has_no_largest(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert largest(collect(tmp_path)) == []


def test_output_folders_are_known_at_any_depth() -> None:
    assert all(map(is_output, ("wandb", "exp/lightning_logs/version_0", "Outputs")))
    assert not any(map(is_output, ("data", "logging.py", "my_runs")))
