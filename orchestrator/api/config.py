"""The use case: the defaults of options here, and where each comes from."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orchestrator.api.defaults.find import find_source
from orchestrator.api.defaults.keys import KEYS
from orchestrator.api.defaults.read import Setting, read_defaults
from orchestrator.util.text import escaped

_INVENTORY = "ORCH_INVENTORY"


@dataclass(frozen=True)
class Value:
    """The value of an option by its long name, as text (None: not set), without secrets.

    `source` is `file`, `variable` (then `variable` is its name) or `default`; `line`, `column` and
    `profile` say where in the file it stands.
    """

    option: str
    value: str | None
    source: str
    variable: str | None = None
    line: int | None = None
    column: int | None = None
    profile: str | None = None


@dataclass(frozen=True)
class Config:
    """The file (None: there is none), the profile that counts, all profiles, and a value per option."""

    path: Path | None
    profile: str | None
    profiles: tuple[str, ...]
    settings: tuple[Value, ...]


def config(profile: str | None, built_in: Mapping[str, Any]) -> Config:
    """Return the defaults for the current folder; `built_in` has those of the options themselves.

    `profile` None is that of ORCH_PROFILE, empty none. Raises UsageError if file or profile are wrong.
    """
    found = read_defaults(profile)
    without = found.overridden_by_variables()
    settings = []
    for key in KEYS:
        setting = found.settings.get(key)
        if key == "inventory" and os.environ.get(_INVENTORY):
            value = Value(key, escaped(os.environ[_INVENTORY]), "variable", _INVENTORY)
        elif setting is not None and key not in without:
            value = _of_file(setting)
        else:
            value = Value(key, _text(built_in.get(key)), "default")
        settings.append(value)
    return Config(found.path, found.profile, found.profiles, tuple(settings))


def config_path() -> Path | None:
    """Return the path of the file of defaults, None without one. Raises UsageError if it is not TOML."""
    source = find_source()
    return None if source is None else source.path


def _of_file(setting: Setting) -> Value:
    where = (setting.line, setting.column, setting.profile)
    return Value(setting.key, setting.shown, "file", None, *where)


def _text(value: Any) -> str | None:
    return value if value is None or isinstance(value, str) else str(value).lower()
