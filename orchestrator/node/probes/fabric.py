"""What joins this node's GPUs: NVLink as nvidia-smi shows it, and the fabric manager of the NVSwitches."""

from __future__ import annotations

import re
from typing import Any, Dict, List, Optional

from . import command, read

_SECONDS = 15.0
_GPU = re.compile(r"GPU (\d{1,9}): ")
_LINK = re.compile(r"\s*Link (\d{1,9}): (?:([0-9.]{1,20}) GB/s|(<?inactive>?))\s*\Z", re.IGNORECASE)
_ERRORS = re.compile(r"\s*Link (\d{1,9}): ([A-Za-z ]{1,80} Errors): (\d{1,18})\s*\Z")
_PACKAGE = re.compile(r"([a-z0-9.+-]{1,200})(?::\w{1,40})?: ")


def nvlink() -> Dict[str, Any]:
    """Return {"error": text or null, "gpus": [{"gpu", "active", "inactive", "errors"}]}.

    Only GPUs that have NVLink are among them. `active` is a count, `inactive` a list of links, `errors`
    the counters that are not zero, by kind, of all links together.
    """
    path = command.find("nvidia-smi")
    if path is None:
        return {"error": "there is no nvidia-smi", "gpus": []}
    status = command.run([path, "nvlink", "--status"], _SECONDS)
    if status.code is None:
        return {"error": "nvidia-smi did not answer within {:g} s".format(_SECONDS), "gpus": []}
    gpus = parse_status(status.out)
    if status.code and not gpus:
        return {"error": status.why, "gpus": []}
    if gpus:
        counters = parse_errors(command.run([path, "nvlink", "-e"], _SECONDS).out)
        for gpu in gpus:
            gpu["errors"] = counters.get(gpu["gpu"], {})
    return {"error": None, "gpus": gpus}


def parse_status(text: str) -> List[Dict[str, Any]]:
    """Return the GPUs with links in the output of `nvidia-smi nvlink --status`."""
    found: List[Dict[str, Any]] = []
    for line in text.split("\n"):
        header = _GPU.match(line)
        if header:
            found.append({"gpu": int(header.group(1)), "active": 0, "inactive": [], "errors": {}})
            continue
        if not found:
            continue
        link = _LINK.match(line)
        if link and link.group(3) is None:
            found[-1]["active"] += 1
        elif link:
            found[-1]["inactive"].append(int(link.group(1)))
        elif "all links are inactive" in line.lower():
            found[-1]["inactive"].append(-1)  # it does not say how many there are
    return [gpu for gpu in found if gpu["active"] or gpu["inactive"]]


def parse_errors(text: str) -> Dict[int, Dict[str, int]]:
    """Return {GPU: {kind: count}} of the output of `nvidia-smi nvlink -e`, without the zeros."""
    found: Dict[int, Dict[str, int]] = {}
    kinds: Dict[str, int] = {}
    for line in text.split("\n"):
        header = _GPU.match(line)
        if header:
            kinds = found.setdefault(int(header.group(1)), {})
            continue
        match = _ERRORS.match(line)
        if match and int(match.group(3)):
            kind = match.group(2)
            kinds[kind] = kinds.get(kind, 0) + int(match.group(3))
    return found


def fabric(root: str = "/") -> Dict[str, Any]:
    """Return {"manager": path or null, "version", "active": systemd's state or null, "package"}.

    They are null where there is no fabric manager, no systemd, or no dpkg that knows the package.
    """
    path = command.find("nv-fabricmanager")
    if path is None:
        return {"manager": None, "version": None, "active": _state(root), "package": None}
    version = re.search(r"version is : ([0-9.]+)", command.run([path, "--version"], 5.0).out)
    return {
        "manager": path,
        "version": version.group(1) if version else None,
        "active": _state(root),
        "package": _package(path),
    }


def _state(root: str) -> Optional[str]:
    path = command.find("systemctl")
    if path is None or not read.names(root, "/run/systemd/system"):
        return None
    shown = command.run([path, "is-active", "nvidia-fabricmanager.service"], 5.0).out
    return shown.strip()[:40] or None


def _package(path: str) -> Optional[str]:
    dpkg = command.find("dpkg-query")
    if dpkg is None:
        return None
    match = _PACKAGE.match(command.run([dpkg, "-S", path], 5.0).out)
    return match.group(1) if match else None
