"""The options of a command that a file of defaults sets."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any

from orchestrator.cli import options
from orchestrator.cli.usage import TypersUsageError
from orchestrator.errors import OrchError

if TYPE_CHECKING:
    from orchestrator.api.defaults.read import Defaults, Setting

_USED = "orchestrator.defaults"
# Of other commands than launch: an option of another name may be another thing there.
_SHARED = {each.name for group in (options.Hosts, options.Job) for each in fields(group)}
_BUILT_IN = re.compile(r"  \[default: [^]]*\]")


@dataclass
class _Used:
    """What of a file counts for a command line, by parameter; `problem` is why the file cannot be used."""

    typed: dict[str, Any]
    defaults: Defaults | None = None
    settings: dict[str, Setting] = field(default_factory=dict)
    problem: OrchError | None = None


def key_of(parameter: Any) -> str:
    """Return the key of an option in a file: its long name without dashes."""
    longs = (name for name in parameter.opts if name.startswith("--"))
    return str(next(longs, parameter.name)).removeprefix("--")


def take_defaults(command: Any, context: Any, words: Sequence[str], *, every_option: bool) -> None:
    """Have the context use what the file of defaults sets and these words of a command line do not.

    What is wrong with the file is kept for `finish`, since help is shown in any case.
    """
    used = context.meta[_USED] = _Used(_typed(command, context, words))
    try:
        used.defaults = _read(used.typed.get("profile"))
    except OrchError as error:
        used.problem = error
        return
    if not used.defaults.settings:
        return
    without = _overridden(command, used)
    for parameter in command.params:
        name, key = parameter.name, key_of(parameter)
        is_known = every_option or name in _SHARED or key == "inventory"
        if is_known and key in used.defaults.settings and key not in without:
            used.settings[name] = used.defaults.settings[key]
    context.default_map = {name: each.value for name, each in used.settings.items()}


def _read(profile: str | None) -> Defaults:
    from orchestrator.api.defaults.read import read_defaults

    return read_defaults(profile)


def _typed(command: Any, context: Any, words: Sequence[str]) -> dict[str, Any]:
    """Return the options that were typed; none if the command line is wrong, which parsing it reports."""
    try:
        found = command.make_parser(context).parse_args(list(words))[0]
    except TypersUsageError:
        return {}
    return {name: value for name, value in found.items() if value is not None}


def _overridden(command: Any, used: _Used) -> frozenset[str]:
    """Return the keys whose values in the file do not count for these options and variables."""
    from orchestrator.api.defaults.keys import overridden

    typed = {key_of(each) for each in command.params if each.name in used.typed}
    without = overridden(typed) - {"env"}  # which is merged
    assert used.defaults is not None
    return without | used.defaults.overridden_by_variables()


def finish(context: Any) -> None:
    """Complete the values that are more than text, once parsed. Raises OrchError if the file is wrong."""
    used: _Used = context.meta[_USED]
    if used.problem is not None and not context.resilient_parsing:
        raise used.problem
    for name, setting in used.settings.items():
        if setting.key == "inventory":
            from orchestrator.api.hosts import DefaultInventory

            context.params[name] = DefaultInventory(setting.value, setting.place)
        elif setting.key == "env" and "env" in used.typed:
            context.params[name] = [*setting.value, *context.params[name]]


def describe(context: Any) -> str | None:
    """Return which file sets which options of this command line, None if none does."""
    used: _Used | None = context.meta.get(_USED)
    if used is None or used.defaults is None or not used.settings:
        return None
    settings = used.settings.values()
    profile = "" if used.defaults.profile is None else f", profile {used.defaults.profile}"
    keys = ", ".join(setting.key for setting in settings)
    return f"defaults from {next(iter(settings)).file}{profile}: {keys}"


def marked(context: Any, parameter: Any, help_text: str) -> str:
    """Return the help of an option with the file's value as its default."""
    used: _Used | None = context.meta.get(_USED)
    setting = None if used is None else used.settings.get(parameter.name)
    if setting is None:
        return help_text
    return f"{_BUILT_IN.sub('', help_text)}  [{setting.file}: {setting.shown}]"
