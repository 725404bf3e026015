"""Look into the interpreter that runs this: versions as they stand on disk, and which modules it finds.

`software.py` starts it as `PYTHON -c THIS_TEXT REQUEST` with the job's environment, so that PYTHONPATH,
.pth files and a virtual environment count. It imports nothing that it looks for: torch takes seconds.
"""

from __future__ import annotations

import importlib.util
import json
import os
import re
import sys
from typing import Any, Dict, List, Optional

_DISTRIBUTION = re.compile(
    r"(lightning|pytorch_lightning|nvidia_nccl_cu\d+)-(\d[^-]*)\.(?:dist|egg)-info"
)


def look(names: List[str], folder: str) -> Dict[str, Any]:
    """Return what this interpreter is, and which of the modules `names` it does not find.

    `folder` is the script's, the first place where Python looks.
    """
    if not getattr(sys.flags, "safe_path", False):
        sys.path[0] = folder  # `-c` has the working folder there
    distributions = _distributions()
    return {
        "executable": sys.executable,
        "python": ".".join(map(str, sys.version_info[:3])),
        "torch": _torch(),
        "distributions": distributions,
        "pip": _finds("pip"),
        "missing": [name for name in names if not _finds(name)],
    }


def _finds(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except (ImportError, AttributeError, ValueError):
        return True  # a finder that cannot tell: nothing is said against the module


def _distributions() -> Dict[str, str]:
    """Return {name: version} of the few distributions of interest, by the names of their folders."""
    found: Dict[str, str] = {}
    for place in sys.path:
        try:
            entries = os.listdir(place or ".")
        except OSError:
            continue  # a zip file, or nothing at all
        for entry in entries:
            match = _DISTRIBUTION.match(entry)
            if match:
                found.setdefault(match.group(1).replace("_", "-"), match.group(2))
    return found


def _torch() -> Optional[Dict[str, Optional[str]]]:
    """Return {"version", "cuda", "hip"} as torch/version.py has them; None without torch."""
    try:
        spec = importlib.util.find_spec("torch")
    except (ImportError, AttributeError, ValueError):
        return None
    if spec is None:
        return None
    for place in spec.submodule_search_locations or []:
        try:
            with open(os.path.join(place, "version.py"), encoding="utf-8") as file:
                text = file.read(1 << 16)
        except (OSError, ValueError):
            continue
        return {name: _assigned(text, name) for name in ("version", "cuda", "hip")}
    return None


def _assigned(text: str, name: str) -> Optional[str]:
    pattern = r"""^(?:__)?{}(?:__)?\s*(?::[^=\n]*)?=\s*['"]([^'"\n]*)['"]""".format(name)
    match = re.search(pattern, text, re.MULTILINE)
    return match.group(1) if match else None


if __name__ == "__main__":
    sys.stdout.write("\n" + json.dumps(look(**json.loads(sys.argv[1]))) + "\n")
