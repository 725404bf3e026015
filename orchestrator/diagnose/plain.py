"""Diagnose a text that is at hand, for other programs: nothing is read from files, nodes or settings."""

from __future__ import annotations

from collections.abc import Iterable

from orchestrator.diagnose.diagnose import diagnose
from orchestrator.diagnose.model import Diagnosis, Source
from orchestrator.diagnose.signature import Signature


def diagnose_text(
    text: str | bytes | Iterable[str] | Iterable[bytes],
    *,
    name: str = "text",
    rank: int | None = None,
    extra: tuple[Signature, ...] = (),
) -> Diagnosis:
    """Return what made the program fail that printed `text`: all of it, or pieces that are cut anywhere.

    An open file is such pieces: its lines. They are read once, in bounded memory. `name` is the source in
    places, `rank` the global rank of lines that name none; `extra` are signatures that precede orch's own.
    For the outputs of several ranks use `diagnose`, which orders what it finds over all of them.
    """
    pieces = (text,) if isinstance(text, str | bytes) else text
    chunks = (p.encode(errors="replace") if isinstance(p, str) else p for p in pieces)
    return diagnose([(Source(name, rank=rank), chunks)], extra=extra)
