"""Launchers by name: orch's own, then those of plug-ins."""

from __future__ import annotations

from functools import cache
from importlib import import_module

from orchestrator.errors import UsageError
from orchestrator.plan.launchers.base import Launcher
from orchestrator.util.plugins import Plugins, load_plugins, plugin_names
from orchestrator.util.text import nearest

GROUP = "orch.launchers"
BUILT_IN = ("torchrun", "fabric", "accelerate", "deepspeed", "python", "direct", "mpi", "ray")
"""Modules of this package, imported when they are needed."""

DEFAULT = "torchrun"

_RENAMED = {
    "lightning": "`lightning run model` and `fabric run` are the same: --launcher fabric",
}
"""What to use for commands that are no launchers here."""


def names() -> tuple[str, ...]:
    """Return all names of launchers, also of plug-ins that may be broken."""
    return tuple(dict.fromkeys((*BUILT_IN, *plugin_names(GROUP))))


def built_in(name: str) -> Launcher:
    """Return orch's own launcher with this name. Raises ValueError if there is none."""
    if name not in BUILT_IN:
        raise ValueError(f"{name!r} is no launcher of orch's own")
    launcher: Launcher = import_module(f"{__package__}.{name}").LAUNCHER
    return launcher


def find(name: str) -> Launcher:
    """Return the launcher with this name. Raises UsageError if there is none, or it is broken."""
    if name in BUILT_IN:
        return built_in(name)
    plugins = _plugins()
    if name in plugins.found:
        return plugins.found[name]
    there_are = f"There are {', '.join((*BUILT_IN, *plugins.found))}"
    if (broken := plugins.find_broken(name)) is not None:
        raise UsageError(f"launcher {broken}", remedy=f"repair that package. {there_are}")
    if name in _RENAMED:
        raise UsageError(f"{name} is no launcher of orch", remedy=_RENAMED[name])
    meant = nearest(name, (*BUILT_IN, *plugins.found))
    did = f"did you mean {meant}? " if meant else ""
    raise UsageError(f"unknown launcher {name!r}", remedy=f"{did}{there_are}")


def all_launchers() -> tuple[Launcher, ...]:
    """Return every launcher that works."""
    return tuple(find(name) for name in (*BUILT_IN, *_plugins().found))


def left_out() -> tuple[str, ...]:
    """Return a line for each broken plug-in: its name, and why it is left out."""
    return tuple(f"launcher {broken}" for broken in _plugins().broken)


@cache
def _plugins() -> Plugins[Launcher]:
    return load_plugins(GROUP, Launcher, taken=BUILT_IN)  # type: ignore[type-abstract]
