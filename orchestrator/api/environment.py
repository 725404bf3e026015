"""Read `--env K=V` and `--env-file FILE`."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from orchestrator.errors import UsageError
from orchestrator.inventory.values import variable_name, variable_value
from orchestrator.util.bounded_read import Unreadable, read_bounded
from orchestrator.util.text import escaped, quoted

# Linux gives a program at most 6 MiB of arguments and environment; a larger file is some other file.
_MAX_BYTES = 8 << 20


def environment_of(
    words: Sequence[str], file: Path | None
) -> tuple[dict[str, str], frozenset[str]]:
    """Return the variables for the ranks, and the names of those with secret values.

    Words override the file. A word K without a value gets its value from this process; such values and
    those of the file are secret. Raises UsageError.
    """
    environment, secrets = {}, set()
    if file is not None:
        for name, value in _read(file):
            environment[name] = value
            secrets.add(name)
    for word in words:
        name, equals, value = word.partition("=")
        where = f"--env {quoted(name)}"
        _check(where, variable_name, name)
        if not equals and name not in os.environ:
            raise UsageError(
                f"--env {name}: {name} is not set here",
                remedy=f"give its value: --env {name}=VALUE",
            )
        environment[name] = _check(where, variable_value, value if equals else os.environ[name])
        if equals:
            secrets.discard(name)
        else:
            secrets.add(name)
    return environment, frozenset(secrets)


def _read(file: Path) -> Iterator[tuple[str, str]]:
    shown = escaped(str(file))
    try:
        text = read_bounded(file, _MAX_BYTES).decode("utf-8-sig")
    except FileNotFoundError:
        raise UsageError(f"--env-file {shown}: there is no such file") from None
    except Unreadable as error:
        raise UsageError(
            f"--env-file {shown}: {error}",
            remedy="name a file of lines K=V, or a pipe that a program writes them to",
        ) from None
    except UnicodeDecodeError:
        raise UsageError(f"--env-file {shown}: not a text file in UTF-8") from None
    for number, line in enumerate(map(str.strip, text.split("\n")), 1):
        if not line or line.startswith("#"):
            continue
        name, equals, value = line.removeprefix("export ").partition("=")
        name = name.strip()
        where = f"{shown}:{number}"
        if not equals:
            raise UsageError(f"{where}: not a line K=V")
        # The text before = may be part of a secret, such as base64, so it is not shown.
        _check(where, variable_name, "" if "/" in name or "+" in name else name)
        if "-----BEGIN " in value and "-----END " not in value:
            raise UsageError(
                f"{where}: the value of {name} has several lines, which such files cannot have",
                remedy=f'set it here and pass it on: {name}="$(cat FILE)" orch ... --env {name}',
            )
        yield name, _check(where, variable_value, _unquoted(value.strip()))


def _check(where: str, rule: Callable[[object], str], given: str) -> str:
    """Return the value if the rule for variables in an inventory permits it."""
    try:
        return rule(given)
    except ValueError as error:
        raise UsageError(f"{where}: {error}") from None


def _unquoted(value: str) -> str:
    """Remove one pair of quotes around the whole value, as every reader of such files does."""
    if len(value) >= 2 and value[0] == value[-1] and value[0] in "'\"":
        return value[1:-1]
    return value
