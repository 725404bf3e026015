"""Which users and hosts may be named: those that ssh takes on its command line.

ssh_config hands both on: `%r` and `%h` in a ProxyCommand reach a shell, `${NAME}` is filled in from the
environment. So what a file of somebody else's says must not be a command there (CVE-2023-51385).
The rules are those of valid_ruser and valid_hostname in OpenSSH 10.
"""

from __future__ import annotations

import re

_SPACE = r" \t\n\v\f\r"
_CONTROL = r"\x00-\x1f\x7f"
_HOST = re.compile(rf"(?!-)[^'`\"$\\;&<>|(){{}},{_SPACE}{_CONTROL}]*")
_USER = re.compile(rf"(?!-)(?:[^'`\"\\;&<>|(){{}}{_SPACE}{_CONTROL}]|[ ](?!-)|\\(?!\Z))*")
# What a shell would take as more than itself, or a path as another folder. ssh lets it pass.
_PLAIN_USER = re.compile(r"(?![~#])[^$*?\[\]/\s]*")


def is_host_for_ssh(host: str) -> bool:
    """Tell whether ssh takes `host` on its command line."""
    return host != "" and _HOST.fullmatch(host) is not None


def is_user_for_ssh(user: str) -> bool:
    """Tell whether ssh takes `user` on its command line: `DOMAIN\\user` too, but no shell characters."""
    return user != "" and _USER.fullmatch(user) is not None


def is_plain_user(user: str) -> bool:
    """Tell whether `user` is one word wherever ssh_config puts it: in a command and in a path."""
    return is_user_for_ssh(user) and _PLAIN_USER.fullmatch(user) is not None
