"""Show what commands on nodes have written, what is equal on several once: `node[0-2] │ text`."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Sequence
from types import TracebackType
from typing import IO

from orchestrator.ui.node_lines import NodeLines

_IN_MEMORY = 1 << 20  # bytes of a node's output; what is more waits in a temporary file
_MOST = 64 << 20  # and beyond this it is not held back any more
_PIECE = 1 << 20


class _Held:
    """What one node has written so far."""

    def __init__(self) -> None:
        self.file: IO[bytes] = tempfile.SpooledTemporaryFile(_IN_MEMORY)  # noqa: SIM115
        self.digest = hashlib.sha256()
        self.size = 0
        self.too_much = False

    def add(self, data: bytes) -> None:
        self.file.write(data)
        self.digest.update(data)
        self.size += len(data)


class FoldedNodes:
    """Holds the output of `nodes` back until the end, and then writes it to stdout.

    Nodes whose output is equal to the byte are one, in the order of their first nodes. A node that writes
    more than 64 MiB is shown from then on as it writes. Raises as NodeLines does.
    """

    def __init__(self, nodes: Sequence[str]) -> None:
        self._nodes = tuple(nodes)
        self._held = {name: _Held() for name in nodes}
        self._live: NodeLines | None = None

    async def __aenter__(self) -> FoldedNodes:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            if self._live is not None:
                await self._live.__aexit__(kind, error, trace)
            if not isinstance(error, BrokenPipeError):
                await self._write_all()
        finally:
            for held in self._held.values():
                held.file.close()

    async def show(self, node: str, data: bytes) -> None:
        """Take what `node` has written."""
        held = self._held[node]
        if not held.too_much:
            held.add(data)
            if held.size <= _MOST:
                return
            held.too_much = True
            await self._copy(held, await self._shown_live(), node)
        else:
            await (await self._shown_live()).show(node, data)

    async def _shown_live(self) -> NodeLines:
        if self._live is None:
            self._live = await NodeLines(self._nodes).__aenter__()
        return self._live

    async def _write_all(self) -> None:
        from orchestrator.inventory.ranges import fold

        groups: dict[bytes, list[str]] = {}
        for name, held in self._held.items():
            if held.size and not held.too_much:
                groups.setdefault(held.digest.digest(), []).append(name)
        folded = {fold(names): self._held[names[0]] for names in groups.values()}
        if not folded:
            return
        async with NodeLines(list(folded)) as lines:
            for name, held in folded.items():
                if not await self._copy(held, lines, name):
                    await lines.show(name, b"\n")  # its last line ends here, not after all others

    @staticmethod
    async def _copy(held: _Held, lines: NodeLines, name: str) -> bool:
        """Show what was held back; return whether its last line is whole."""
        held.file.seek(0)
        data = b"\n"
        while piece := held.file.read(_PIECE):
            data = piece
            await lines.show(name, data)
        return data.endswith(b"\n")
