"""Print pinned requirements with their hashes.

usage: python pins.py CONSTRAINTS REQUIREMENT...     these requirements
       python pins.py CONSTRAINTS --project          those of orch, its build, and its examples
       python pins.py CONSTRAINTS --group NAME       a dependency group of pyproject.toml

A requirement without a pin is an error: constraints.txt is out of date.
"""

from __future__ import annotations

import re
import sys
import tomllib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

EXTRAS = ("examples", "prepare")  # of the demonstration's environment


def name_of(requirement: str) -> str:
    """Return the normalised name of the distribution of a requirement."""
    return re.sub(r"[-_.]+", "-", re.split(r"[^\w.-]", requirement.strip())[0]).lower()


def pins(constraints: str) -> dict[str, str]:
    """Return every pin, in one line with its hashes, by distribution."""
    lines = constraints.replace("\\\n", "").splitlines()
    return {name_of(line): line for line in lines if not line.startswith("#")}


def needs_of_project(settings: dict[str, Any]) -> Iterator[str]:
    """Yield the requirements for building and running orch, its examples and `orch prepare`."""
    yield from settings["build-system"]["requires"]
    yield from settings["project"]["dependencies"]
    for extra in EXTRAS:
        yield from settings["project"]["optional-dependencies"][extra]


def pinned(requirements: Iterable[str], constraints: str) -> Iterator[str]:
    """Yield the pin of each requirement, once. Raises KeyError for one without a pin."""
    known = pins(constraints)
    for name in dict.fromkeys(map(name_of, requirements)):
        yield known[name]


def main(constraints: str, *words: str) -> None:
    """Print the pins that `words` request."""
    text = Path(constraints).read_text(encoding="utf-8")
    requirements: Iterable[str] = words
    if words[0].startswith("--"):
        settings = tomllib.loads(Path("pyproject.toml").read_text(encoding="utf-8"))
        if words[0] == "--project":
            requirements = needs_of_project(settings)
        else:
            requirements = settings["dependency-groups"][words[1]]
    try:
        print(*pinned(requirements, text), sep="\n")
    except KeyError as missing:
        sys.exit(
            f"{constraints} has no version and hash of {missing.args[0]}: "
            "its first lines have the command that updates it"
        )


if __name__ == "__main__":
    main(*sys.argv[1:])
