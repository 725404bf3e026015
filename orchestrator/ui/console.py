"""Render the events of a launch: what the ranks print to stdout, everything about the doing to stderr."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from orchestrator import events
from orchestrator.logs.lines import Lines, TextLines
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

# Told apart on dark and on light terminals alike; red is left to what went wrong.
NODE_COLOURS = (b"36", b"32", b"35", b"33", b"34", b"96", b"92", b"95", b"93", b"94")

_DRAIN_TIMEOUT = 1.0  # seconds in which a terminal should take what is left, when a person leaves


@dataclass(frozen=True)
class View:
    """How output is shown: its format, the ranks to show (None: all, and the launchers).

    `fold` shows identical lines of several ranks once (None: those on stderr, on a terminal), and `paint`
    may add colour to lines. `keys` says what a person can press, `began` when the run began (seconds since
    the epoch; None: now), and `limit` how many seconds it may take (None: any number).
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
    """Hears events and shows them; returns at once, whatever stdout and stderr do.

    `close` returns when all is written, with how the run ended as the last of it.
    """

    def __init__(self, view: View) -> None:
        self._view = view
        self._outlets = Streams()
        self._phases = Phases()
        self._panel: Panel | None = None
        self._plan: Plan | None = None
        self._failed = self._detached = False
        self._unreachable: set[str] = set()
        self._begun: dict[tuple[str, int], int] = {}  # the pid of each rank, by node and local rank
        self._over: dict[str, set[int]] = {}  # the ranks that have ended, by node
        self._explained: events.Explained | None = None
        self._files: events.FilesWritten | None = None
        self._fetching: fetching.TransferProgress | None = None
        self._ended: events.Ended | None = None

    def __call__(self, event: events.Event) -> None:
        if self._panel is not None:
            self._panel.hear(event)
        match event:
            case events.Output():
                self._show(event)
                return
            case events.PhaseBegan():
                self._phases.begin(event.phase, event.nodes)
                self._outlets.draw(self._phases.rows)
            case events.PhaseAdvanced():
                self._phases.advance(event.phase, event.node, event.succeeded)
            case events.Sending():
                self._phases.say(messages.sending(event, self._plan))
                if not self._outlets.draws:  # else it stands in what is drawn
                    self._say(self._phases.take_header())
            case events.SyncAdvanced():
                self._phases.sync(event.node, event.sent, event.total)
            case events.PhaseEnded():
                self._phases.end(event.phase, event.seconds, event.detail)
            case events.Planned():
                self._plan = event.plan
                self._phases.say(messages.header(event.plan))
            case events.Started():
                self._begin_run()
            case events.RankEnded():
                self._over.setdefault(event.node, set()).add(event.rank)
                if event.code != 0 and not self._failed:  # the others' ends follow from it
                    self._failed = True
                    self._say(messages.rank_ended(event), "red")
            case events.Stopping():
                self._failed = True
                self._say(messages.stopping(event), "yellow")
            case events.Restarting():
                self._restart(event)
            case events.Stalled():
                self._say(messages.stalled(event), "yellow")
            case events.Resumed():
                self._say(messages.resumed(event), "green")
            case events.NodeLost():
                if event.node not in self._unreachable:
                    self._unreachable.add(event.node)
                    self._say(messages.node_lost(event), "yellow")
            case events.NodeLeft():
                self._say(messages.node_left(event), "yellow")
            case events.RankBegan():
                self._began(event)
            case events.NodeBack():
                self._unreachable.discard(event.node)
                self._say(messages.node_back(event), "green")
            case events.NodesInUse():
                self._say(messages.nodes_in_use(event), "yellow")
            case events.Warned():
                self._say(f"warning: {event.message}", "yellow")
            case events.Uneven():
                self._say(f"warning: {messages.uneven(event)}", "yellow")
            case events.Detached():
                self._detached = True
                self._say(messages.detached(event))
            case events.FetchAdvanced():
                self._fetch(event)
            case events.Fetched():
                self._fetching = None
                self._outlets.draw(self._panel.rows if self._panel is not None else None)
                self._say(fetching.fetched(event))
            case events.FilesWritten():
                self._files = event  # said with the end
            case events.Explained():
                self._explained = event  # said with the end
            case events.Ended():
                self._ended = event  # said by `close`, after the last output
        self._outlets.refresh()

    def close(self) -> None:
        """Leave the terminal as it was, with everything written, however long stdout takes for it.

        Who detaches does not wait for a slow one; nor does a person who interrupts this.
        """
        last = b""
        if self._ended is not None:
            last = verdict.ended(self._ended, self._explained, self._files)
            self._ended = None
        self._panel = None
        self._outlets.close(last, _DRAIN_TIMEOUT if self._detached else None)

    def _begin_run(self) -> None:
        """Let the panel take the place of the phases."""
        said = self._phases.summary(width_of(2))
        is_whole_lines = self._view.output != "raw"
        if self._outlets.have_room_for_a_panel and self._plan is not None and is_whole_lines:
            self._say(said)
            self._panel = self._make_panel(self._plan)
            self._outlets.draw(self._panel.rows)
        else:
            self._say(f"\n{messages.INDENT}".join(filter(None, (said, "; ".join(self._view.keys)))))
            self._outlets.draw(None)

    def _began(self, event: events.RankBegan) -> None:
        """A rank that begins anew may fail anew, and that is news."""
        place = (event.node, event.local_rank)
        if self._begun.get(place, event.pid) != event.pid:
            self._failed = False
            self._over.pop(event.node, None)
        self._begun[place] = event.pid

    def _restart(self, event: events.Restarting) -> None:
        """Let the phases take the place of the panel, until the next attempt has started."""
        self._failed = False
        self._over.clear()
        self._unreachable.clear()
        self._phases, self._panel = Phases(), None
        self._say(messages.restarting(event), "yellow")
        self._outlets.draw(self._phases.rows)

    def _fetch(self, event: events.FetchAdvanced) -> None:
        """Let how much has come take the place of the panel: the ranks have ended."""
        if self._fetching is None:
            self._fetching = fetching.TransferProgress("fetch", "from")
            self._outlets.draw(self._fetching.rows)
        self._fetching.hear(event.node, event.received, event.total)

    def _make_panel(self, plan: Plan) -> Panel:
        from orchestrator.ui.panel import Panel

        colours = {name: sgr.decode() for name, sgr in _colours(plan).items()}
        return Panel(plan, colours, self._view.keys, self._view.began, self._view.limit)

    def _say(self, text: str, colour: str | None = None) -> None:
        self._outlets.say(text, colour)

    def _show(self, event: events.Output) -> None:
        if self._view.output == "text" and self._tells_of_the_end(event.stream):
            return
        if self._view.ranks is not None and event.stream.rank not in self._view.ranks:
            return
        if event.hole and self._view.output == "raw":
            self._say(f"warning: {messages.hole(event.stream, event.hole)}", "yellow")
            return
        # Raw output keeps the ranks' two apart.
        is_error = self._view.output == "raw" and event.stream.channel == "stderr"
        self._outlets.show(event, 2 if is_error else 1, lambda: lines_for(self._view, self._plan))

    def _tells_of_the_end(self, stream: Stream) -> bool:
        """Whether this is a launcher's account of how ranks ended: it is in its log.

        When all went well, torchrun on one node often finds that the one on main has left before it, and
        says so in a long stack.
        """
        if stream.rank is not None or self._plan is None:
            return False
        over = len(self._over.get(stream.node, ()))
        return self._failed or any(
            node.name == stream.node and over >= node.devices for node in self._plan.nodes
        )


