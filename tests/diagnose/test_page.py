"""docs/signatures.md says what the table says."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from orchestrator.diagnose import SIGNATURES, Kind
from orchestrator.diagnose.signatures.exits import BY_SIGNAL

ROOT = Path(__file__).parent.parent.parent
PAGE = (ROOT / "docs/signatures.md").read_text(encoding="utf-8")


def test_it_is_what_the_table_gives() -> None:
    done = subprocess.run(
        [sys.executable, ROOT / "scripts/docs", "--check", "docs/signatures.md"],
        capture_output=True,
    )
    assert done.returncode == 0, done.stderr.decode()


def test_every_row_has_an_anchor_and_there_is_no_other() -> None:
    assert set(re.findall(r'<a id="(.*?)">', PAGE)) == {signature.id for signature in SIGNATURES}


def test_every_kind_is_explained() -> None:
    for kind in Kind:
        assert f"| `{kind.name.lower()}` |" in PAGE


def test_the_signals_of_crashes_are_in_the_table_of_exit_codes() -> None:
    for signal in (1, 2, 4, 6, 7, 9, 11, 15):
        assert signal in BY_SIGNAL
        assert f"| -{signal}, {128 + signal} |" in PAGE
