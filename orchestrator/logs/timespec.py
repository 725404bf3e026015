"""Read a moment as people type it: `10m` ago, `14:05`, `2026-01-31T09:30`."""

from __future__ import annotations

import re
from datetime import date, datetime, time, timedelta

_UNITS = {"w": 604_800, "d": 86_400, "h": 3_600, "m": 60, "s": 1}
_SPAN = re.compile("".join(rf"(?:([0-9]{{1,9}}(?:\.[0-9]{{1,6}})?){unit})?" for unit in _UNITS))
_CLOCK = r"[0-9]{1,2}:[0-9]{2}(?::[0-9]{2}(?:\.[0-9]{1,6})?)?(?:Z|[+-][0-9]{2}:[0-9]{2})?"
_TIME = re.compile(_CLOCK)
_DATE = re.compile(rf"([0-9]{{4}}-[0-9]{{2}}-[0-9]{{2}})(?:[T ]({_CLOCK}))?")


def parse_time(text: str, now: float) -> float:
    """Return the moment that `text` names; it and `now` are in seconds since the epoch.

    `90s`, `10m`, `2h30m`, `1d` and `1w` are that long ago. `14:05[:30]` is the latest past time of that
    clock time, and `2026-01-31[T09:30[:00[.125]]]` has a date. Both are local time unless `Z` or `+01:00`
    follows. Raises ValueError, which says what is understood.
    """
    typed = text.strip()
    try:
        if (ago := parse_span(typed)) is not None:
            datetime.fromtimestamp(now - ago)
            return now - ago
        if _TIME.fullmatch(typed):
            clock = _clock(typed)
            today = datetime.fromtimestamp(now, clock.tzinfo)
            at = datetime.combine(today, clock)
            return (at if at <= today else at - timedelta(days=1)).timestamp()
        if dated := _DATE.fullmatch(typed):
            day = date.fromisoformat(dated[1])
            return datetime.combine(day, _clock(dated[2] or "00:00")).timestamp()
    except (ValueError, OverflowError, OSError):  # a 25th hour, a year out of range
        pass
    raise ValueError(
        f"{text[:60]!r} is not a moment; write how long ago it is (90s, 10m, 2h30m, 1d) or a time "
        "(14:05, 2026-01-31, 2026-01-31T09:30:00, with Z or +01:00 behind it if it is not local)"
    )


def parse_span(text: str) -> float | None:
    """Return `90s`, `10m`, `2h30m`, `1d` or `1w` in seconds; None for anything else."""
    span = _SPAN.fullmatch(text)
    if span is None or not text:
        return None
    parts = zip(span.groups(), _UNITS.values(), strict=True)
    return sum(float(number) * unit for number, unit in parts if number)


def _clock(text: str) -> time:
    """Return a time of day, with its zone if it has one."""
    return time.fromisoformat(text if text[2] == ":" else f"0{text}")
