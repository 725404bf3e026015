"""Read a moment as people type it: `10m` ago, `14:05`, `2026-01-31T09:30`."""

from __future__ import annotations

import re
from datetime import date, datetime, time, timedelta

_UNITS = {"w": 604_800, "d": 86_400, "h": 3_600, "m": 60, "s": 1}
_SPAN = re.compile("".join(rf"(?:([0-9]{{1,9}}(?:\.[0-9]{{1,6}})?){unit})?" for unit in _UNITS))
_CLOCK = r"([0-9]{1,2}:[0-9]{2}(?::[0-9]{2}(?:\.[0-9]{1,6})?)?)(Z|[+-][0-9]{2}:[0-9]{2})?"
_TIME = re.compile(_CLOCK)
_DATE = re.compile(rf"([0-9]{{4}}-[0-9]{{2}}-[0-9]{{2}})(?:[T ]{_CLOCK})?")


def parse_time(text: str, now: float) -> float:
    """The moment that `text` names, in seconds since the epoch; `now` likewise.

    `90s`, `10m`, `2h30m`, `1d` and `1w` are so long ago. `14:05[:30]` is the last time that it was
    so late; `2026-01-31[T09:30[:00[.125]]]` has a date. Both are local time unless `Z` or `+01:00` follows.
    Raises ValueError, which says what is understood.
    """
    typed = text.strip()
    try:
        if (ago := parse_span(typed)) is not None:
            datetime.fromtimestamp(now - ago)
            return now - ago
        if clock := _TIME.fullmatch(typed):
            so_late = _clock(*clock.groups())
            today = datetime.fromtimestamp(now, so_late.tzinfo)
            at = datetime.combine(today, so_late)
            return (at if at <= today else at - timedelta(days=1)).timestamp()
        if dated := _DATE.fullmatch(typed):
            day, *rest = dated.groups()
            return datetime.combine(date.fromisoformat(day), _clock(*rest)).timestamp()
    except (ValueError, OverflowError, OSError):  # a 25th hour, a year beyond what there is
        pass
    raise ValueError(
        f"{text[:60]!r} is not a moment; write how long ago it is (90s, 10m, 2h30m, 1d) or a time "
        "(14:05, 2026-01-31, 2026-01-31T09:30:00, with Z or +01:00 behind it if it is not local)"
    )


def parse_span(text: str) -> float | None:
    """The seconds that `90s`, `10m`, `2h30m`, `1d` or `1w` are; None for anything else."""
    span = _SPAN.fullmatch(text)
    if span is None or not text:
        return None
    parts = zip(span.groups(), _UNITS.values(), strict=True)
    return sum(float(number) * unit for number, unit in parts if number)


def _clock(text: str | None, zone: str | None) -> time:
    """Return the time of day, 0:00 unless it is given; without a time zone where it is local."""
    hour, minute, *second = (text or "0:00").split(":")
    whole, _, fraction = (second[0] if second else "0").partition(".")
    there = time.fromisoformat(f"00:00{zone or ''}").tzinfo
    return time(int(hour), int(minute), int(whole), int(f"{fraction:0<6}"), there)
