"""Inspect the interpreter that runs this: versions as found on disk, and which modules it finds.

`software.py` starts it as `PYTHON -c THIS_TEXT REQUEST` with the job's environment, so that PYTHONPATH,
.pth files and a virtual environment apply. It imports none of the modules: torch takes seconds.
"""

from __future__ import annotations

import glob
import importlib.util
import json
import os
import re
import sys
import sysconfig

TYPE_CHECKING = False
if TYPE_CHECKING:  # every launch waits for this program, and `typing` is a fifth of its start
    from typing import Any, Dict, List, Optional

_DISTRIBUTION = re.compile(
    r"(lightning|pytorch_lightning|nvidia_nccl_cu\d+)-(\d[^-]*)\.(?:dist|egg)-info"
)


def look(names: List[str], folder: str) -> Dict[str, Any]:
    """Return the versions of this interpreter, and which of the modules `names` it does not find.

    `folder` is the script's, which is first on Python's path.
    """
    if not getattr(sys.flags, "safe_path", False):
        sys.path[0] = folder  # `-c` has the working folder there
    distributions = _distributions()
    torch = _torch()
    return {
        "executable": sys.executable,
        "python": ".".join(map(str, sys.version_info[:3])),
        "torch": torch,
        "distributions": distributions,
        "pip": _finds("pip"),
        "ensurepip": _finds("ensurepip"),
        "managed": _is_managed(),
        "elsewhere": [] if torch else _with_torch(),
        "missing": [name for name in names if not _finds(name)],
    }


def _finds(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except (ImportError, AttributeError, ValueError):
        return True  # a broken finder does not prove that the module is missing


def _distributions() -> Dict[str, str]:
    """Return {name: version} of the distributions of interest, from the names of their folders."""
    found: Dict[str, str] = {}
    for place in sys.path:
        try:
            entries = os.listdir(place or ".")
        except OSError:
            continue  # a zip file, or missing
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


def _is_managed() -> bool:
    """Return whether the system's package manager manages this Python (PEP 668), so that pip refuses."""
    if sys.prefix != sys.base_prefix:
        return False
    return os.path.exists(os.path.join(sysconfig.get_path("stdlib"), "EXTERNALLY-MANAGED"))


def _with_torch() -> List[str]:
    """Return interpreters of environments in the usual places that have a torch."""
    home = os.path.expanduser("~")
    places = [os.getcwd(), home, os.path.join(home, "*"), "/opt", "/opt/*", "/opt/conda/envs"]
    conda = ("miniconda3", "anaconda3", "miniforge3", "micromamba")
    places += [os.path.join(home, name, "envs") for name in conda]
    places.append(os.path.join(home, ".virtualenvs"))
    found = []
    for place in places:
        for pattern in (".venv", "venv", "*"):
            packages = os.path.join(place, pattern, "lib", "python3*", "site-packages", "torch")
            for match in sorted(glob.glob(os.path.join(packages, "version.py"))):
                python = os.path.join(match.split("/lib/python3")[0], "bin", "python")
                if os.access(python, os.X_OK) and python not in found:
                    found.append(python)
    return found[:3]


def _assigned(text: str, name: str) -> Optional[str]:
    pattern = r"""^(?:__)?{}(?:__)?\s*(?::[^=\n]*)?=\s*['"]([^'"\n]*)['"]""".format(name)
    match = re.search(pattern, text, re.MULTILINE)
    return match.group(1) if match else None


if __name__ == "__main__":
    sys.stdout.write("\n" + json.dumps(look(**json.loads(sys.argv[1]))) + "\n")
