"""Options of ssh in Ansible's variables, such as `-o ProxyJump=bastion`, as settings of orch's."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import PurePath

from orchestrator.util.text import quoted, word_set

_WITH_VALUE = frozenset("BbcDEeFIiJLlmOopPQRSWw")
# Without effect on which machine is reached, as which user, through which gateways.
_FLAGS = frozenset("AaCKkNnqTtvXxYy")
_IGNORED = word_set(
    """
    addkeystoagent batchmode checkhostip compression connectionattempts connecttimeout controlmaster
    controlpath controlpersist escapechar exitonforwardfailure fingerprinthash forwardagent forwardx11
    forwardx11trusted globalknownhostsfile gssapiauthentication gssapidelegatecredentials hashknownhosts
    identitiesonly ipqos kbdinteractiveauthentication loglevel numberofpasswordprompts
    passwordauthentication permitlocalcommand preferredauthentications pubkeyauthentication requesttty
    sendenv serveralivecountmax serveraliveinterval tcpkeepalive updatehostkeys verifyhostkeydns
    visualhostkey
    """
)
_SAME = {"i": "identityfile", "J": "proxyjump", "l": "user", "p": "port"}
_SETTINGS = {"identityfile": "identity_file", "user": "user", "port": "port"}
_TARGETS = ("%h:%p", "[%h]:%p")
_ELSEWHERE = "write it in ~/.ssh/config, which orch follows"


@dataclass
class SshArgs:
    """What options for ssh say: `settings` under the keys of a host, of each the first."""

    settings: dict[str, str] = field(default_factory=dict)
    accepts_any_key: bool = False
    """Whether unknown host keys would be accepted, which no inventory of orch's can say."""
    gateway_key: str | None = None
    """The private key for the gateway, for which no inventory of orch's has a setting."""

    def add(self, text: str) -> None:
        """Add the options in one variable. Raises ValueError for one that orch cannot follow."""
        for option, value in _options(_split(text)):
            self._add(option, value)

    def _add(self, option: str, value: str) -> None:
        if option == "proxyjump":
            self.settings.setdefault("proxy_jump", value)
        elif option == "proxycommand":
            self.settings.setdefault("proxy_jump", self._gateway(value))
        elif option in _SETTINGS:
            self.settings.setdefault(_SETTINGS[option], value)
        elif option == "stricthostkeychecking":
            self.accepts_any_key |= value.lower() in ("no", "off", "false", "accept-new")
        elif option == "userknownhostsfile":
            if value != "/dev/null" and " " not in value:
                self.settings.setdefault("known_hosts", value)
        elif option not in _IGNORED:
            shown = f"-{option}" if len(option) == 1 else option
            raise ValueError(f"orch has no setting for {shown} of ssh: {_ELSEWHERE}")

    def _gateway(self, command: str) -> str:
        """Return the gateway of `ssh -W %h:%p GATEWAY`. Raises ValueError for another command."""
        if command.lower() == "none":
            return "none"
        refused = f"orch has no setting for this ProxyCommand: {_ELSEWHERE}"
        program, *words = _split(command) or [""]
        inner, found = SshArgs(), {"W": "", "": ""}
        if PurePath(program).name != "ssh":
            raise ValueError(refused)
        for option, value in _options(words, operands=True):
            if option in found and not found[option]:
                found[option] = value
            elif option in ("", "W"):
                raise ValueError(refused)
            else:
                inner._add(option, value)
        self.gateway_key = inner.settings.pop("identity_file", self.gateway_key)
        if found["W"] not in _TARGETS or not found[""] or set(inner.settings) - {"user", "port"}:
            raise ValueError(refused)
        self.accepts_any_key |= inner.accepts_any_key
        return _hop(found[""], inner.settings)


def _hop(destination: str, settings: dict[str, str]) -> str:
    user, _, host = destination.rpartition("@")
    user = user or settings.get("user", "")
    hop = f"{user}@{host}" if user else host
    return f"{hop}:{settings['port']}" if "port" in settings else hop


def _split(text: str) -> list[str]:
    try:
        return shlex.split(text)
    except ValueError:
        raise ValueError("expected options of ssh; a quote is not closed") from None


def _options(words: Sequence[str], *, operands: bool = False) -> Iterator[tuple[str, str]]:
    """Yield the options in `words` and their values: a letter, or what follows -o, in lower case.

    Options that are of no interest are left out. An operand has no name. Raises ValueError.
    """
    rest = iter(words)
    for word in rest:
        if not word.startswith("-") or word == "-":
            if not operands:
                raise ValueError(f"expected options of ssh; found {quoted(word)}")
            yield "", word
            continue
        letters = word[1:].lstrip("".join(_FLAGS))
        if not letters:
            continue
        letter, value = letters[0], letters[1:]
        if letter in _WITH_VALUE:
            value = value or next(rest, "")
            if not value:
                raise ValueError(f"expected a value after -{letter} of ssh")
        if letter == "o":
            letter, value = _setting(value)
        yield _SAME.get(letter, letter), value


def _setting(text: str) -> tuple[str, str]:
    """Split `Keyword=value` or `Keyword value`."""
    keyword = text.replace("=", " ", 1).split(maxsplit=1)
    if len(keyword) != 2:
        raise ValueError(f"expected KEYWORD=VALUE after -o of ssh; found {quoted(text)}")
    return keyword[0].lower(), keyword[1].strip().removeprefix("=").strip()
