"""What may have ended each attempt of a run, by the journals and the faults. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from math import inf

from .evidence import Evidence, Life, Strike

TOLERANCE = 1.0  # seconds between two causes of which either may be the cause: orch polls
_RECOVERY = 3.0  # seconds that a connection takes to be back once a link is whole again
_STOP_DELAY = 1.0  # seconds until a command that a person typed is obeyed
_REPLACED = 20.0  # seconds until an agent that does not answer is replaced
_ENDING = {"kill": 9, "hangup": 1, "interrupt": 2, "term": 15}  # and the signals that they are
_NODE_CODES = frozenset({1})
_NOT_STARTED = frozenset({1, 125})


@dataclass(frozen=True)
class Cause:
    """Something that may have ended an attempt, and what a truthful verdict then says.

    It took effect between `at` and `until` (seconds since the epoch). The verdict's exit code is one of
    `codes`; it names none but `nodes` and `ranks`. `is_certain`: the attempt cannot have succeeded.
    `alone`: it can end a run that nothing else has harmed. `is_doubtful`: it may as well have done nothing,
    so that what came after it may be named as the cause, too.
    """

    what: str
    at: float
    until: float
    codes: frozenset[int]
    nodes: frozenset[str] = frozenset()
    ranks: frozenset[int] = frozenset()
    is_certain: bool = True
    alone: bool = True
    is_doubtful: bool = False


@dataclass(frozen=True)
class Attempt:
    """One attempt: its lives, when it began and ended, and how its verdict reads."""

    number: int
    lives: Sequence[Life]
    began: float
    ended: float
    code: int
    summary: str


def attempts(evidence: Evidence) -> list[Attempt]:
    """Return the attempts that the record tells of, in order; the last has the run's verdict."""
    record = evidence.record
    if record is None or record.get("exit_code") is None:
        return []
    found: list[Attempt] = []
    began = evidence.launched
    failed = record.get("failed", [])
    last = record["attempt"]
    if failed and (failed[-1]["number"] == last or "could not be started" in record["summary"]):
        last = failed[-1]["number"]  # the run's verdict is its own
        failed = failed[:-1]
    for known in failed:
        found.append(
            Attempt(
                known["number"],
                [life for life in evidence.lives if life.attempt == known["number"]],
                began,
                known["ended"],
                known["exit_code"],
                known["summary"],
            )
        )
        began = known["ended"]
    lives = [life for life in evidence.lives if life.attempt == last]
    ended = record["ended"] or inf
    found.append(Attempt(last, lives, began, ended, record["exit_code"], record["summary"]))
    return found


def causes(evidence: Evidence, attempt: Attempt) -> list[Cause]:
    """Return what may have ended an attempt, in the order of time."""
    found = [
        *_failures(evidence, attempt.lives),
        *_of_strikes(evidence, attempt),
        *_of_time(evidence, attempt),
    ]
    return sorted((cause for cause in found if _is_of(cause, attempt)), key=lambda cause: cause.at)


def _is_of(cause: Cause, attempt: Attempt) -> bool:
    """Whether it may have ended this attempt; what surely ended an earlier one did not."""
    begins = cause.at if cause.is_certain else cause.until
    return cause.at <= attempt.ended and begins >= attempt.began


def acceptable(found: Sequence[Cause]) -> list[Cause]:
    """Return those that may be the cause: nothing else can have taken effect clearly before them."""
    if not any(cause.alone for cause in found):
        return []
    surely = (cause.until for cause in found if cause.alone and not cause.is_doubtful)
    first = min(surely, default=inf)
    return [cause for cause in found if cause.at <= first + TOLERANCE]


def _failures(evidence: Evidence, lives: Sequence[Life]) -> Iterator[Cause]:
    for life in lives:
        if life.failed_by_itself:
            assert life.code is not None
            frozen = _frozen_until(evidence, life.node, life.last)
            yield _of_rank(
                life.node, life.rank, life.code, f"says it left: {life.how}", life.last, frozen
            )


def _frozen_until(evidence: Evidence, node: str, at: float) -> float:
    """When the process that reports what happens on a node at `at` is thawed."""
    reporters = ("supervisor", "agent", "session", "controller", "launcher", "shim")
    freezes = [
        _heard_again(hit)
        for hit in evidence.strikes
        if hit.fault.kind in ("freeze", "halt", "cut", "lose", "slow", "fill")
        and (hit.fault.target in reporters or hit.fault.kind != "freeze")
        and hit.node in (node, "ctl")
        and hit.at - TOLERANCE <= at <= hit.until + TOLERANCE
    ]
    # Nobody reports it while there is no controller, and a new one is there seconds later.
    killed = [hit.at + 2 * _RECOVERY for hit in evidence.strikes if _silences(hit)]
    return max([at, *freezes, *killed])


def _heard_again(hit: Strike) -> float:
    """When the process that was held up reports again; for one that is halted another is started."""
    if hit.fault.kind == "halt":
        return min(hit.until, hit.at + _REPLACED) + _RECOVERY
    return hit.until + _RECOVERY


def _silences(hit: Strike) -> bool:
    return hit.fault.target in ("controller", "agent", "session") and hit.fault.kind in _ENDING


def _of_rank(node: str, rank: int, code: int, what: str, at: float, until: float) -> Cause:
    return Cause(
        f"rank {rank} on {node} {what}",
        at,
        until,
        frozenset({code}),
        frozenset({node}),
        frozenset({rank}),
    )


