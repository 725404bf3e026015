"""Files that a job names but that are not sent."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.sync.unsent import (
    Unsent,
    unsent_arguments,
    unsent_in_script,
    why_unsent,
)


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project in the current folder, with data that git ignores, and data beside it."""
    monkeypatch.setenv("HOME", "/nowhere")
    for name in ("exp/data/train.bin", "exp/conf.json", "data/x.bin", "exp/runs/old.pt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("x")
    (tmp_path / "exp/.gitignore").write_text("data/\nruns/\n")
    monkeypatch.chdir(tmp_path / "exp")
    return tmp_path / "exp"


def arguments(project: Path, *words: str) -> list[Unsent]:
    return list(unsent_arguments(project, project, Path.cwd(), words))


def script(project: Path, text: str, name: str = "train.py") -> list[Unsent]:
    path = project / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    return list(unsent_in_script(project, project, path))


def test_ignored_argument_is_reported_with_the_line(project: Path) -> None:
    for word in (
        "data/train.bin",
        "--data=data/train.bin",
        "data.path=data/train.bin",
        "./data/train.bin",
    ):
        (found,) = arguments(project, word)
        assert found.cause.startswith("the argument ")
        assert (
            "data/train.bin is here but not sent to the nodes, left out by .gitignore:1"
            in found.cause
        )
        assert found.fix == "add to .orchignore: !/data/"


def test_argument_outside_the_folder_is_reported_with_a_wider_one(project: Path) -> None:
    (found,) = arguments(project, "../data")
    assert "outside" in found.cause
    assert found.fix == "launch with --sync .., which contains both"


def test_remedy_does_not_suggest_a_refused_folder(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(project.parent))
    (found,) = arguments(project, "../data/x.bin")
    assert found.fix.startswith("copy it into ~/exp, or to the nodes")


def test_absolute_argument_is_reported_only_inside_the_folder(project: Path) -> None:
    (found,) = arguments(project, f"--conf={project}/conf.json")
    assert found.fix == "write it relative to the folder: conf.json"
    assert arguments(project, "/etc/passwd", str(project.parent / "data")) == []


def test_arguments_that_are_sent_or_do_not_exist_are_not_reported(project: Path) -> None:
    words = (
        "conf.json",
        "10",
        "",
        ".",
        "--lr=0.1",
        "a\0b",
        "x" * 5000,
        "gone/x",
        "runs",
        "--out=runs/a",
    )
    assert arguments(project, *words) == []


def test_argument_in_the_current_folder_is_reported_if_another_is_sent(
    project: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (found,) = unsent_arguments(other, other, project, ["conf.json"])
    assert "conf.json is here, outside" in found.cause
    assert found.fix == "launch with --sync .., which contains both"
    (other / "conf.json").write_text("its own")
    assert list(unsent_arguments(other, other, project, ["conf.json"])) == []


@pytest.mark.parametrize(
    "text",
    [
        'print(open("data/train.bin").read())',
        'load(root="data")',
        'parser.add_argument("--data", default="data")',
        'HERE = Path(__file__).parent / "data/train.bin"',
    ],
)
def test_unsent_file_in_a_script_is_reported_with_the_line(project: Path, text: str) -> None:
    (found,) = script(project, f"import x\n\n{text}\n")
    assert found.cause.startswith("train.py:3: data")
    assert found.cause.endswith("not sent to the nodes, left out by .gitignore:1 (data/)")
    assert found.fix == "add to .orchignore: !/data/"


@pytest.mark.parametrize(
    "text",
    [
        'MNIST("data", download=True)',
        'os.makedirs("data", exist_ok=True)',
        'open("data/new.bin", "w")',
        'torch.save(x, "runs/old.pt")',
        'd["data"]',
        'open("conf.json")',
        'open("gone.json")',
        'sys.path.append("..")',
        "'data/train.bin",
        "",
    ],
)
def test_files_that_a_script_creates_or_that_are_sent_are_not_reported(
    project: Path, text: str
) -> None:
    assert script(project, text) == []


def test_file_beside_the_script_that_is_sent_is_not_reported(project: Path) -> None:
    (project / "scripts/data").mkdir(parents=True)
    (project / "scripts/data/train.bin").write_text("x")
    (project / ".gitignore").write_text("/data/\n")
    assert script(project, 'open("data/train.bin")', "scripts/train.py") == []


def test_missing_script_reports_nothing(project: Path) -> None:
    assert list(unsent_in_script(project, project, project / "gone.py")) == []


@pytest.mark.parametrize("path", ["", "a\0b", "x" * 3000, "gone", "conf.json"])
def test_path_that_is_sent_or_missing_has_no_reason(project: Path, path: str) -> None:
    assert why_unsent(project, project, path) is None
