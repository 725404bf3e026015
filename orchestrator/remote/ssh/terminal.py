"""A session on a node at which a person sits: with a pseudo-terminal where there is one here."""

from __future__ import annotations

from orchestrator.remote.ssh.channel import SshChannel


class SshTerminal(SshChannel):
    """A channel that may have a pseudo-terminal at its other end; nothing of it is ours to skip."""

    def resize(self, columns: int, lines: int) -> None:
        """Tell the other end the size of the terminal here."""
        if self._chan is not None:
            self._chan.change_terminal_size(columns, lines)
