"""Find what a training loop reports in a line: `step 120/1000 loss=0.34` is step and loss."""

from __future__ import annotations

import re

MOST = 6
_SEARCHED = 2000
_REMEMBERED = 24  # names
_SPEED = "speed"

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
# Not how the training goes: where it runs, what it runs with, what went wrong, and levels of loggers.
_DENIED = re.compile(
    r"(?:\w+_)?rank|world_size|nproc|pid|tid|port|seed|gpus?|cuda|device|node|host|version|v_num|line"
    r"|size|(?:(?:exit|err(?:or)?|ret(?:urn)?)_?)?code|status|debug|info|warn(?:ing)?s?|critical|fatal"
    r"|err(?:no|ors?|s)?|rc|ret|retr(?:y|ies)|timeout(?:_?ms)?|exception|signal"
)
# A line of a warning or an error, by its level, its class, or the prefix of glog and of PyTorch. But a
# metric may have such a name: `MeanSquaredError: 0.25`.
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
    """At most six names with their numbers, as written (`1e-4`, `97.1%`, `120/1000`), in order.

    Names are in lower case, each once. Guessed by the look of the line: for a person's eyes only. The
    numbers of a warning or an error are none.
    """
    line = line[-_SEARCHED:]
    if _TROUBLE.search(line):
        return ()
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
            places.append((bar.start() + 1, _SPEED, bar[2]))
    for _, name, number in sorted(places):
        found.setdefault(name, number)
    return tuple(found.items())[:MOST]


class LastMetrics:
    """The latest value of what a training loop reports, over many of its lines.

    A name that is known (`loss`, `step`), or that several lines have had, stays, whatever other lines say
    (`val_acc` of the last epoch); until there is one, those of the last line that has any are shown. What
    was reported longest ago gives way, at six names.
    """

    def __init__(self) -> None:
        self._values: dict[str, str] = {}  # in the order in which they came first
        self._lines: dict[str, int] = {}  # how many lines have had it
        self._reported: dict[str, int] = {}  # the last of them, counted
        self._count = 0

    def read(self, line: str) -> None:
        """Take in a line, without its newline and colours."""
        found = metrics(line)
        if not found:
            return
        self._count += 1
        for name, value in found:
            self._values[name] = value
            self._lines[name] = self._lines.get(name, 0) + 1
            self._reported[name] = self._count
        for name in self._by_age()[_REMEMBERED:]:
            del self._values[name], self._lines[name], self._reported[name]

    def shown(self) -> tuple[tuple[str, str], ...]:
        """Return at most six names with their latest numbers, in an order that stays."""
        staying = [name for name in self._by_age() if self._stays(name)][:MOST]
        names = staying or [n for n, count in self._reported.items() if count == self._count]
        return tuple((name, value) for name, value in self._values.items() if name in names)

    def _by_age(self) -> list[str]:
        """Return the names, the latest first."""
        return sorted(self._values, key=lambda name: -self._reported[name])

    def _stays(self, name: str) -> bool:
        known = name == _SPEED or _BELIEVED.fullmatch(name) is not None
        return known or self._lines[name] > 1
