"""Diagnosing a text that is at hand, as another program does it."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from orchestrator.diagnose import as_json, diagnose_text

GUIDE = Path(__file__).parents[2] / "docs/guides/failures.md"
LOG = "step 1 loss 2.3\nOSError: [Errno 28] No space left on device\n"
# What `import orchestrator.diagnose` loads of orch besides itself: the hook of notebooks, and ranges.
NEEDED = {"orchestrator", "orchestrator.version", "orchestrator.util"}
NEEDED |= {"orchestrator.util.frontend", "orchestrator.util.numbers"}


def test_import_loads_nothing_else_of_orch_and_no_other_package() -> None:
    script = (
        "import sys; before = set(sys.modules)\n"
        "from orchestrator.diagnose import as_json, diagnose_text\n"
        "as_json(diagnose_text(sys.stdin))\n"
        "print(*(set(sys.modules) - before))"
    )
    words = [sys.executable, "-c", script]
    done = subprocess.run(words, input=LOG, capture_output=True, text=True, check=True)
    loaded = {name for name in done.stdout.split() if not name.startswith("orchestrator.diagnose")}
    own = {name for name in loaded if name.split(".")[0] == "orchestrator"}
    assert own == NEEDED
    assert {name.split(".")[0] for name in loaded - own} <= sys.stdlib_module_names


@pytest.mark.parametrize(
    "text", [LOG, LOG.encode(), LOG.splitlines(True), [LOG[:40].encode(), LOG[40:].encode()]]
)
def test_diagnose_text_takes_text_bytes_and_pieces(text: str) -> None:
    verdict = diagnose_text(text, name="a.log", rank=3).verdict
    assert verdict is not None
    place = verdict.first.place
    assert (verdict.signature.id, place.source, place.line, place.rank) == (
        "disk.full",
        "a.log",
        2,
        3,
    )


def test_diagnose_text_accepts_what_cannot_be_encoded() -> None:
    assert diagnose_text("\udcff\ud800 No space left on device").verdict is not None


def test_diagnose_text_of_nothing_has_no_verdict() -> None:
    assert as_json(diagnose_text("")) == {"verdict": None, "hits": [], "exits": [], "leads": []}


def test_example_of_the_guide_prints_causes(capsys: pytest.CaptureFixture[str]) -> None:
    section = GUIDE.read_text().split("## In a program of your own", 1)[1]
    block = re.search(r"```python\n(.*?)```", section, re.DOTALL)
    assert block is not None
    exec(block[1], {})
    said = capsys.readouterr().out.splitlines()
    assert said[0] == "cuda.no-device likely"
    assert said[-1] == "disk.full (1,)"


def test_json_of_a_text_is_plain() -> None:
    assert json.loads(json.dumps(as_json(diagnose_text(LOG))))["verdict"] == "disk.full"
