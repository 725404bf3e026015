"""Show the output of commands on nodes, identical output of several nodes once: `node[0-2] │ text`."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Sequence
from typing import IO

from orchestrator.inventory.ranges import fold
from orchestrator.ui.node_lines import NodeLines

_MAX_IN_MEMORY = 1 << 20  # bytes of a node's output; more of it waits in a temporary file
_MAX_HELD = 64 << 20  # bytes of a node's output that wait
_READ_SIZE = 1 << 20


class _Held:
    """The output of one node so far."""

    def __init__(self) -> None:
        self.file: IO[bytes] = tempfile.SpooledTemporaryFile(_MAX_IN_MEMORY)  # noqa: SIM115
        self.digest = hashlib.sha256()
        self.size = 0
        self.is_live = False

    def add(self, data: bytes) -> None:
        self.file.write(data)
        self.digest.update(data)
        self.size += len(data)


class FoldedNodes:
    """Holds the output of `nodes` back, and writes it to stdout at the end.

    Nodes with identical output share an entry. Output of a node beyond 64 MiB is shown as it comes. Raises
    what NodeLines raises.
    """

    def __init__(self, nodes: Sequence[str]) -> None:
        self._nodes = tuple(nodes)
        self._held = {name: _Held() for name in nodes}
        self._live: NodeLines | None = None

    async def __aenter__(self) -> FoldedNodes:
        return self

    async def __aexit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        try:
            if self._live is not None:
                await self._live.__aexit__(kind, error, trace)
            if not isinstance(error, BrokenPipeError):
                await self._write_all()
        finally:
            for held in self._held.values():
                held.file.close()

    async def show(self, node: str, data: bytes) -> None:
        """Take output of `node`."""
        held = self._held[node]
        if not held.is_live:
            held.add(data)
            if held.size <= _MAX_HELD:
                return
            held.is_live = True
            await self._copy(held, await self._shown_live(), node)
        else:
            await (await self._shown_live()).show(node, data)

    async def _shown_live(self) -> NodeLines:
        if self._live is None:
            self._live = await NodeLines(self._nodes).__aenter__()
        return self._live

    async def _write_all(self) -> None:
        groups: dict[bytes, list[str]] = {}
        for name, held in self._held.items():
            if held.size and not held.is_live:
                groups.setdefault(held.digest.digest(), []).append(name)
        folded = {fold(names): self._held[names[0]] for names in groups.values()}
        if not folded:
            return
        async with NodeLines(list(folded)) as lines:
            for name, held in folded.items():
                if not await self._copy(held, lines, name):
                    await lines.show(name, b"\n")  # ends its last line here, not after all others

    @staticmethod
    async def _copy(held: _Held, lines: NodeLines, name: str) -> bool:
        """Show what was held back; return whether its last line has ended."""
        held.file.seek(0)
        data = b"\n"
        while piece := held.file.read(_READ_SIZE):
            data = piece
            await lines.show(name, data)
        return data.endswith(b"\n")