def _of_strikes(evidence: Evidence, attempt: Attempt) -> Iterator[Cause]:
    options = evidence.draw.options
    everyone = frozenset(evidence.draw.job.names)
    all_started = _all_started(evidence, attempt)
    for hit in evidence.strikes:
        kind, target, node = hit.fault.kind, hit.fault.target, hit.node
        where = frozenset({node}) if node != "ctl" else everyone
        noticed = _frozen_until(evidence, node, hit.at)
        over = _is_over(attempt, node, hit.at)
        what = str(hit)
        # A node that cannot be reached, or is not there, cannot be started on, or cannot say that it has.
        is_person = target == "run" or (target == "controller" and kind in ("interrupt", "term"))
        if hit.at <= all_started and not is_person:
            until = max(hit.until + _RECOVERY, all_started)
            yield Cause(what, hit.at, until, _NOT_STARTED, where, is_certain=False,
                        is_doubtful=all_started < inf)  # fmt: skip
        match kind, target:
            case ("kill" | "hangup" | "interrupt" | "term", "rank") if hit.rank is not None:
                code = 128 + _ENDING[kind]
                cause = _of_rank(node, hit.rank, code, what, hit.at, noticed)
                yield replace(cause, is_certain=not _is_over(attempt, node, hit.at, hit.rank))
            case ("kill", "shim") if hit.rank is not None:
                yield Cause(what, hit.at, noticed, frozenset({137, 1}), where, frozenset({hit.rank}),
                            is_certain=not over)  # fmt: skip
            case ("kill", "launcher"):
                yield Cause(what, hit.at, noticed, frozenset({137}), where, is_certain=not over)
            case ("term" | "interrupt" | "hangup", "launcher"):
                # It ends its ranks, each in its own way, and then itself.
                codes = frozenset({1, 137, 143, 128 + _ENDING[kind]})
                ranks = frozenset(
                    r for r in evidence.draw.job.ranks if evidence.draw.job.node_of(r) == node
                )
                yield Cause(
                    what, hit.at, noticed + TOLERANCE, codes, where, ranks, is_certain=False
                )
            case ("kill" | "hangup" | "term" | "interrupt", "supervisor"):
                # Ranks that all completed nevertheless have succeeded, if that is known.
                completed = all(life.completed for life in attempt.lives if life.node == node)
                yield Cause(what, hit.at, noticed, _NODE_CODES, where,
                            is_certain=not over and not completed)  # fmt: skip
            case ("vanish", _):
                until = hit.at + 2 * options.node_timeout + 2 * _RECOVERY
                yield Cause(what, hit.at, until, _NODE_CODES, where, is_certain=not over)
            case ("cut" | "lose" | "slow", _) if node != "ctl":
                # Shorter than that, it is no more than a hint when something else has failed.
                is_long = hit.until - hit.at >= options.node_timeout - TOLERANCE
                until = hit.until + _RECOVERY
                # One that was over before they started has ended nothing that did.
                is_early = until < all_started < inf
                yield Cause(what, hit.at, until, _NODE_CODES, where, is_certain=False, alone=is_long,
                            is_doubtful=is_early)  # fmt: skip
            case ("stop", _):
                until = max(noticed, hit.until) + _STOP_DELAY
                yield Cause(what, hit.at, until, frozenset({130}), is_certain=False)
            case ("interrupt" | "term", "controller"):
                codes = frozenset({128 + _ENDING[kind]})
                yield Cause(what, hit.at, noticed + _STOP_DELAY, codes, is_certain=False)


def _of_time(evidence: Evidence, attempt: Attempt) -> Iterator[Cause]:
    options, record = evidence.draw.options, evidence.record or {}
    if options.timeout is not None:
        at = float(record["began"]) + options.timeout
        until = _frozen_until(evidence, "ctl", at) + TOLERANCE
        yield Cause("the time limit", at - 0.1, until, frozenset({124}), is_certain=False)
    if options.lease is not None:
        everyone = frozenset(evidence.draw.job.names)
        if options.detach:  # the run changes hands, and on a busy machine that takes a while
            until = evidence.launched + options.lease + 3 * _RECOVERY
            yield Cause(
                "the lease", evidence.launched, until, _NODE_CODES, everyone, is_certain=False
            )
        for hit in evidence.strikes:
            where = everyone if hit.node == "ctl" else frozenset({hit.node})
            if hit.fault.target in ("controller", "agent", "session", "link", "listener", "disk"):
                # The last word from the controller came a third of the lease before, or less.
                at = hit.at + options.lease / 3
                until = hit.until + options.lease + 2 * _RECOVERY
                yield Cause("the lease", at, until, _NODE_CODES, where, is_certain=False)


def _all_started(evidence: Evidence, attempt: Attempt) -> float:
    """When the last rank of an attempt began to work, infinite where one never did."""
    started = {life.rank: life.started for life in attempt.lives}
    ranks = evidence.draw.job.ranks
    return max(started.values()) if started.keys() >= set(ranks) else inf


def _is_over(attempt: Attempt, node: str, at: float, rank: int | None = None) -> bool:
    """Whether a rank of a node (None: all of them) had left at that time, or was just about to."""
    lives = [life for life in attempt.lives if life.node == node and rank in (None, life.rank)]
    return bool(lives) and all(life.how is not None and life.last <= at + 0.1 for life in lives)
