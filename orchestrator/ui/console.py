"""Show a launch: what the ranks print on stdout, everything else on stderr."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import cycle
from typing import TYPE_CHECKING, Literal

from orchestrator import events
from orchestrator.logs.lines import Lines, TextLines
from orchestrator.logs.prefix import Widths, folded_prefix, prefix
from orchestrator.logs.selection import RankSet
from orchestrator.logs.stream import Channel, Stream
from orchestrator.plan import Plan
from orchestrator.ui import fetching, messages, verdict
from orchestrator.ui.phases import Phases
from orchestrator.ui.streams import Streams
from orchestrator.ui.terminal import wants_colour, width_of

if TYPE_CHECKING:
    from orchestrator.ui.panel import Panel

OutputFormat = Literal["text", "json", "raw"]

# Distinct on dark and on light terminals; red is reserved for failures.
_NODE_COLOURS = (b"36", b"32", b"35", b"33", b"34", b"96", b"92", b"95", b"93", b"94")

# Seconds that a slow terminal has for the rest of the output when the user detaches.
_DRAIN_TIMEOUT = 1.0


@dataclass(frozen=True)
class View:
    """How output is shown: its format, the ranks to show (None: all, and the launchers).

    `fold` shows identical lines of several ranks once (None: those on stderr, on a terminal), and `paint`
    may add colour to lines. `keys` describes the keys that the user can press, `began` is when the run
    started (seconds since the epoch; None: now), and `limit` its time limit in seconds (None: none).
    """

    output: OutputFormat = "text"
    ranks: RankSet | None = None
    timestamps: bool = False
    fold: bool | None = None
    paint: Callable[[bytes], bytes] | None = None
    keys: Sequence[str] = messages.KEYS
    began: float | None = None
    limit: float | None = None


class Console:
    """Shows events as it is called with them; returns at once, however slow stdout and stderr are.

    `close` returns when all is written, with how the run ended as the last of it.
    """

    def __init__(self, view: View) -> None:
        self._view = view
        self._streams = Streams()
        self._phases = Phases()
        self._panel: Panel | None = None
        self._plan: Plan | None = None
        self._failed = self._detached = False
        self._unreachable: set[str] = set()
        self._pids: dict[tuple[str, int], int] = {}  # of the ranks, by node and local rank
        self._ended_ranks: dict[str, set[int]] = {}  # by node
        self._fetching: fetching.TransferProgress | None = None
        # Shown by `close`, after the last output:
        self._explained: events.Explained | None = None
        self._files: events.FilesWritten | None = None
        self._ended: events.Ended | None = None

    def __call__(self, event: events.Event) -> None:
        if self._panel is not None:
            self._panel.update(event)
        if isinstance(event, events.NodeLost) and event.node in self._unreachable:
            return
        if (notice := messages.notice(event)) is not None:
            self._streams.say(*notice)
        match event:
            case events.Output():
                self._show(event)
                return
            case events.PhaseBegan():
                self._phases.begin(event.phase, event.nodes)
                self._streams.draw(self._phases.rows)
            case events.PhaseAdvanced():
                self._phases.advance(event.node, event.succeeded)
            case events.Sending():
                self._phases.add_header(messages.sending(event, self._plan))
                if not self._streams.can_draw:  # else it is part of what is drawn
                    self._streams.say(self._phases.take_header())
            case events.SyncAdvanced():
                self._phases.sync(event.node, event.sent, event.total)
            case events.PhaseEnded():
                self._phases.end(event.phase, event.seconds, event.detail)
            case events.Planned():
                self._plan = event.plan
                self._phases.add_header(messages.header(event.plan))
            case events.Started():
                self._start()
            case events.RankBegan():
                self._rank_began(event)
            case events.RankEnded():
                self._ended_ranks.setdefault(event.node, set()).add(event.rank)
                if event.code != 0 and not self._failed:  # later failures follow from the first
                    self._failed = True
                    self._streams.say(messages.rank_ended(event), "red")
            case events.Stopping():
                self._failed = True
            case events.Restarting():
                self._restart()
            case events.NodeLost():
                self._unreachable.add(event.node)
            case events.NodeBack():
                self._unreachable.discard(event.node)
            case events.Detached():
                self._detached = True
                self._streams.say(messages.detached(event))
            case events.FetchAdvanced():
                self._fetch(event)
            case events.Fetched():
                self._fetching = None
                self._streams.draw(self._panel.rows if self._panel is not None else None)
                self._streams.say(fetching.fetched(event))
            case events.FilesWritten():
                self._files = event
            case events.Explained():
                self._explained = event
            case events.Ended():
                self._ended = event
        self._streams.refresh()

    def close(self) -> None:
        """Restore the terminal and write everything, however long stdout takes.

        After a detach, or when interrupted, it does not wait for a slow terminal.
        """
        last = b""
        if self._ended is not None:
            last = verdict.ended(self._ended, self._explained, self._files)
            self._ended = None
        self._panel = None
        self._streams.close(last, _DRAIN_TIMEOUT if self._detached else None)

    def _start(self) -> None:
        """Replace the phases by the panel."""
        summary = self._phases.summary(width_of(2))
        is_whole_lines = self._view.output != "raw"
        if self._streams.have_room_for_a_panel and self._plan is not None and is_whole_lines:
            self._streams.say(summary)
            from orchestrator.ui.panel import Panel

            view, colours = self._view, node_colours(node.name for node in self._plan.nodes)
            self._panel = Panel(self._plan, colours, view.keys, view.began, view.limit)
            self._streams.draw(self._panel.rows)
        else:
            parts = filter(None, (summary, "; ".join(self._view.keys)))
            self._streams.say(f"\n{messages.INDENT}".join(parts))
            self._streams.draw(None)

    def _rank_began(self, event: events.RankBegan) -> None:
        """Note that a rank started; after its restart, its next failure is reported again."""
        key = (event.node, event.local_rank)
        if self._pids.get(key, event.pid) != event.pid:
            self._failed = False
            self._ended_ranks.pop(event.node, None)
        self._pids[key] = event.pid

    def _restart(self) -> None:
        """Replace the panel by the phases, until the next attempt has started."""
        self._failed = False
        self._ended_ranks.clear()
        self._unreachable.clear()
        self._phases, self._panel = Phases(), None
        self._streams.draw(self._phases.rows)

    def _fetch(self, event: events.FetchAdvanced) -> None:
        """Replace the panel by the progress of the fetch: the ranks have ended."""
        if self._fetching is None:
            self._fetching = fetching.TransferProgress("fetch", "from")
            self._streams.draw(self._fetching.rows)
        self._fetching.update(event.node, event.received, event.total)

    def _show(self, event: events.Output) -> None:
        is_raw = self._view.output == "raw"
        if self._view.output == "text" and self._is_launcher_after_the_end(event.stream):
            return
        if self._view.ranks is not None and event.stream.rank not in self._view.ranks:
            return
        if event.hole and is_raw:
            self._streams.say(messages.hole(event.stream, event.hole), "yellow")
            return
        # Raw output keeps the ranks' stdout and stderr apart.
        descriptor = 2 if is_raw and event.stream.channel == "stderr" else 1
        self._streams.show(event, descriptor, lambda: lines_for(self._view, self._plan))

    def _is_launcher_after_the_end(self, stream: Stream) -> bool:
        """Tell whether this is a launcher whose ranks have ended: what it reports then is in its log only.

        Even after success, torchrun often finds that the one on the main node has left first, and prints a
        long traceback.
        """
        if stream.rank is not None or self._plan is None:
            return False
        nodes = [n for n in self._plan.nodes if self._plan.runs_once or n.name == stream.node]
        return self._failed or not any(
            len(self._ended_ranks.get(node.name, ())) < len(node.ranks) for node in nodes
        )


def lines_for(view: View, plan: Plan | None) -> Lines | None:
    """Return what formats output for stdout, None for raw bytes."""
    if view.output == "raw":
        return None
    if view.output == "json":
        from orchestrator.logs.json_lines import JsonLines

        return JsonLines()
    is_terminal, has_colour = os.isatty(1), wants_colour(1)
    names = [node.name for node in plan.nodes] if plan is not None else []
    widths = Widths.of(names, plan.world_size if plan is not None else 1)
    colours = node_colours(names) if has_colour else {}

    def prefix_of(stream: Stream) -> bytes:
        return prefix(stream, widths, colours.get(stream.node))

    mode: Literal["terminal", "pipe"] = "terminal" if is_terminal else "pipe"
    folded = _folded_channels(view.fold, is_terminal)
    if not folded or plan is None:
        return TextLines(prefix_of, mode, timestamps=view.timestamps, paint=view.paint)
    from orchestrator.logs.fold import FoldedLines

    return FoldedLines(
        prefix_of,
        lambda streams: folded_prefix(streams, widths, b"1" if has_colour else None),
        mode,
        ranks=plan.world_size,
        launchers=len(plan.nodes),
        fold=folded,
        timestamps=view.timestamps,
        paint=view.paint,
    )


def _folded_channels(wanted: bool | None, is_terminal: bool) -> frozenset[Channel]:
    if wanted is None:
        return frozenset({"stderr"}) if is_terminal else frozenset()
    return frozenset({"stdout", "stderr"}) if wanted else frozenset()


def node_colours(nodes: Iterable[str]) -> dict[str, bytes]:
    """Return SGR parameters for each node."""
    return dict(zip(nodes, cycle(_NODE_COLOURS), strict=False))
