"""Show what a preflight found."""

from __future__ import annotations

import dataclasses
import json
import sys
from typing import Any, Literal

from orchestrator.preflight.report import Report


def show(report: Report, seconds: float, output: Literal["text", "json"]) -> None:
    """Write the report to stdout."""
    text = json.dumps(as_json(report, seconds), indent=None if output == "json" else 2)
    sys.stdout.buffer.write(text.encode() + b"\n")
    sys.stdout.buffer.flush()


def as_json(report: Report, seconds: float) -> dict[str, Any]:
    """Return the report as one JSON object, an entry of `checks` for each finding."""
    return {
        "status": report.status,
        "level": report.scene.level,
        "seconds": round(seconds, 3),
        "checks": [
            {
                "id": result.check.id,
                "group": result.check.group.value,
                "status": finding.status,
                "nodes": list(finding.nodes),
                "message": finding.message,
                "remedy": finding.remedy and dataclasses.asdict(finding.remedy),
                "data": dict(finding.data),
            }
            for result in report.results
            for finding in result.findings
        ],
    }
