"""Find what a training loop reports in a line: `step 120/1000 loss=0.34` is step and loss."""

from __future__ import annotations

import re

MOST = 6
_SEARCHED = 2000

# A name that is believed without `=` or `:` between it and its number.
_KNOWN = (
    r"epochs?|steps?|iter(?:ation)?s?|batch|loss|acc(?:uracy)?(?:@\d)?|lr|ppl|perplexity|mfu|reward"
)
# A first word that is part of the name.
_FIRST = r"train(?:ing)?|val(?:id(?:ation)?)?|test|eval|avg|average|mean|learning|lm|grad|global"
_NAME = r"[A-Za-z](?:[\w@]|[./-](?=[A-Za-z]))*"
_NUMBER = r"[-+]?(?:\d+(?:,\d{3})*(?:\.\d+)?|\.\d+)(?:[eE][-+]?\d+)?(?!\d)|[-+]?(?:nan|inf)\b"
_UNIT = r"[%kKMGTP]?(?:i?B)?(?:/s)?|(?:n|u|µ|m)?s(?:/\w+)?|it/s"

_METRIC = re.compile(
    rf"""
      (?<![\w./@:-])
      (?P<quote>['"]?)
      (?P<name> (?: (?i:{_FIRST}) [ ] )? {_NAME} )
      (?P=quote)
      (?: \s{{0,9}} = \s{{0,9}} | : \s{{1,9}} | (?P<space> [ \t]{{1,9}} | : ) )
      [\[(]? \s{{0,9}} (?:tensor\()?
      (?P<number> {_NUMBER} )
      (?P<rest> (?: \s{{0,3}} / \s{{0,9}} \d+ )? | (?: {_UNIT} ) )
      (?= [\s,;|)\]}}('"] | : \s | [.:]? $ )
    """,
    re.VERBOSE,
)
_BELIEVED = re.compile(rf"(?:(?:{_FIRST}) )?(?:\w*[_/])?(?:{_KNOWN})", re.IGNORECASE)
# What tqdm shows: `50%|█████     | 500/1000 [00:05<00:05, 98.2it/s]`.
_BAR = re.compile(r"\|\s*(\d+/\d+) \[[^\],]*, +([\d.]+(?:it/s|s/it))?")
# Not how the training goes: where it runs, what it runs with, and levels of loggers.
_DENIED = re.compile(
    r"(?:\w+_)?rank|world_size|nproc|pid|tid|port|seed|gpus?|cuda|device|node|host|version|v_num|line"
    r"|size|(?:exit)?code|status|debug|info|warn(?:ing)?|error|critical"
)


def metrics(line: str) -> tuple[tuple[str, str], ...]:
    """At most six names with their numbers, as written (`1e-4`, `97.1%`, `120/1000`), in order.

    Names are in lower case, each once. Guessed by the look of the line: for a person's eyes only.
    """
    line = line[-_SEARCHED:]
    found: dict[str, str] = {}
    places: list[tuple[int, str, str]] = []
    for match in _METRIC.finditer(line):
        name = match["name"].lower()
        if _DENIED.fullmatch(name) or (match["space"] and not _BELIEVED.fullmatch(name)):
            continue
        places.append((match.start(), name, match["number"] + "".join(match["rest"].split())))
    for bar in _BAR.finditer(line):
        places.append((bar.start(), "step", bar[1]))
        if bar[2]:
            places.append((bar.start() + 1, "speed", bar[2]))
    for _, name, number in sorted(places):
        found.setdefault(name, number)
    return tuple(found.items())[:MOST]
