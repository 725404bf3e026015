"""What orch knows, from its own tables: checks, failures, the example inventory, decisions."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path

from orchestrator.diagnose.table import FAMILIES
from orchestrator.preflight.registry import CHECKS

ROOT = Path(__file__).resolve().parents[2]


def checks() -> Iterator[str]:
    """Yield every check, by group; links to a check go to its id: `docs/preflight.md#net.tcp`."""
    for group, members in groupby(CHECKS, key=lambda check: check.group):
        yield f"## {group.value}\n"
        for check in members:
            yield f'### <a id="{check.id}"></a>`{check.id}`\n'
            yield f"*{check.level.value}*: {check.meaning}.\n"
            yield f"{check.page.strip()}\n"


def signatures() -> Iterator[str]:
    """Yield every signature, by family; what is filled in when it is found is in asterisks."""
    for family, members in FAMILIES.items():
        yield f"## {family}\n"
        for signature in members:
            follows = f", after {signature.after}" if signature.after else ""
            check = signature.check
            before = (
                f" Checked before a launch by [`{check}`](preflight.md#{check})." if check else ""
            )
            entry = (
                f'### <a id="{signature.id}"></a>`{signature.id}`\n\n'
                f"*{signature.kind.name.lower()}{follows}*: {signature.meaning}.\n\n"
                f"Cause: {signature.cause}. Fix: {signature.fix}.{before}\n"
            )
            yield re.sub("[{}]", "*", entry)


def example() -> Iterator[str]:
    """Yield the example inventory."""
    yield f"```yaml\n{(ROOT / 'inventory.example.yaml').read_text(encoding='utf-8')}```\n"


def decisions() -> Iterator[str]:
    """Yield a table of the decisions."""
    rows = ["| | Decision | Status |", "| --- | --- | --- |"]
    for path in sorted((ROOT / "docs/decisions").glob("[0-9]*.md")):
        text = path.read_text(encoding="utf-8")
        heading = re.search(r"^# (\d+)\. (.+)$", text, re.MULTILINE)
        status = re.search(r"^\*{0,2}Status:?\*{0,2}:? *(.+?)\.?$", text, re.MULTILINE)
        if heading is None:
            sys.exit(f"{path.name} has no heading with a number")
        number, title = heading.groups()
        rows.append(
            f"| {number} | [{title}]({path.name}) | {status[1] if status else 'accepted'} |"
        )
    yield "\n".join(rows) + "\n"
