"""The utilisation of the GPUs of a run, sampled on its nodes for the display.

The latest samples are in `gpus.json` in the run's folder, for `orch attach` in another process. The file
is not part of the record: nothing depends on it, and on a full disk it becomes out of date.
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
from orchestrator.node.visible import CUDA, HIP
from orchestrator.runs.codec import decode, encode
from orchestrator.runs.folder import read_json, write_json
from orchestrator.util import answers

if TYPE_CHECKING:
    from orchestrator.control.follower import Follower

GPUS = "gpus.json"

_FIRST_DELAY = 2.0  # seconds after the start
_INTERVAL = 10.0  # seconds between samples of a node
_TIMEOUT = 8.0  # seconds; nvidia-smi takes 0.1 to 2 unless the driver has to wake up
_MAX_MEMORY = 1 << 50  # bytes of a GPU's memory
_MAX_GPUS = 64


class GpuWatch:
    """Samples the GPUs of nodes and passes the samples to `emit`."""

    def __init__(self, folder: Path, emit: events.Emit) -> None:
        self._file = folder / GPUS
        self._emit = emit
        self._latest: dict[str, events.GpusSampled] = {}

    async def watch(self, node: Follower) -> None:
        """Sample a node until cancelled; return if it has no GPUs, or nvidia-smi fails.

        An nvidia-smi that hangs cannot be killed, so it is not run again.
        """
        pause = _FIRST_DELAY
        while True:
            await asyncio.sleep(pause)
            pause = _INTERVAL
            if not node.connection.is_up or node.has_ended:
                continue
            try:
                found = await _ask(node)
            except NodeError:  # unreachable or busy, which `follow` reports
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
    """Reads the samples that the controller of the run in `folder` has written."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / GPUS
        self._seen: tuple[int, int] | None = None
        self._last: dict[str, float] = {}  # the time of the last sample by node

    def news(self) -> Iterator[events.GpusSampled]:
        """Yield the samples added since the last call."""
        try:
            state = self._file.stat()
        except OSError:
            return
        if self._seen == (state.st_ino, state.st_mtime_ns):
            return
        self._seen = (state.st_ino, state.st_mtime_ns)
        for sample in _parsed(read_json(self._file)):
            if sample.time > self._last.get(sample.node, 0.0):
                self._last[sample.node] = sample.time
                yield sample


def _parsed(raw: Any) -> list[events.GpusSampled]:
    try:
        return [decode(events.GpusSampled, each) for each in raw or ()]
    except (TypeError, ValueError, KeyError, AttributeError):
        return []  # another version of orch wrote it


async def _ask(node: Follower) -> tuple[events.GpuUse, ...]:
    """Return the utilisation of the GPUs that the ranks of a node use; empty if it is unknown.

    Raises NodeError.
    """
    environment = node.plan.environment
    answer = await node.connection.agent.ask(
        "gpus",
        timeout=_TIMEOUT + 2.0,
        limit=_TIMEOUT,
        visible=environment.get(HIP, environment.get(CUDA)),
    )
    return answers.parse_answer(node.name, "gpus", _uses, answer)[: node.plan.devices]


def _uses(answer: Any) -> tuple[events.GpuUse, ...]:
    if not answers.flag(answer["answered"]):
        return ()
    return tuple(
        events.GpuUse(
            answers.count(gpu["index"]),
            _optional(gpu["busy"], 100),
            _optional(gpu["used"], _MAX_MEMORY),
            _optional(gpu["total"], _MAX_MEMORY),
        )
        for gpu in answer["gpus"][:_MAX_GPUS]
    )


def _optional(value: Any, maximum: int) -> int | None:
    return None if value is None else answers.count(value, maximum)
