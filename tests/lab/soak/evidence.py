"""What is known of a draw once it is over, gathered without a line of orch's code."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .draw import Draw, Fault


@dataclass(frozen=True)
class Life:
    """One process of a rank, from its journal; times in seconds since the epoch.

    `writing` is the last step that it began to write (-1: none), `wrote` the last that it has written.
    `how` and `code` are how it says it leaves: None where it was killed before it could say.
    """

    node: str
    rank: int
    attempt: int
    started: float
    writing: int = -1
    wrote: int = -1
    is_done: bool = False
    terminated_at: float | None = None
    how: str | None = None
    code: int | None = None
    last: float = 0.0

    @property
    def completed(self) -> bool:
        """Whether it took all its steps, and left with 0 by itself."""
        return self.is_done and self.how == "exit" and self.code == 0

    @property
    def failed_by_itself(self) -> bool:
        """Whether it left with a failure that nobody asked for."""
        return self.how in ("exit", "raise", "signal", "disk") and self.code != 0


def read_life(node: str, name: str, text: str) -> Life | None:
    """Return the life in a journal called `RANK-ATTEMPT-PID.jsonl`, None when it has not started."""
    rank, attempt = (int(word) for word in name.split("-")[:2])
    found: dict[str, Any] = {}
    # The last line of a process that was killed may be cut short.
    whole = text[: text.rfind("\n") + 1]
    for entry in map(json.loads, whole.splitlines()):
        found["last"] = entry["t"]
        match entry["event"]:
            case "started":
                found["started"] = entry["t"]
            case "writing" | "wrote" as event:
                found[event] = entry["step"]
            case "done":
                found["is_done"] = True
            case "signal":
                found.setdefault("terminated_at", entry["t"])
            case "exit":
                found["how"] = entry["how"]
                is_signal = entry["how"] == "signal"
                found["code"] = entry["number"] + (128 if is_signal else 0)
    return Life(node, rank, attempt, **found) if "started" in found else None


def read_lives(journals: Iterable[tuple[str, Path]]) -> list[Life]:
    """Return the lives in journals, each with the node that it is of."""
    lives = (read_life(node, path.name, path.read_text()) for node, path in journals)
    return [life for life in lives if life is not None]


@dataclass(frozen=True)
class Strike:
    """A fault that happened: when (seconds since the epoch), until when, and what it hit."""

    fault: Fault
    at: float
    until: float
    node: str
    rank: int | None = None

    def __str__(self) -> str:
        rank = "" if self.rank is None else f" rank {self.rank}"
        return f"{self.at:.3f}..{self.until:.3f} {self.fault.kind} {self.fault.target} {self.node}{rank}"


@dataclass(frozen=True)
class Stream:
    """The bytes of one stream: on its node (None: the node is gone) and on the controller."""

    node: str
    attempt: int
    name: str
    original: bytes | None
    copy: bytes


@dataclass(frozen=True)
class Command:
    """An `orch` command of the draw. `code` is None when it had to be killed, or was by a fault."""

    name: str
    code: int | None
    out: bytes
    err: str
    is_over: bool = True


@dataclass(frozen=True)
class Evidence:
    """All of it. `record` is run.json, None when the controller has none.

    `launched` is when the launch began. `notes` is what orch itself has written, by file. `left` are the
    processes of orch or of the run that are still there, `harmed` the bystanders that are not.
    """

    draw: Draw
    launched: float
    lives: Sequence[Life]
    strikes: Sequence[Strike]
    streams: Sequence[Stream]
    record: Mapping[str, Any] | None
    commands: Sequence[Command]
    has_ended: bool = True
    left: Sequence[str] = ()
    harmed: Sequence[str] = ()
    notes: Mapping[str, str] = field(default_factory=dict)

    def struck(self, kind: str, target: str = "") -> list[Strike]:
        """Return the strikes of a kind (on a target)."""
        return [s for s in self.strikes if s.fault.kind == kind and target in ("", s.fault.target)]

    def command(self, name: str) -> Command | None:
        """Return the first command of a name."""
        return next((command for command in self.commands if command.name == name), None)
