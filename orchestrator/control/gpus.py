"""How busy the GPUs of a run are: asked of its nodes now and then, for who watches it.

The latest answers stand in `gpus.json` of the run's folder, for an `orch attach` of another process. It
is no part of the record: nothing is decided by it, and a disk that is full only makes it old.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator import events
from orchestrator.errors import NodeError
from orchestrator.remote import answers
from orchestrator.runs.codec import decode, encode
from orchestrator.runs.folder import read_json, write_json

if TYPE_CHECKING:
    from orchestrator.control.follower import Follower

GPUS = "gpus.json"

_FIRST_LOOK = 2.0  # seconds after the start
_LOOK_EVERY = 10.0  # and between two looks at a node
_ANSWER_TIME = 8.0  # seconds; nvidia-smi takes 0.1 to 2 where a driver is awake
_LARGEST = 1 << 50  # bytes of a GPU's memory
_MOST_GPUS = 64


class GpuWatch:
    """Asks nodes how busy their GPUs are, and tells `emit`."""

    def __init__(self, folder: Path, emit: events.Emit) -> None:
        self._file = folder / GPUS
        self._emit = emit
        self._latest: dict[str, events.GpusSampled] = {}

    async def watch(self, node: Follower) -> None:
        """Look again and again; return when there is nothing (more) to see there.

        An nvidia-smi that hangs is one more process that nobody can kill: it is not asked twice.
        """
        pause = _FIRST_LOOK
        while True:
            await asyncio.sleep(pause)
            pause = _LOOK_EVERY
            if not node.connection.is_up or node.has_ended:
                continue
            try:
                found = await _ask(node)
            except NodeError:  # it is away, or busy: `follow` tells of that
                continue
            if not found:
                return
            self._note(events.GpusSampled(node.name, found, time.time()))

    def _note(self, sample: events.GpusSampled) -> None:
        self._latest[sample.node] = sample
        self._emit(sample)
        with suppress(OSError):
            write_json(self._file, [encode(each) for each in self._latest.values()])


class GpuReader:
    """Reads what the controller of the run in `folder` has put down."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / GPUS
        self._seen: tuple[int, int] | None = None
        self._told: dict[str, float] = {}

    def news(self) -> Iterator[events.GpusSampled]:
        """Yield what is new since the last call."""
        try:
            state = self._file.stat()
        except OSError:
            return
        if self._seen == (state.st_ino, state.st_mtime_ns):
            return
        self._seen = (state.st_ino, state.st_mtime_ns)
        for sample in _parsed(read_json(self._file)):
            if sample.time > self._told.get(sample.node, 0.0):
                self._told[sample.node] = sample.time
                yield sample


def _parsed(raw: Any) -> list[events.GpusSampled]:
    try:
        return [decode(events.GpusSampled, each) for each in raw or ()]
    except (TypeError, ValueError, KeyError, AttributeError):
        return []  # another version of orch wrote it


async def _ask(node: Follower) -> tuple[events.GpuUse, ...]:
    """Return how busy the GPUs are that the ranks of a node use; none where that is not to be known.

    Raises NodeError.
    """
    answer = await node.connection.agent.ask(
        "gpus",
        timeout=_ANSWER_TIME + 2.0,
        limit=_ANSWER_TIME,
        visible=node.plan.environment.get("CUDA_VISIBLE_DEVICES"),
    )
    return answers.parse_answer(node.name, "gpus", _uses, answer)[: node.plan.devices]


def _uses(answer: Any) -> tuple[events.GpuUse, ...]:
    if not answers.flag(answer["answered"]):
        return ()
    return tuple(
        events.GpuUse(
            answers.count(gpu["index"]),
            _optional(gpu["busy"], 100),
            _optional(gpu["used"], _LARGEST),
            _optional(gpu["total"], _LARGEST),
        )
        for gpu in answer["gpus"][:_MOST_GPUS]
    )


def _optional(value: Any, most: int) -> int | None:
    return None if value is None else answers.count(value, most)
