"""One host as a person names it to ssh: `[user@]host[:port]`."""

from __future__ import annotations

import re
from dataclasses import dataclass

EXPECTED = "expected a host, as in node0 or user@node0:2222"

# Brackets hold ranges, or an IPv6 address that has a port.
_WORD = re.compile(
    r"((?P<user>[^@]*)@)?"
    r"(\[(?P<bracketed>[^\[\]]*:[^\[\]]*)\]|(?P<ipv6>[^\[\]:]*+:[^\[\]:]*+:[^\[\]]*+)|(?P<host>[^:]*))"
    r"(:(?P<port>[^:]*))?"
)


@dataclass(frozen=True)
class HostWord:
    """The parts of a word, none of them checked; with `is_address`, `host` is an IPv6 address, which is
    no name.
    """

    host: str
    user: str | None
    port: str | None
    is_address: bool

    @classmethod
    def parse(cls, word: str) -> HostWord:
        """Return the parts. Raises ValueError for what has another shape."""
        match = _WORD.fullmatch(word)
        if match is None:
            raise ValueError(EXPECTED)
        address = match["bracketed"] or match["ipv6"]
        return cls(address or match["host"] or "", match["user"], match["port"], bool(address))

    @property
    def settings(self) -> dict[str, str]:
        """Return what it says beside the host, under the keys of an inventory."""
        given = {"user": self.user, "port": self.port}
        return {key: value for key, value in given.items() if value is not None}
