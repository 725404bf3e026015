"""docs/signatures.md agrees with the table."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from orchestrator.diagnose import SIGNATURES, Kind
from orchestrator.diagnose.signatures.exits import BY_SIGNAL

ROOT = Path(__file__).parent.parent.parent
PAGE = (ROOT / "docs/signatures.md").read_text(encoding="utf-8")


def test_page_is_up_to_date() -> None:
    done = subprocess.run(
        [sys.executable, ROOT / "scripts/docs", "--check", "docs/signatures.md"],
        capture_output=True,
    )
    assert done.returncode == 0, done.stderr.decode()


def test_page_has_an_anchor_for_every_signature() -> None:
    assert set(re.findall(r'<a id="(.*?)">', PAGE)) == {signature.id for signature in SIGNATURES}


def test_page_explains_every_kind() -> None:
    for kind in Kind:
        assert f"| `{kind.name.lower()}` |" in PAGE


def test_page_lists_the_signals_of_crashes() -> None:
    for signal in (1, 2, 4, 6, 7, 9, 11, 15):
        assert signal in BY_SIGNAL
        assert f"| -{signal}, {128 + signal} |" in PAGE
