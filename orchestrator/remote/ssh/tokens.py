"""The tokens (`%h`) and variables (`${NAME}`) in values of ssh_config: ssh_config(5), TOKENS."""

from __future__ import annotations

import hashlib
import os
import re
import socket
from collections.abc import Mapping
from typing import NamedTuple

from orchestrator.util.text import printable

_TOKEN = re.compile(r"%(?P<token>.?)|\$\{(?P<name>[^}]*)\}", re.DOTALL)
_USUAL = "CdhijkLlnpru"


class BadToken(ValueError):
    """A value has a token or variable that stands for nothing."""


class _Rule(NamedTuple):
    tokens: str
    environment: bool = False


_RULES = {
    "certificatefile": _Rule(_USUAL, environment=True),
    "controlpath": _Rule(_USUAL, environment=True),
    "exec": _Rule(_USUAL),
    "forwardagent": _Rule(_USUAL, environment=True),
    "hostname": _Rule("h"),
    "identityagent": _Rule(_USUAL, environment=True),
    "identityfile": _Rule(_USUAL, environment=True),
    "proxycommand": _Rule("hknpr"),
    "proxyjump": _Rule("hknpr"),
    "userknownhostsfile": _Rule(_USUAL, environment=True),
}
"""Which tokens a value may have, by keyword (`exec` is that of Match)."""


def tokens(
    *, host: str, name: str, port: int, user: str, local_user: str, home: str, alias: str, jump: str
) -> dict[str, str]:
    """Return the text of each token; `host` is the HostName, `name` what was requested."""
    here = socket.gethostname()
    connection = os.fsencode(f"{here}{host}{port}{user}{jump}")
    return {
        "C": hashlib.sha1(connection, usedforsecurity=False).hexdigest(),
        "L": here.partition(".")[0],
        "d": home,
        "h": host,
        "i": str(os.getuid()),
        "j": jump,
        "k": alias or name,
        "l": here,
        "n": name,
        "p": str(port),
        "r": user,
        "u": local_user,
    }


def expand(keyword: str, value: str, known: Mapping[str, str]) -> str:
    """Return `value` of `keyword` with its tokens and variables replaced, once. Raises BadToken."""
    rule = _RULES[keyword]

    def fill(found: re.Match[str]) -> str:
        token, name = found["token"], found["name"]
        if name is None:
            if token == "%":
                return "%"
            if not token or token not in rule.tokens:
                raise BadToken(f"%{printable(token)} stands for nothing")
            return known[token]
        if not rule.environment:
            return found[0]
        if name not in os.environ:
            raise BadToken(f"${{{printable(name)}}} is not set")
        return os.environ[name]

    return _TOKEN.sub(fill, value)
