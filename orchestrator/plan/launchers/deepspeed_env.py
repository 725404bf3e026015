"""Read `.deepspeed_env` as DeepSpeed does (deepspeed/launcher/runner.py, multinode_runner.py; 0.19).

Its name is that of DS_ENV_FILE. The file in the home folder is read, then the one in the current folder,
whose values win. DeepSpeed passes a value to a shell, in double quotes unless all of its characters are
harmless; so this returns what such a shell would make of it, and refuses what depends on the node.
Unlike there, blank lines and comments are no errors.
"""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

from orchestrator.errors import UsageError
from orchestrator.inventory.values import variable_name, variable_value
from orchestrator.util.bounded_read import Unreadable, read_bounded
from orchestrator.util.text import escaped

_MAX_BYTES = 8 << 20
_HARMLESS = re.compile(r"[\w@%+=:,./-]*")
_EXPANDED = re.compile(r"[$`]")


def deepspeed_variables() -> dict[str, str]:
    """Return the variables of the files that DeepSpeed would read here. Raises UsageError."""
    name = os.environ.get("DS_ENV_FILE", ".deepspeed_env")
    files = (Path(os.path.expanduser("~"), name), Path(name))  # noqa: PTH111 - without a home it stays ~
    return {key: value for file in files for key, value in _read(file)}


def _read(file: Path) -> Iterator[tuple[str, str]]:
    shown = escaped(str(file))
    try:
        if not file.is_file():
            return
        text = read_bounded(file, _MAX_BYTES).decode()
    except UnicodeDecodeError:
        raise UsageError(f"{shown}: not a text file in UTF-8") from None
    except Unreadable as error:
        raise UsageError(f"{shown}: {error}") from None
    except OSError as error:
        raise UsageError(f"{shown}: {error.strerror}") from None
    for number, line in enumerate(map(str.strip, text.split("\n")), 1):
        if line and not line.startswith("#"):
            yield _variable(f"{shown}:{number}", line)


def _variable(where: str, line: str) -> tuple[str, str]:
    """Return the variable of a line; its value, which may be secret, is in no error."""
    name, equals, value = line.removeprefix("export ").partition("=")
    if not equals:
        raise UsageError(f"{where}: not a line K=V")
    try:
        name = variable_name(name.strip())
        return name, variable_value(_as_a_shell_reads(value.strip()))
    except ValueError as error:
        raise UsageError(
            f"{where}: {error}", remedy="write it there in full, or under env: in the inventory"
        ) from None


def _as_a_shell_reads(value: str) -> str:
    """Return what a shell makes of a value that DeepSpeed hands to it. Raises ValueError."""
    if _HARMLESS.fullmatch(value):
        return value
    if _EXPANDED.search(value):
        raise ValueError(
            "the value has $ or `, which DeepSpeed leaves to the shell of each node; orch passes values on "
            "as they are"
        )
    try:
        (word,) = shlex.split(f'"{value}"')
    except ValueError:
        raise ValueError(
            "the value has quotes of its own, and DeepSpeed adds another pair: leave them out"
        ) from None
    return word
