"""Plug-ins: objects that installed packages add to orch through entry points.

A plug-in has the name of its entry point. A plug-in that cannot be used is left out, with the reason; it
never stops orch or another plug-in from working.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from typing import Generic, TypeVar

from orchestrator.util.text import printable

T = TypeVar("T")

_MAX_REASON = 300  # characters


@dataclass(frozen=True)
class Broken:
    """A plug-in that is left out; `package` is its distribution, with the version."""

    name: str
    package: str
    why: str

    def __str__(self) -> str:
        return f"{self.name!r} of {self.package} is left out: {self.why}"


@dataclass(frozen=True)
class Plugins(Generic[T]):
    """The plug-ins of one group: those that work, by name in alphabetical order, and the broken ones."""

    found: Mapping[str, T]
    broken: tuple[Broken, ...]

    def find_broken(self, name: str) -> Broken | None:
        """Return the plug-in with this name if it is left out."""
        return next((each for each in self.broken if each.name == name), None)


def plugin_names(group: str) -> tuple[str, ...]:
    """Return the names in an entry point group, sorted, without importing any plug-in."""
    return tuple(sorted({entry.name for entry in entry_points(group=group)}))


def load_plugins(group: str, kind: type[T], taken: Collection[str]) -> Plugins[T]:
    """Import every plug-in of an entry point group; each must be a `kind` with the name of its entry point.

    A plug-in is broken if its name is `taken` or the same as one earlier on `sys.path`.
    """

    def check(entry: EntryPoint, loaded: object) -> T:
        if isinstance(loaded, kind):
            return loaded
        is_class = isinstance(loaded, type) and issubclass(loaded, kind)
        what = "a class, not an object of it" if is_class else f"of type {type(loaded).__name__}"
        raise _Unfit(f"{entry.value} is {what}; expected a {kind.__name__} of {kind.__module__}")

    return _load_all(group, check, taken)


def load_plugin_classes(group: str, kind: type[T], taken: Collection[str]) -> Plugins[type[T]]:
    """Import every plug-in of a group as `load_plugins` does; each must be a subclass of `kind`."""

    def check(entry: EntryPoint, loaded: object) -> type[T]:
        if isinstance(loaded, type) and issubclass(loaded, kind):
            return loaded
        raise _Unfit(f"{entry.value} is not a subclass of {kind.__name__} of {kind.__module__}")

    return _load_all(group, check, taken)


class _Unfit(Exception):
    """Why a plug-in is left out although it can be imported."""


def _load_all(
    group: str, check: Callable[[EntryPoint, object], T], taken: Collection[str]
) -> Plugins[T]:
    found: dict[str, T] = {}
    broken = []
    for entry in entry_points(group=group):
        try:
            if entry.name in taken:
                raise _Unfit("orch has one of that name itself")
            if entry.name in found:
                raise _Unfit("another package has one of that name")
            plugin = check(entry, entry.load())
            name = getattr(plugin, "name", None)
            if name != entry.name:
                raise _Unfit(
                    f"{entry.value} calls itself {name!r}, and its entry point {entry.name!r}"
                )
            found[entry.name] = plugin
        except _Unfit as error:
            broken.append(_broken(entry, str(error)))
        except (Exception, SystemExit) as error:  # foreign code may raise anything
            broken.append(_broken(entry, f"{type(error).__name__}: {error}"))
    return Plugins(
        {name: found[name] for name in sorted(found)},
        tuple(sorted(broken, key=lambda each: (each.name, each.package))),
    )


def _broken(entry: EntryPoint, why: str) -> Broken:
    package = "a package" if entry.dist is None else f"{entry.dist.name} {entry.dist.version}"
    return Broken(printable(entry.name), printable(package), printable(why, _MAX_REASON))
