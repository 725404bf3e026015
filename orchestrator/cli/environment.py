"""Read `--env K=V` and `--env-file FILE`."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from orchestrator.errors import UsageError

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")


def environment_of(
    words: Sequence[str], file: Path | None
) -> tuple[dict[str, str], frozenset[str]]:
    """Return the variables for the ranks, and the names of those whose values are secret.

    The words win over the file. A word K without a value takes this process's own, and so stays out of
    the command line; such values and those of the file are secret. Raises UsageError.
    """
    environment, secrets = {}, set()
    if file is not None:
        for name, value in _read(file):
            environment[name] = value
            secrets.add(name)
    for word in words:
        name, equals, value = word.partition("=")
        _check(name, f"--env {word if not equals else name + '=...'}")
        if equals:
            environment[name] = value
            secrets.discard(name)
        elif name in os.environ:
            environment[name] = os.environ[name]
            secrets.add(name)
        else:
            raise UsageError(
                f"--env {name}: {name} is not set here",
                remedy=f"give its value: --env {name}=VALUE",
            )
    return environment, frozenset(secrets)


def _read(file: Path) -> Iterator[tuple[str, str]]:
    try:
        text = file.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise UsageError(f"--env-file {file}: not a text file in UTF-8") from None
    except OSError as error:
        raise UsageError(f"--env-file {file}: {error.strerror}") from None
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        name, equals, value = line.removeprefix("export ").partition("=")
        where = f"{file}:{number}"
        if not equals:
            raise UsageError(f"{where}: not a line K=V")
        _check(name.strip(), where)
        if "\0" in value:
            raise UsageError(f"{where}: a value cannot hold a NUL byte")
        yield name.strip(), _unquoted(value.strip())


def _check(name: str, where: str) -> None:
    if not _NAME.match(name):
        raise UsageError(f"{where}: {name!r} is not the name of a variable")


def _unquoted(value: str) -> str:
    """Take off one pair of quotes around the whole value, as every reader of such files does."""
    if len(value) >= 2 and value[0] == value[-1] and value[0] in "'\"":
        return value[1:-1]
    return value
