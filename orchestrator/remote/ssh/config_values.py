"""The values on one line of ssh_config, checked and written as `ssh -G` prints them."""

from __future__ import annotations

import re
import socket
from contextlib import suppress

from orchestrator.remote.ssh.settings import DROPPED, FLAGS, OTHER, REST, SESSION_ONLY, WORD, WORDS
from orchestrator.util.ssh_config_lines import Directive, words

_MOST_WORDS = 32  # of a list; as in OpenSSH (SSH_MAX_HOSTS_FILES)
_YES_NO = {"yes": "yes", "true": "yes", "no": "no", "false": "no"}
_STRICT = {
    "true": "true",
    "false": "false",
    "yes": "true",
    "no": "false",
    "ask": "ask",
    "off": "false",
    "accept-new": "accept-new",
}
_FAMILIES = ("any", "inet", "inet6")
_TIME = re.compile(r"(?:[0-9][sSmMhHdDwW]?)+")
_HOP = re.compile(r"(?:[^@,\s]+@)?[A-Za-z0-9._-]+(?::[0-9]{1,5})?", re.ASCII)
_MAY_EXPAND = re.compile(r"%|\$\{")
_EXPANDED = frozenset(
    ("certificatefile", "controlpath", "hostname", "identityagent", "identityfile")
)
"""Keywords with one word that every version expands."""
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}


class Line:
    """A line of a file, with its values as `ssh -G` prints them, or the `problem` with it.

    `doubt` is why another version of ssh may understand it in another way.
    """

    def __init__(self, directive: Directive) -> None:
        self.directive = directive
        self.values: tuple[str, ...] = ()
        self.problem = ""
        self.doubt = ""
        if directive.keyword in ("host", "match", "include"):
            return
        try:
            self.values = self._values(directive.keyword, directive.value)
        except ValueError as error:
            self.problem = str(error)

    def _values(self, keyword: str, value: str) -> tuple[str, ...]:
        found = words(value)
        if keyword in REST:
            rest = value.lstrip(" \t\r=")
            return (self._jump(rest) if keyword == "proxyjump" else rest,)
        if not found:
            raise ValueError(f"{keyword} has no value")
        if keyword in WORDS:
            return _list(keyword, found)
        if keyword in WORD or keyword in FLAGS or keyword in _PARSERS:
            if not found[0]:
                raise ValueError(f"{keyword} has no value")
            if len(found) > 1:
                more = " ".join(found[1:])
                raise ValueError(f"there is more after the value of {keyword}: {more}")
            return (self._one(keyword, found[0]),)
        if keyword not in OTHER:
            self.doubt = "a keyword that ssh may know"
        elif keyword == "setenv" and not all("=" in each for each in found):
            raise ValueError("SetEnv has variables: NAME=VALUE")
        elif keyword == "sendenv" and any(each.startswith("-") for each in found):
            self.doubt = "patterns that ssh removes"
        elif keyword not in _HARMLESS:
            self.doubt = "a value that ssh checks"
        return tuple(found)

    def _jump(self, value: str) -> str:
        if not all(map(_HOP.fullmatch, value.split(","))):
            self.doubt = "gateways that ssh checks"
        return "".join(value.partition("#")[0].split()[:1])  # ssh reads no further

    def _one(self, keyword: str, word: str) -> str:
        if keyword in _PARSERS:
            return _PARSERS[keyword](keyword, word)
        if keyword in FLAGS:
            return _flag(keyword, word)
        if keyword == "forwardagent" and word.lower() in _YES_NO:
            return _flag(keyword, word)
        if keyword in ("ignoreunknown", "forwardagent") or (
            keyword == "identityagent" and "$" in word
        ):
            self.doubt = "a value that ssh checks"
        if "%C" in word or "%j" in word or (keyword not in _EXPANDED and _MAY_EXPAND.search(word)):
            self.doubt = "tokens that depend on the version of ssh"
        return word


def _list(keyword: str, found: list[str]) -> tuple[str, ...]:
    if "" in found:
        raise ValueError(f"{keyword} has an empty value")
    if len(found) > 1 and "none" in map(str.lower, found):
        raise ValueError(f"{keyword}: `none` must be alone")
    if len(found) > _MOST_WORDS:
        raise ValueError(f"{keyword} has more than {_MOST_WORDS} values")
    return tuple(found)


def _flag(keyword: str, word: str) -> str:
    if word.lower() not in _YES_NO:
        raise ValueError(f"Invalid {keyword} value: {word}")
    return _YES_NO[word.lower()]


def _port(keyword: str, word: str) -> str:
    if re.fullmatch("[a-z-]+", word):
        with suppress(OSError):
            word = str(socket.getservbyname(word, "tcp"))
    if not re.fullmatch(r"[0-9]{1,5}", word) or not 1 <= int(word) <= 65535:
        raise ValueError(f"{keyword} {word} is not a number from 1 to 65535")
    return str(int(word))


def _time(keyword: str, word: str) -> str:
    if word == "none":
        return word
    if not _TIME.fullmatch(word) or len(word) > 20:
        raise ValueError(f"{keyword} {word} is not a time")
    parts = re.findall(r"([0-9]+)([a-zA-Z]?)", word)
    return str(sum(int(count) * _UNITS[unit.lower() or "s"] for count, unit in parts))


def _family(keyword: str, word: str) -> str:
    if word.lower() not in _FAMILIES:
        raise ValueError(f"Invalid {keyword} value: {word}")
    return word.lower()


def _strictness(keyword: str, word: str) -> str:
    if word.lower() not in _STRICT:
        raise ValueError(f"Invalid {keyword} value: {word}")
    return _STRICT[word.lower()]


_PARSERS = {
    "addressfamily": _family,
    "connecttimeout": _time,
    "port": _port,
    "stricthostkeychecking": _strictness,
}
_HARMLESS = (OTHER & (SESSION_ONLY | DROPPED)) | {"sendenv", "setenv"}
"""Keywords whose values need no further check."""
