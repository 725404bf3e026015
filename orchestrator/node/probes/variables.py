"""The variables that steer communication, as the login sets them."""

from __future__ import annotations

import os
import re
from typing import Dict

_STEERING = re.compile(
    r"(?:NCCL|GLOO|TORCH|TORCHELASTIC|PET|FI|UCX|OMP|KMP)_[A-Z0-9_]+\Z|CUDA_VISIBLE_DEVICES\Z"
)
_MOST = 300  # variables
_LONGEST = 500  # characters of a value


def variables() -> Dict[str, str]:
    """Return {name: value} of the login's environment, of NCCL, gloo, torch, libfabric, UCX and OpenMP."""
    names = sorted(name for name in os.environ if _STEERING.match(name))
    return {name: os.environ[name][:_LONGEST] for name in names[:_MOST]}
