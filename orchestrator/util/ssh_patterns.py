"""The patterns of ssh_config and known_hosts: ssh_config(5), PATTERNS."""

from __future__ import annotations

import re


def matches(text: str, pattern: str) -> bool:
    """Match `*` and `?` in O(len(pattern) * len(text)) time."""
    pattern = re.sub(r"\*+", "*", pattern)
    # Without its stars, a pattern matches exactly as many characters as it has.
    if len(pattern) - pattern.count("*") > len(text):
        return False
    at = star = retry = 0
    seen_star = False
    position = 0
    while position < len(text):
        if at < len(pattern) and pattern[at] == "*":
            seen_star, star, retry = True, at, position
            at += 1
        elif at < len(pattern) and pattern[at] in ("?", text[position]):
            at += 1
            position += 1
        elif seen_star:  # let the latest star match one more; earlier ones need not change
            retry += 1
            at, position = star + 1, retry
        else:
            return False
    return pattern[at:].strip("*") == ""


def matches_list(text: str, patterns: str) -> bool:
    """Match comma-separated patterns: one match suffices, but a matching negated one excludes."""
    found = False
    for pattern in patterns.split(","):
        if matches(text, pattern.removeprefix("!")):
            if pattern.startswith("!"):
                return False
            found = True
    return found
