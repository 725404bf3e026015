"""Find what a training loop reports in a line: `step 120/1000 loss=0.34` is step and loss."""

from __future__ import annotations

import re
from typing import NamedTuple

MAX_METRICS = 6
_MAX_CHARACTERS = 2000  # at the end of a line that are searched
_MAX_REMEMBERED = 24  # names
_SPEED = "speed"

# A name that needs no `=` or `:` between it and its number.
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
_KNOWN_NAME = re.compile(rf"(?:(?:{_FIRST}) )?(?:\w*[_/])?(?:{_KNOWN})", re.IGNORECASE)
# What tqdm shows: `50%|█████     | 500/1000 [00:05<00:05, 98.2it/s]`.
_BAR = re.compile(r"\|\s*(\d+/\d+) \[[^\],]*, +([\d.]+(?:it/s|s/it))?")
# Not progress of the training: where it runs, its settings, errors, and levels of loggers.
_NO_METRIC = re.compile(
    r"(?:\w+_)?rank|world_size|nproc|pid|tid|port|seed|gpus?|cuda|device|node|host|version|v_num|line"
    r"|size|(?:(?:exit|err(?:or)?|ret(?:urn)?)_?)?code|status|debug|info|warn(?:ing)?s?|critical|fatal"
    r"|err(?:no|ors?|s)?|rc|ret|retr(?:y|ies)|timeout(?:_?ms)?|exception|signal"
)
# A warning or an error, by its level, its class, or the prefix of glog and of PyTorch. A metric may have
# such a name: `MeanSquaredError: 0.25`.
_TROUBLE = re.compile(
    r"""
      \b(?:WARN|WARNING|ERROR|CRITICAL|FATAL)\b
    | \b[A-Za-z_]\w{0,60}(?:Warning|Exception)\b
    | ^\s{0,9}(?:\[rank\d{1,7}\]:\s?)?(?:[A-Za-z_]\w{0,60}\.){0,9}[A-Za-z_]\w{0,60}Error\b
      (?!['"]?\s{0,9}[:=]\s{0,9}[-+.\d])
    | ^\s{0,9}(?:\[rank\d{1,7}\]:\s?)?\[?[WEF]\d{4}\s
    | ^\s{0,9}(?i:warn(?:ing)?|fatal|exception)\b\s{0,9}:
    """,
    re.VERBOSE,
)


def metrics(line: str) -> tuple[tuple[str, str], ...]:
    """Return at most six names with their numbers as written (`1e-4`, `97.1%`, `120/1000`), in order.

    Names are in lower case and unique. This is a guess by the form of the line, only for people to read.
    A warning or an error has no metrics.
    """
    line = line[-_MAX_CHARACTERS:]
    if _TROUBLE.search(line):
        return ()
    found: dict[str, str] = {}
    places: list[tuple[int, str, str]] = []
    for match in _METRIC.finditer(line):
        name = match["name"].lower()
        if _NO_METRIC.fullmatch(name) or (match["space"] and not _KNOWN_NAME.fullmatch(name)):
            continue
        places.append((match.start(), name, match["number"] + "".join(match["rest"].split())))
    for bar in _BAR.finditer(line):
        places.append((bar.start(), "step", bar[1]))
        if bar[2]:
            places.append((bar.start() + 1, _SPEED, bar[2]))
    for _, name, number in sorted(places):
        found.setdefault(name, number)
    return tuple(found.items())[:MAX_METRICS]


class _Seen(NamedTuple):
    value: str
    lines: int  # how many had it
    reported: int  # the number of the latest of them


class LastMetrics:
    """The latest values that a training loop reported, over many lines.

    A known name (`loss`, `step`), or one that several lines had, stays when later lines lack it (`val_acc`
    of the last epoch). Until there is one, the names of the latest line that has any are shown. Of more
    than six names, those reported most recently are shown.
    """

    def __init__(self) -> None:
        self._seen: dict[str, _Seen] = {}  # in order of first appearance
        self._count = 0

    def read(self, line: str) -> None:
        """Add a line, without its newline and colours."""
        found = metrics(line)
        if not found:
            return
        self._count += 1
        for name, value in found:
            lines = self._seen[name].lines if name in self._seen else 0
            self._seen[name] = _Seen(value, lines + 1, self._count)
        for name in self._by_age()[_MAX_REMEMBERED:]:
            del self._seen[name]

    def shown(self) -> tuple[tuple[str, str], ...]:
        """Return at most six names with their latest numbers, in a stable order."""
        staying = [name for name in self._by_age() if self._stays(name)][:MAX_METRICS]
        names = staying or [n for n, seen in self._seen.items() if seen.reported == self._count]
        return tuple((name, seen.value) for name, seen in self._seen.items() if name in names)

    def _by_age(self) -> list[str]:
        """Return the names, most recently reported first."""
        return sorted(self._seen, key=lambda name: -self._seen[name].reported)

    def _stays(self, name: str) -> bool:
        known = name == _SPEED or _KNOWN_NAME.fullmatch(name) is not None
        return known or self._seen[name].lines > 1
