"""Read a file of defaults: its values and those of a profile, or everything that is wrong in it."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from orchestrator.api.defaults.find import Source, find_source
from orchestrator.api.defaults.keys import (
    ALTERNATIVES,
    IN_PROFILES,
    KEYS,
    PROFILES,
    REFUSED,
    overridden,
)
from orchestrator.api.values import OTHER_NAMES
from orchestrator.errors import UsageError
from orchestrator.util.text import escaped, nearest, quoted
from orchestrator.util.toml import Key, places

PROFILE_VARIABLE = "ORCH_PROFILE"
_MAX_FAULTS = 100


@dataclass(frozen=True)
class Setting:
    """The value of a key, as the command takes it, and where it stands (`profile` None: outside of one)."""

    key: str
    value: Any
    file: str
    line: int
    column: int
    profile: str | None = None

    @property
    def shown(self) -> str:
        """The value as one line for a terminal, without secrets."""
        if self.key == "env":
            from orchestrator.plan.masking import masked_value

            pairs = (word.partition("=") for word in self.value)
            return escaped(
                " ".join(f"{name}={masked_value(name, value)}" for name, _, value in pairs)
            )
        if isinstance(self.value, bool):
            return str(self.value).lower()
        words = self.value if isinstance(self.value, list) else [str(self.value)]
        return escaped(" ".join(words))

    @property
    def place(self) -> str:
        """The place for messages: `orch.toml:3:1`."""
        return f"{self.file}:{self.line}:{self.column}"


@dataclass(frozen=True)
class Defaults:
    """What a file of defaults sets, by key, with the profile applied; `path` is None without a file."""

    path: Path | None = None
    profile: str | None = None
    profiles: tuple[str, ...] = ()
    settings: Mapping[str, Setting] = field(default_factory=dict)

    def overridden_by_variables(self) -> frozenset[str]:
        """Return the keys whose values do not count because of ORCH_INVENTORY."""
        if os.environ.get("ORCH_INVENTORY") and "inventory" in self.settings:
            return overridden({"inventory"})
        return frozenset()


def read_defaults(profile: str | None = None) -> Defaults:
    """Return the defaults for the current folder; `profile` None: that of ORCH_PROFILE, empty: none.

    Raises UsageError with everything that is wrong in the file, and for an unknown profile.
    """
    asked = "--profile" if profile is not None else PROFILE_VARIABLE
    name = os.environ.get(PROFILE_VARIABLE, "") if profile is None else profile
    source = find_source()
    if source is None:
        if name:
            raise UsageError(
                f"{asked} {quoted(name)}: there is no file of defaults here",
                remedy="profiles stand in orch.toml or pyproject.toml, in this folder or one above",
            )
        return Defaults()
    base, profiles = _Reader(source).read()
    if name and name not in profiles:
        raise UsageError(f"{asked} {quoted(name)}: {_unknown_profile(source, name, profiles)}")
    settings = _merged(base, profiles[name]) if name else base
    return Defaults(source.path, name or None, tuple(profiles), settings)


def _unknown_profile(source: Source, name: str, profiles: Mapping[str, Any]) -> str:
    if not profiles:
        return f"{source} has no profiles"
    meant = nearest(name, profiles)
    hint = (
        f"did you mean {quoted(meant)}?" if meant else f"it has {', '.join(map(quoted, profiles))}"
    )
    return f"{source} has no such profile; {hint}"


Settings = dict[str, Setting]


def _merged(base: Settings, profile: Settings) -> Settings:
    """Return the values of both; those of the profile count, variable by variable in `env`."""
    lost = overridden(profile) - set(profile)
    merged = {key: each for key, each in base.items() if key not in lost} | profile
    if "env" in base and "env" in profile:
        words = [*base["env"].value, *profile["env"].value]
        both = {word.partition("=")[0]: word for word in words}
        merged["env"] = replace(profile["env"], value=[*both.values()])
    return merged


class _TooMany(Exception):
    """There are more faults than are shown."""


class _Reader:
    """Reads the tables of a file, and collects what is wrong in them."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._faults: list[tuple[Key, str]] = []
        self._places: dict[Key, tuple[int, int]] | None = None

    def read(self) -> tuple[Settings, dict[str, Settings]]:
        """Return the settings outside of profiles, and those of each. Raises UsageError."""
        try:
            found = self._tables()
        except _TooMany:
            raise self._error() from None
        if self._faults:
            raise self._error()
        return found

    def _error(self) -> UsageError:
        from orchestrator.inventory.problems import Problems, TooMany

        problems = Problems(str(self._source))
        with suppress(TooMany):
            for path, message in self._faults:
                problems.add(*self._place(path), str(path[-1]) if path else "tool.orch", message)
        return UsageError(problems.error().message)

    def _tables(self) -> tuple[Settings, dict[str, Settings]]:
        table = self._source.table
        if not isinstance(table, dict):
            self._add((), "expected a table")
            return {}, {}
        own = {key: value for key, value in table.items() if key != PROFILES}
        base = dict(self._settings(own, ()))
        tables = table.get(PROFILES, {})
        if not isinstance(tables, dict):
            self._add((PROFILES,), "expected a table for each profile, such as [profiles.a100]")
            return base, {}
        profiles = {}
        for name, values in tables.items():
            path = (PROFILES, name)
            if isinstance(values, dict):
                profiles[name] = dict(self._settings(values, path, name))
            else:
                self._add(path, "expected a table of defaults")
        return base, profiles

    def _settings(
        self, table: Mapping[str, Any], path: Key, profile: str | None = None
    ) -> Iterator[tuple[str, Setting]]:
        self._check_alternatives(table, path)
        for key, value in table.items():
            here = (*path, key)
            if fault := _fault_of(key, profile):
                self._add(here, fault)
                continue
            try:
                read = KEYS[key].read(value, self._source.path.parent)
            except ValueError as error:
                self._add(here, str(error))
                continue
            yield key, Setting(key, read, str(self._source), *self._place(here), profile)

    def _check_alternatives(self, table: Mapping[str, Any], path: Key) -> None:
        for keys, _ in ALTERNATIVES:
            both = [key for key in table if key in keys]
            if len(both) > 1:
                self._add((*path, both[1]), f"{both[0]} and {both[1]} exclude each other")

    def _add(self, path: Key, message: str) -> None:
        self._faults.append((path, message))
        if len(self._faults) > _MAX_FAULTS:
            raise _TooMany

    def _place(self, path: Key) -> tuple[int, int]:
        if self._places is None:
            self._places = places(self._source.text)
        return self._places.get((*self._source.prefix, *path), (1, 1))


def _fault_of(key: str, profile: str | None) -> str | None:
    """Return what is wrong with a key in a profile (None: outside of one), whatever its value."""
    if key in KEYS:
        reason = None if profile is not None else IN_PROFILES.get(key)
        return reason and f"stands in a profile only, which is chosen by name: {reason}"
    if key in REFUSED:
        return f"cannot be set in a file: {REFUSED[key]}"
    if key == "tool":
        return "in orch.toml the keys stand at the top, without [tool.orch]"
    known = [*KEYS, *([] if profile is not None else [PROFILES])]
    other = OTHER_NAMES.get(key.replace("-", "_"), "").replace("_", "-")
    meant = {"hosts": "inventory"}.get(other, other) or nearest(key.replace("_", "-"), known)
    if meant:
        return f"there is no such key; did you mean {quoted(meant)}?"
    return "there is no such key; `orch config` lists them"
