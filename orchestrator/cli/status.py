"""`orch status`: what every rank of a run is doing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

import typer

from orchestrator.cli import options

if TYPE_CHECKING:
    from orchestrator.status import NodeStatus, RankStatus, RunStatus
    from orchestrator.ui.status import NodeRow, RankRow, StatusView


def status(
    run: options.Run = None,
    output: Annotated[
        Literal["text", "json"], typer.Option(help="text: a table; json: one object.")
    ] = "text",
) -> None:
    """Show what every node and rank of a run does.

    Its state, process, exit, how much it printed, its last line and how long ago that came. Where a node
    cannot be reached, since when; its ranks are then shown as they were last seen. A run that goes on
    without a controller gets one, in the background.

    \b
    Examples:
      orch status
      orch status lusab
      orch status --output json | jq '.nodes[] | select(.unreachable_since)'
    """
    import asyncio

    from orchestrator.catch_up import catch_up
    from orchestrator.cli.tell import Teller
    from orchestrator.runs.registry import find, unless_pruned
    from orchestrator.status import status_of
    from orchestrator.ui.status import show

    saved = find(run)
    if (
        not saved.has_ended
    ):  # else there is no news but logs that may be missing, which `orch logs` fetches
        saved = asyncio.run(catch_up(saved, Teller()))
    with unless_pruned(saved):
        view = _view(status_of(saved))
    show(view, output)


def _view(status: RunStatus) -> StatusView:
    from orchestrator.ui.status import AttemptRow, ControllerRow, StatusView
    from orchestrator.ui.words import condition

    saved, controller = status.saved, status.controller
    state, summary = saved.state, saved.summary
    if not saved.has_ended:
        state, summary = condition(state, summary, status.stopping, status.stalled)
    return StatusView(
        run=saved.run,
        state=state,
        summary=summary,
        launcher=saved.plan.launcher,
        began=saved.began,
        ended=saved.ended,
        exit_code=saved.exit_code,
        logs=str(saved.logs),
        controller=ControllerRow(controller.pid, controller.background) if controller else None,
        nodes=tuple(_node(node) for node in status.nodes),
        verdict=saved.verdict,
        failed=tuple(
            AttemptRow(
                number,
                attempt.number,
                attempt.began,
                attempt.ended,
                attempt.exit_code,
                attempt.summary,
            )
            for number, attempt in enumerate(saved.failed, start=1)
        ),
    )


def _node(node: NodeStatus) -> NodeRow:
    from orchestrator.ui.status import NodeRow

    ranks = tuple(_rank(rank) for rank in node.ranks)
    cause = node.cause if node.unreachable_since is not None or node.state == "left" else ""
    return NodeRow(node.name, node.state, node.unreachable_since, ranks, cause)


def _rank(rank: RankStatus) -> RankRow:
    from orchestrator.signal_names import signal_name
    from orchestrator.ui.status import RankRow

    state: Literal["starting", "running", "ended", "failed", "killed"] = "running"
    if rank.signal is not None:
        state = "killed"
    elif rank.code:
        state = "failed"
    elif rank.ended:
        state = "ended"
    elif rank.pid is None:
        state = "starting"
    return RankRow(
        rank=rank.rank,
        local_rank=rank.local_rank,
        state=state,
        pid=rank.pid,
        exit_code=rank.code if rank.signal is None else 128 + rank.signal,
        signal=None if rank.signal is None else signal_name(rank.signal),
        bytes=rank.bytes,
        last_line=rank.last_line,
        said=rank.said,
    )
