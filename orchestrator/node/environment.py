"""The environment of a job's processes on this node."""

from __future__ import annotations

import os
from typing import Dict, List


def environment_of_job(unset: List[str], given: Dict[str, str]) -> Dict[str, str]:
    """Return what a process of a job finds: the login's environment, and `given` laid over it.

    Without the `unset`, and without what torchrun would take for its options.
    """
    environment = {
        name: value
        for name, value in os.environ.items()
        if name not in unset and not name.startswith("PET_")
    }
    environment.update(given)
    return environment
