"""The links between this node's GPUs: NVLink, from nvidia-smi, and the NVSwitches' fabric manager."""

from __future__ import annotations

import re
from typing import Any, Dict, List

from . import command, read

_SMI_TIMEOUT = 15.0
_TIMEOUT = 5.0
_GPU = re.compile(r"GPU (\d{1,9}): ")
_LINK = re.compile(r"\s*Link (\d{1,9}): (?:([0-9.]{1,20}) GB/s|(<?inactive>?))\s*\Z", re.IGNORECASE)
_ERRORS = re.compile(r"\s*Link (\d{1,9}): ([A-Za-z ]{1,80} Errors): (\d{1,18})\s*\Z")
_PACKAGE = re.compile(r"([a-z0-9.+-]{1,200})(?::\w{1,40})?: ")


def nvlink() -> Dict[str, Any]:
    """Return {"error": text or null, "gpus": [{"gpu", "active", "inactive", "errors"}]}.

    Only GPUs that have NVLink are among them. `active` is a count, `inactive` a list of links, `errors`
    the counters that are not zero, by kind, of all links together.
    """
    status = command.run_found("nvidia-smi", "nvlink", "--status", seconds=_SMI_TIMEOUT)
    if status is None:
        return {"error": "there is no nvidia-smi", "gpus": []}
    if status.code is None:
        return {"error": "nvidia-smi did not answer within {:g} s".format(_SMI_TIMEOUT), "gpus": []}
    gpus = parse_status(status.out)
    if not gpus:
        return {"error": status.why if status.code else None, "gpus": []}
    done = command.run_found("nvidia-smi", "nvlink", "-e", seconds=_SMI_TIMEOUT)
    counters = parse_errors("" if done is None else done.out)
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
            found[-1]["inactive"].append(-1)  # their number is not shown
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

    They are null if there is no fabric manager, no systemd, or no dpkg that knows the package.
    """
    path = command.find("nv-fabricmanager")
    has_systemd = bool(read.names(root, "/run/systemd/system"))
    state = _shown("systemctl", "is-active", "nvidia-fabricmanager.service") if has_systemd else ""
    version = re.search(r"version is : ([0-9.]+)", _shown("nv-fabricmanager", "--version"))
    package = None if path is None else _PACKAGE.match(_shown("dpkg-query", "-S", path))
    return {
        "manager": path,
        "version": version.group(1) if version else None,
        "active": state.strip()[:40] or None,
        "package": package.group(1) if package else None,
    }


def _shown(name: str, *options: str) -> str:
    """Return the output of a command; nothing if there is no such command."""
    done = command.run_found(name, *options, seconds=_TIMEOUT)
    return "" if done is None else done.out
