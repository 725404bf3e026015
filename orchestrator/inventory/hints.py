"""What somebody most likely meant who wrote a host as an inventory does not have it."""

from __future__ import annotations

import re

_SLOTS = re.compile(r"(\S+)\s+(?:slots|max_slots|gpus|nproc)\s*=\s*(\d{1,4})")
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*")
_MOST_NAMES = 8  # that a message shows
_KEY = re.compile(r"(name|address|user|port)(?::|\s+)(\S+)")


def about_host(text: str) -> str | None:
    """Return what to write in place of `text`, which is no host; None where nothing is known."""
    if found := _SLOTS.fullmatch(text):
        return f"write {{name: {found[1]}, devices: {found[2]}}}"
    if found := _KEY.fullmatch(text):
        return f"write {found[1]}: {found[2]}, with a colon and a blank"
    if " - " in text:
        return "each host goes on a line of its own, all '- ' in the same column"
    if re.fullmatch(r"[^\s,]+([\s,]+[^\s,]+)+", text):
        return "one host for each '- '"
    return None


def about_key(key: str) -> str | None:
    """Return what to write in place of `key`, which is none; None where nothing is known."""
    found = _KEY.fullmatch(key)
    return f"write {found[1]}: {found[2]}, with a blank after the colon" if found else None


def about_hosts(text: str) -> str | None:
    """Return the list that `text` was meant to be; None where that cannot be told."""
    names = re.split(r"[\s,]+", text.strip())
    if len(names) > _MOST_NAMES or not all(map(_NAME.fullmatch, names)):
        return None
    return f"[{', '.join(names)}]"