def lines_for(view: View, plan: Plan | None) -> Lines | None:
    """Return what output to stdout goes through, None for raw bytes."""
    if view.output == "raw":
        return None
    if view.output == "json":
        from orchestrator.logs.json_lines import JsonLines

        return JsonLines()
    terminal = os.isatty(1)
    folded = _folded_channels(view.fold, terminal)
    if folded and plan is not None:
        from orchestrator.logs.fold import FoldedLines

        return FoldedLines(
            _prefixer(plan),
            _folded_prefixer(plan),
            "terminal" if terminal else "pipe",
            ranks=plan.world_size,
            launchers=len(plan.nodes),
            fold=folded,
            timestamps=view.timestamps,
            paint=view.paint,
        )
    return TextLines(
        _prefixer(plan),
        "terminal" if terminal else "pipe",
        timestamps=view.timestamps,
        paint=view.paint,
    )


def _colours(plan: Plan | None) -> dict[str, bytes]:
    """Return a colour for each node, the same wherever the node is named."""
    names = [node.name for node in plan.nodes] if plan is not None else []
    return {name: NODE_COLOURS[index % len(NODE_COLOURS)] for index, name in enumerate(names)}


def _prefixer(plan: Plan | None) -> Callable[[Stream], bytes]:
    from orchestrator.logs.prefix import Widths, prefix

    colours = _colours(plan)
    widths = Widths.of(colours, plan.world_size if plan is not None else 1)
    shown = colours if wants_colour(1) else {}
    return lambda stream: prefix(stream, widths, shown.get(stream.node))


def _folded_prefixer(plan: Plan) -> Callable[[Sequence[Stream]], bytes]:
    from orchestrator.logs.prefix import Widths, folded_prefix

    widths = Widths.of((node.name for node in plan.nodes), plan.world_size)
    colour = b"1" if wants_colour(1) else None  # no one node's
    return lambda streams: folded_prefix(streams, widths, colour)


def _folded_channels(wanted: bool | None, terminal: bool) -> frozenset[Channel]:
    if wanted is None:
        return frozenset({"stderr"}) if terminal else frozenset()
    return frozenset({"stdout", "stderr"}) if wanted else frozenset()
