"""docs/preflight.md describes the checks."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from orchestrator.errors import LaunchError, UsageError
from orchestrator.preflight.model import Status
from orchestrator.preflight.registry import CHECKS

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs/preflight.md").read_text(encoding="utf-8")


def test_page_is_up_to_date_with_the_registry() -> None:
    done = subprocess.run(
        [sys.executable, ROOT / "scripts/docs", "--check", "docs/preflight.md"], capture_output=True
    )
    assert done.returncode == 0, done.stderr.decode()


def test_every_check_has_an_anchor_a_level_and_a_meaning() -> None:
    found = re.findall(
        r'^### <a id="(.*)"></a>`\1`\n\n\*(quick|full)\*: (.+)\.$', PAGE, re.MULTILINE
    )
    assert found == [(check.id, check.level.value, check.meaning) for check in CHECKS]


def test_every_check_has_a_page_of_some_length() -> None:
    for check in CHECKS:
        assert len(check.page.split()) >= 15, check.id


def test_every_status_and_exit_code_is_explained() -> None:
    for status in Status:
        assert f"| `{status}` |" in PAGE
    for code in (0, 1, UsageError.exit_code, LaunchError.exit_code):
        assert f"| {code} |" in PAGE


def test_checks_named_on_the_page_exist() -> None:
    known = {check.id for check in CHECKS} | {check.id.split(".")[0] for check in CHECKS}
    for names in re.findall(r"--only ([\w.,]+)", PAGE):
        assert set(names.split(",")) <= known, names
