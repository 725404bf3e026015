"""Every launcher by its name: those of orch, then those of other installed packages."""

from __future__ import annotations

from functools import cache
from importlib import import_module

from orchestrator.errors import UsageError
from orchestrator.plan.launchers.base import Launcher
from orchestrator.util.plugins import Plugins, load_plugins, plugin_names
from orchestrator.util.text import nearest

GROUP = "orch.launchers"
BUILT_IN = ("torchrun", "fabric", "python", "direct")
"""Each is a module beside this one, which is imported when it is asked for."""

DEFAULT = "torchrun"


def names() -> tuple[str, ...]:
    """Return the names that a launcher may have, also those of plug-ins that turn out to be broken."""
    return tuple(dict.fromkeys((*BUILT_IN, *plugin_names(GROUP))))


def built_in(name: str) -> Launcher:
    """Return the launcher of orch's own that has this name. Raises ValueError where there is none."""
    if name not in BUILT_IN:
        raise ValueError(f"{name!r} is no launcher of orch's own")
    launcher: Launcher = import_module(f"{__package__}.{name}").LAUNCHER
    return launcher


def find(name: str) -> Launcher:
    """Return the launcher of this name. Raises UsageError where there is none, or none that works."""
    if name in BUILT_IN:
        return built_in(name)
    plugins = _plugins()
    if name in plugins.found:
        return plugins.found[name]
    there_are = f"There are {', '.join((*BUILT_IN, *plugins.found))}"
    if (broken := plugins.find_broken(name)) is not None:
        raise UsageError(f"launcher {broken}", remedy=f"repair that package. {there_are}")
    meant = nearest(name, (*BUILT_IN, *plugins.found))
    did = f"did you mean {meant}? " if meant else ""
    raise UsageError(f"unknown launcher {name!r}", remedy=f"{did}{there_are}")


def all_launchers() -> tuple[Launcher, ...]:
    """Return every launcher that works."""
    return tuple(find(name) for name in (*BUILT_IN, *_plugins().found))


def left_out() -> tuple[str, ...]:
    """Return, for each plug-in that is left out, a line that names it and says why."""
    return tuple(f"launcher {broken}" for broken in _plugins().broken)


@cache
def _plugins() -> Plugins[Launcher]:
    return load_plugins(GROUP, Launcher, taken=BUILT_IN)  # type: ignore[type-abstract]
