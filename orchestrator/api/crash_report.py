"""Write a report about an internal error of orch."""

from __future__ import annotations

import tempfile
import traceback

from orchestrator.plan.masking import masked_text


def write_crash_report() -> str:
    """Write the traceback of the current exception, without secrets, to a new file, and return its path.

    Raises OSError.
    """
    text = masked_text(traceback.format_exc())
    with tempfile.NamedTemporaryFile(
        "w", prefix="orch-report-", suffix=".txt", delete=False, errors="replace"
    ) as file:
        file.write(text)
    return file.name
