"""What a node holds of a rank: its record, and files as the kernel shows them."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any


def tree(root: Path, **files: str) -> str:
    """Write files below `root`, by their paths, and return it."""
    for path, text in files.items():
        place = root / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text)
    return str(root)


def write_record(folder: Path, **more: Any) -> None:
    """Write the record of rank 3, which has ended, into the folder of an attempt."""
    record = {
        "rank": 3, "local_rank": 1, "attempt": 0, "pid": 71, "started": time.time() - 5.0,
        "ended": time.time(), "code": 1, "signal": None, **more,
    }  # fmt: skip
    (folder / "rank-3.json").write_text(json.dumps(record))
