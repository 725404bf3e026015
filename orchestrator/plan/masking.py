"""Mask secrets in everything that is printed or stored.

A value is secret by its name (`HF_TOKEN`, `--api-key`), at the user's request, or by its form: a
password in a URL, a known kind of token, a private key. In a URL only the password is masked.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from functools import lru_cache

from orchestrator.plan.secret_names import is_secret_name

MASK = "***"

_MAX_NAMES = 8  # before a value: --set=env.NAME=VALUE
_MIN_SECRET = 8  # characters; shorter ones are not searched for within other values

# Values that only switch something on or off.
_SWITCH = re.compile(r"(?:|0|1|true|false|yes|no|on|off|none|null)", re.IGNORECASE)

# Each starts at a word boundary and has bounded repetitions, since a value may have 128 KiB.
_URL = r"(?<![A-Za-z0-9+.-])[A-Za-z][A-Za-z0-9+.-]*://"
_USER = rf"{_URL}[^\s/?#:\[]*:"
_PORT = r"(?!\d{1,5}(?:[/?#,\s]|$))"
_FORMS = (
    # scheme://user:PASSWORD@host, also where the password should have been escaped
    re.compile(rf"(?P<shown>{_USER}){_PORT}(?:(?!://)\S)+(?=@)"),
    re.compile(r"(?P<shown>\bhttps?://)[\w.~%-]{20,1000}(?=@)"),
    re.compile(r"(?P<shown>\bhttps://hooks\.slack\.com/services/)[\w/-]+"),
    re.compile(r"(?P<shown>\bhttps://discord(?:app)?\.com/api/webhooks/)[\w/-]+"),
    re.compile(
        r"(?P<shown>)-----BEGIN [A-Z ]{0,40}PRIVATE KEY(?: BLOCK)?-----"
        r"(?>.*?-----END [A-Z ]{0,40}PRIVATE KEY(?: BLOCK)?-----|.*)",
        re.DOTALL,
    ),
    re.compile(
        r"(?P<shown>\bauthorization[\"']?\s*[:=]\s*[\"']?)(?:[a-z]+\s+)?[^\s\"']+", re.IGNORECASE
    ),
    re.compile(r"(?P<shown>\bbearer\s+)[\w.~+/=-]{8,}", re.IGNORECASE),
    # Tokens with the prefix of their issuer.
    re.compile(
        r"""(?P<shown>)(?<![A-Za-z0-9])(?:
            gh[oprsu]_\w{8,} | github_pat_\w{8,}                # GitHub
            | gl[a-z]{2,5}-[\w-]{16,}                           # GitLab
            | hf_[A-Za-z0-9]{16,} | api_org_[A-Za-z0-9]{16,}    # Hugging Face
            | sk-(?=[\w-]{0,200}\d)[\w-]{16,}                   # OpenAI, Anthropic
            | [rs]k_(?:live|test)_\w{8,}                        # Stripe
            | (?:AKIA|ASIA)[A-Z0-9]{16}                         # AWS
            | xox[a-z]-[\w-]{8,} | xapp-[\w-]{8,}               # Slack
            | AIza[\w-]{30,} | ya29\.[\w-]{16,}                 # Google
            | dapi[0-9a-f]{32} | nvapi-[\w-]{16,} | r8_\w{30,}  # Databricks, NVIDIA, Replicate
            | npm_\w{30,} | pypi-AgE[\w-]{16,} | dckr_pat_[\w-]{16,}
            | SG\.[\w-]{16,200}\.[\w-]{16,}                        # SendGrid
            | eyJ[\w-]{6,4000}\.[\w-]{6,}(?:\.[\w-]*)?              # JSON web tokens
        )""",
        re.VERBOSE | re.ASCII,
    ),
)
# If the whole value is a URL, its password may contain blanks.
_WHOLE_URL = re.compile(rf"(?P<shown>{_USER}){_PORT}(?:(?!://).)+(?=@)", re.DOTALL)
# A proxy or mail server without a scheme; but `image:tag@sha256:...` has no secret, nor has a choice of
# GPUs for --include: `node0:0,2@node1`.
_LOGIN = re.compile(
    r"(?P<user>[^\s:/@=\[\]]+):(?!\d{1,2}(?:,\d{1,2})*@)[^\s/@][^\s@]*(?P<host>@(?!sha\d+:)[\w.-]+(?:[:/]\S*)?)"
)
_NAME = r"[A-Za-z_][\w.-]*"
_PARAMETER = re.compile(rf"([?&#;]({_NAME})=)([^&#\s\"']+)")
_FIELD = re.compile(rf"(?<![\w.-])({_NAME})[\"']?\s*[:=]\s*")
_VALUE = re.compile(r"\"[^\"]*\"?|'[^']*'?|[^\s&;\"']+")
# An option and its value inside a value, as in EXTRA_ARGS or in a JSON list.
_OPTION_WITHIN = re.compile(
    rf"(?<![\w-])(--?({_NAME})(?:\s+|[\"']\s*,\s*(?=[\"'])))(?!--)({_VALUE.pattern})"
)
_OPTION = re.compile(rf"(-*({_NAME})=)(.*)", re.DOTALL)
_FLAG = re.compile(rf"--?({_NAME}):?")
_MIN_DASHED_VALUE = 3  # characters: -v is a switch


def is_secret(name: str, secrets: frozenset[str] = frozenset()) -> bool:
    """Tell whether the value of variable `name` must not be shown."""
    return name in secrets or is_secret_name(name)


def masked_text(text: str) -> str:
    """Return `text` with secrets of a known form masked; use it for every message."""
    for form in _FORMS:
        text = form.sub(rf"\g<shown>{MASK}", text)
    return _PARAMETER.sub(_masked_field, text) if "=" in text else text


def masked(
    environment: Mapping[str, str], secrets: frozenset[str], known: frozenset[str] = frozenset()
) -> dict[str, str]:
    """Return `environment` with secrets masked, also `known` ones within other values."""
    return {
        name: MASK if name in secrets else masked_value(name, value, known)
        for name, value in environment.items()
    }


def masked_value(name: str, value: str, known: frozenset[str] = frozenset()) -> str:
    """Return the value of variable `name`, masked if it is secret."""
    if is_secret_name(name) and not _SWITCH.fullmatch(value):
        return MASK
    return _masked_word(value, known)


def masked_words(words: Sequence[str], known: frozenset[str] = frozenset()) -> tuple[str, ...]:
    """Return the words of a command with secrets masked, also `known` ones within other words."""
    shown = []
    name = ""  # of the option before, which may take this word as its value
    for word in words:
        flag = _FLAG.fullmatch(word)
        if name and _is_value(word) and not _SWITCH.fullmatch(word):
            shown.append(MASK)
            if not name.upper().endswith("S"):  # --api-keys takes more than one
                name = ""
        else:
            shown.append(_masked_word(word, known))
            name = flag[1] if flag and is_secret_name(flag[1]) else ""
    return tuple(shown)


def _is_value(word: str) -> bool:
    """Tell whether a word after an option can be its value; a secret may start with `-`."""
    return not word.startswith("--") and (
        not word.startswith("-") or len(word) >= _MIN_DASHED_VALUE
    )


def masked_command(line: str) -> str:
    """Return an unquoted command line, as `ps` shows it, with secrets masked."""
    return " ".join(masked_words(line.split(" ")))


def known_secrets(
    *environments: Mapping[str, str], secrets: frozenset[str] = frozenset()
) -> frozenset[str]:
    """Return the values that are secret by name or in `secrets`, if long enough to be searched for."""
    return frozenset(
        value
        for environment in environments
        for name, value in environment.items()
        if len(value) >= _MIN_SECRET and value != MASK and is_secret(name, secrets)
    )


_log_secrets: set[str] = set()


def mask_in_logs(environment: Mapping[str, str], secrets: frozenset[str] = frozenset()) -> None:
    """Make `masked_log` mask the secret values of `environment` in this process from now on."""
    _log_secrets.update(known_secrets(environment, secrets=secrets))


def masked_log(text: str) -> str:
    """Return `text` with secrets of a known form, and those given to `mask_in_logs`, masked."""
    return masked_text(_without(_log_secrets, text))


def _without(secrets: Collection[str], text: str) -> str:
    for secret in sorted(secrets, key=len, reverse=True):  # one may contain another
        text = text.replace(secret, MASK)
    return text


@lru_cache(maxsize=4096)  # every rank has the same words
def _masked_word(word: str, known: frozenset[str]) -> str:
    word = _without(known, word)
    heads = ""
    for _ in range(_MAX_NAMES):
        option = _OPTION.fullmatch(word)
        if option is None:
            break
        head, name, word = option.groups()
        heads += head
        if is_secret_name(name):
            return heads + (word if _SWITCH.fullmatch(word) else MASK)
    if _WHOLE_URL.match(word):
        return heads + masked_text(_WHOLE_URL.sub(rf"\g<shown>{MASK}", word, count=1))
    if login := _LOGIN.fullmatch(word):
        return f"{heads}{login['user']}:{MASK}{login['host']}"
    return heads + _OPTION_WITHIN.sub(_masked_field, _masked_fields(masked_text(word)))


def _masked_fields(text: str) -> str:
    """Mask the secret fields of a text, also within the value of a field that is not secret."""
    shown, end = [], 0
    for field in _FIELD.finditer(text):
        value = _VALUE.match(text, field.end()) if is_secret_name(field[1]) else None
        if value is not None and field.start() >= end:
            shown += [text[end : field.end()], _masked_quoted(value[0])]
            end = value.end()
    return "".join([*shown, text[end:]])


def _masked_field(field: re.Match[str]) -> str:
    head, name, value = field.groups()
    return head + (_masked_quoted(value) if is_secret_name(name) else value)


def _masked_quoted(value: str) -> str:
    """Return a mask with the quotes of the value."""
    if _SWITCH.fullmatch(value.strip("\"'")):
        return value
    quote = value[0] if value[0] in "\"'" else ""
    return f"{quote}{MASK}{quote}"
