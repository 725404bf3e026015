"""Import torch in the interpreter that runs this, report its versions, then start a launcher's `--help`.

`software.py` starts it as `PYTHON -c THIS_TEXT LAUNCHER` with the job's environment, in its working
folder. One process for both: importing torch is most of the time of either.
"""

from __future__ import annotations

import json
import os
import runpy
import sys
from importlib import import_module
from typing import Any, Dict, Optional


def describe() -> Dict[str, Any]:
    """Import torch and return {"version", "nccl", "cuda", "why"}.

    `nccl` is the version of the library that it loads; `cuda` is whether torch can use a GPU, and `why` is
    why it cannot.
    """
    torch: Any = import_module("torch")
    available = bool(torch.cuda.is_available())
    return {
        "version": str(torch.__version__),
        "nccl": _nccl(torch),
        "cuda": available,
        "why": None if available else _refusal(torch),
    }


def _nccl(torch: Any) -> Optional[str]:
    if not hasattr(torch._C, "_nccl_version"):
        return None  # built without
    version = torch.cuda.nccl.version()
    parts = version if isinstance(version, tuple) else (version,)
    return ".".join(str(part) for part in parts)


def _refusal(torch: Any) -> Optional[str]:
    """Return the error that CUDA raises when it is used; None if it raises none."""
    try:
        torch.cuda.current_device()
    except Exception as error:  # any error of the driver
        return str(error)
    return None


if __name__ == "__main__":
    answers = os.dup(1)
    os.dup2(2, 1)  # torch, the launcher or a sitecustomize may print, too
    os.write(answers, json.dumps(describe()).encode("ascii") + b"\n")
    if sys.argv[1]:
        sys.argv = [sys.argv[1], "--help"]
        runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
