"""Write the text of a first inventory for hosts named as for ssh."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from orchestrator.errors import InventoryError
from orchestrator.inventory.ranges import HostSpec, split_expression
from orchestrator.inventory.readers.orch_yaml import parse
from orchestrator.util.text import quoted

# Text that YAML reads as text without quotes.
PLAIN = re.compile(
    r"(?!(null|true|false|yes|no|on|off|y|n)\Z)[a-z/_][a-z0-9/._-]*|[0-9]+(\.[0-9]+){3}",
    re.IGNORECASE,
)

_HEAD = """\
# The machines that train together. The first is the main node: rank 0 runs there.
# inventory.example.yaml explains every key.
"""
_FOOT = """\
  # A host with more settings:
  # - {name: gpu9, address: 10.10.10.9, port: 2222, proxy_jump: bastion, devices: 4}
  # One behind a NAT address that others share, of which two GPUs are used:
  # - {name: gpu8, address: nat.lan, port: 2208, internal_address: 10.0.0.8, devices: [0, 2]}
  # A host that replaces another one that is lost (orch launch --restarts):
  # - {name: gpu10, spare: true}
"""


def draft(words: Sequence[str], user: str | None = None, python: str | None = None) -> str:
    """Return an inventory of the hosts `words`, each `[user@]host[:port]`, with ranges kept.

    `user` and `python` become defaults. Raises InventoryError for anything that an inventory cannot hold.
    """
    for word, times in Counter(words).items():
        if times > 1:
            raise InventoryError(f"{quoted(word)} is given {times} times")
    hosts = [part for word in words for part in split_expression(word) or [word]]
    entries = [_entry(host, position) for position, host in enumerate(hosts)]
    head = "defaults:\n" if user is not None or python is not None else "# defaults:\n"
    defaults = (
        _default("user", user, "ubuntu", "# login name; default: as for ssh"),
        _default("python", python, "/opt/venv/bin/python", "# has torch; default: python3"),
    )
    text = "".join((_HEAD, head, *defaults, "hosts:\n", *entries, _FOOT))
    try:
        parse(text, Path("draft"))
    except InventoryError as error:
        faults = [problem.message for problem in error.problems]
        raise InventoryError("\n".join(faults), problems=error.problems) from None
    return text


def _default(key: str, value: str | None, example: str, comment: str) -> str:
    """Return a line of the defaults; an example, commented out, if there is no value."""
    indent = "  " if value is not None else "#   "
    setting = f"{key}: {_scalar(example if value is None else value)}"
    return f"{indent}{setting:<30}  {comment}\n"


def _entry(word: str, position: int) -> str:
    try:
        spec = HostSpec.parse(word)
    except ValueError as error:
        raise InventoryError(f"{quoted(word)}: {error}") from None
    named = {"name": f"node{position}", "address": spec.host}
    keys = (named if spec.is_address else {"name": spec.host}) | spec.settings
    if len(keys) == 1:
        return f"  - {_scalar(keys['name'])}\n"
    return f"  - {{{', '.join(f'{key}: {_scalar(value)}' for key, value in keys.items())}}}\n"


def _scalar(text: str) -> str:
    """Return `text` as one YAML scalar."""
    return text if PLAIN.fullmatch(text) or text.isdecimal() else json.dumps(text)
