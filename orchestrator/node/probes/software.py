"""The interpreter of the job: what it has installed, and whether torch and the launcher start."""

from __future__ import annotations

import json
import os
import platform
import re
import sys
import zipimport
from importlib import import_module
from typing import Any, Dict, List, Optional

from ..environment import job_environment
from . import command, read

_LOOK_TIMEOUT = 10.0  # seconds; it takes 0.03 without a slow file server
_START_TIMEOUT = 50.0  # importing torch takes 2 to 5 s, many times that from a cold file server
_DRIVER = re.compile(r"Kernel Module\s.*?(\d{1,6}\.\d{1,6}(?:\.\d{1,6}){0,4})")
_TRACEBACK = re.compile(r"[A-Za-z_][\w.]{0,200}(?:Error|Exception|Warning|Interrupt|Exit)\b")


def software(
    names: List[str],
    folder: str,
    workdir: str,
    environment: Dict[str, str],
    unset: List[str],
    root: str = "/",
) -> Dict[str, Any]:
    """Return {"kernel", "driver", "interpreter", "broken"}.

    `interpreter` is what `look.py` finds, also of the modules `names`, for a script in `folder`; null if
    the interpreter does not start in the job's `environment`: `broken` is why. `kernel` is the release of
    Linux, `driver` the version of NVIDIA's, null without.
    """
    request = json.dumps({"names": names, "folder": folder})
    done = _run("look", request, workdir, environment, unset, _LOOK_TIMEOUT)
    if done.code is None:
        raise TimeoutError("{} is not ready within {:g} s".format(sys.executable, _LOOK_TIMEOUT))
    found = _last_object(done.out)
    return {
        "kernel": platform.release(),
        "driver": _driver(root),
        "interpreter": found,
        "broken": None if found else _error_line(done),
    }


def start(
    launcher: str, workdir: str, environment: Dict[str, str], unset: List[str]
) -> Dict[str, Any]:
    """Import torch for real, then start `LAUNCHER --help` unless `launcher` is empty.

    Returns {"torch": what `start.py` reports or null, "code": exit code or null if it had not ended within
    `seconds`, "seconds", "error": the line of its error}.
    """
    done = _run("start", launcher, workdir, environment, unset, _START_TIMEOUT)
    return {
        "torch": _last_object(done.out),
        "code": done.code,
        "seconds": _START_TIMEOUT,
        "error": _error_line(done),
    }


def _run(
    program: str,
    argument: str,
    workdir: str,
    environment: Dict[str, str],
    unset: List[str],
    seconds: float,
) -> command.Done:
    """Run a program of this folder in the job's interpreter, as the job would."""
    return command.run(
        [sys.executable, "-c", _text("{}.{}".format(__package__, program)), argument],
        seconds,
        job_environment(unset, environment),
        workdir if os.path.isdir(workdir) else "/",
    )


def _text(module: str) -> str:
    """Return the source of one of orch's modules."""
    loader: Any = import_module(module).__spec__.loader  # type: ignore[union-attr]
    text = loader.get_source(module)
    if text is None:  # the zipapp's compiled twin has none
        folder = os.path.join(sys.argv[0], *module.split(".")[:-1])
        text = zipimport.zipimporter(folder).get_source(module)
    return str(text)


def _last_object(out: str) -> Optional[Any]:
    """Return the JSON object on the last line; a sitecustomize may have printed before it."""
    lines = out.strip().splitlines()
    try:
        found = json.loads(lines[-1])
    except (IndexError, ValueError):
        return None
    return found if isinstance(found, dict) else None


def _error_line(done: command.Done) -> str:
    """Return the line of the error, at most 300 characters: the last with an exception, else the last."""
    lines = [line.strip() for line in done.err.splitlines() if line.strip()]
    named = [line for line in lines if _TRACEBACK.match(line)]
    return (named or lines or ["exit code {}".format(done.code)])[-1][:300]


def _driver(root: str) -> Optional[str]:
    """Return the version of NVIDIA's kernel driver, as its /proc file has it, or /sys."""
    match = _DRIVER.search(read.text(root, "/proc/driver/nvidia/version") or "")
    return match.group(1) if match else read.text(root, "/sys/module/nvidia/version") or None
