"""scripts/words finds what docs/style.md rules out, wherever people read it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parent.parent / "scripts/words"
STYLE = """
## Words not to use

| Not | But |
| --- | --- |
| gizmo*, goes away | part |

## Messages
"""


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs/style.md").write_text(STYLE)
    subprocess.run(["git", "init", "-q", tmp_path], check=True)
    return tmp_path


def _words(checkout: Path, text: str) -> subprocess.CompletedProcess[str]:
    (checkout / "page.py").write_text(text)
    subprocess.run(["git", "add", "-A"], cwd=checkout, check=True)
    return subprocess.run([sys.executable, SCRIPT], cwd=checkout, capture_output=True, text=True)


@pytest.mark.parametrize(
    ("text", "line", "word"),
    [
        ("# the gizmos\n", 1, "gizmos"),
        ("x = 1\nold_gizmo_name = 2\n", 2, "gizmo"),
        ("class OldGizmoName: ...\n", 1, "Gizmo"),
        ("# it goes\n# away\n", 1, "goes away"),
        ("def goes_away(): ...\n", 1, "goes away"),
    ],
)
def test_word_is_found_in_text_in_names_and_over_the_end_of_a_line(
    checkout: Path, text: str, line: int, word: str
) -> None:
    done = _words(checkout, text)
    found = [each.split(" (write")[0] for each in done.stdout.splitlines()]
    assert (done.returncode, found[:1]) == (1, [f"page.py:{line}: {word}"]), done.stderr


@pytest.mark.parametrize(
    "text", ["# a part\n", "# ungizmo\n", 'QUOTED = "gizmo"  # verbatim\n'], ids=repr
)
def test_other_words_and_what_is_quoted_pass(checkout: Path, text: str) -> None:
    done = _words(checkout, text)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
