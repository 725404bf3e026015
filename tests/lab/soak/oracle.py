"""What must hold after a draw, whatever its faults were. Pure: evidence in, objections out.

It knows orch's promises (`docs`, README) and none of its code. Each rule is a function that yields what
it objects to, in one line each.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from datetime import datetime
from math import inf

from .causes import Attempt, acceptable, attempts, causes
from .evidence import Evidence, Life, Stream, Strike
from .job import complaint, output

_AFTER_THE_END = 0.5  # seconds: what a journal calls started had been started a moment before
_SHOWING = ("logs", "after-logs", "status", "look", "stop")  # they exit with 0, however it ended
_HOLD_UP = ("freeze", "halt", "cut", "lose", "slow", "fill", "vanish")
_UNTOLD = ("Traceback (most recent call last)", "bug in orch", "Exception in callback")


def objections(evidence: Evidence) -> list[str]:
    """Return all that is wrong."""
    if not evidence.has_ended:
        gone = {hit.node for hit in evidence.struck("vanish")}
        if gone >= set(evidence.draw.job.names):
            return []  # it is the controller that has no network, for all that it can tell: it waits
        return ["the run did not end", *rule_no_command_hangs(evidence)]
    return [f"{rule.__name__[5:]}: {line}" for rule in RULES for line in rule(evidence)]


# -- bytes -------------------------------------------------------------------------------------


def rule_copies_are_prefixes(evidence: Evidence) -> Iterator[str]:
    """A copy is a prefix of the node's file, and all of it unless the record says what is missing.

    Of a run that could not be started nothing is fetched.
    """
    record = evidence.record or {}
    missing = (
        evidence.draw.job.names if record.get("state") == "failed" else record.get("missing", [])
    )
    for stream in evidence.streams:
        where = f"{stream.node} attempt {stream.attempt} {stream.name}"
        if stream.original is None:
            continue
        if not stream.original.startswith(stream.copy):
            yield f"{where}: the copy is no prefix, from byte {_common(stream)} on"
        elif stream.copy != stream.original and stream.node not in missing:
            here = f"{len(stream.copy)} of {len(stream.original)} bytes are here"
            yield f"{where}: {here}, and none is missing"


def rule_missing_is_explained(evidence: Evidence) -> Iterator[str]:
    """Once the logs were asked for, only a host that is gone has kept some to itself."""
    gone = {hit.node for hit in evidence.struck("vanish")}
    for node in (evidence.record or {}).get("missing", []):
        if node not in gone:
            yield f"{node} is said to be missing, and is there"


def rule_nothing_written_is_lost(evidence: Evidence) -> Iterator[str]:
    """A stream has the bytes that the seed decides, as far as its rank has written."""
    gone = {hit.node for hit in evidence.struck("vanish")}
    for life in evidence.lives:
        for suffix, expected in (("out", _written_out), ("err", _written_err)):
            least, most = (
                expected(evidence, life, life.wrote),
                expected(evidence, life, life.writing),
            )
            stream = _stream(evidence, life, f"rank-{life.rank}.{suffix}")
            if life.node in gone:
                # The copy, if there is one, must be true as far as it goes.
                if stream is not None and not most.startswith(stream.copy):
                    yield f"{_who(life)} {suffix}: the copy is not what it wrote"
                continue
            data = b"" if stream is None or stream.original is None else stream.original
            if not data.startswith(least):
                yield f"{_who(life)} {suffix}: {len(data)} bytes, not the {len(least)} that it wrote"
            elif suffix == "out" and not most.startswith(data):
                yield f"{_who(life)} {suffix}: more than it wrote, from byte {len(most)} on"


def rule_logs_show_the_copy(evidence: Evidence) -> Iterator[str]:
    """`orch logs --output raw` of a rank is what is here of it, attempt for attempt."""
    shown = evidence.command("after-logs")
    if shown is None or shown.code != 0:
        return
    streams = sorted(
        (s for s in evidence.streams if s.name == "rank-0.out"), key=lambda s: (s.attempt, s.node)
    )
    expected = b"".join(stream.copy for stream in streams)
    if shown.out != expected:
        yield f"{len(shown.out)} bytes of rank 0, not {len(expected)}"


# -- processes ---------------------------------------------------------------------------------


def rule_nothing_is_left(evidence: Evidence) -> Iterator[str]:
    """No process of the run or of orch is left anywhere."""
    yield from evidence.left


def rule_no_bystander_is_harmed(evidence: Evidence) -> Iterator[str]:
    """Processes that are not of the run live."""
    yield from evidence.harmed


def rule_no_command_hangs(evidence: Evidence) -> Iterator[str]:
    """Every command has ended by itself."""
    for command in evidence.commands:
        if not command.is_over:
            yield f"orch {command.name} did not end: {command.err[-300:]!r}"


# -- what is said ------------------------------------------------------------------------------


def rule_no_traceback(evidence: Evidence) -> Iterator[str]:
    """Nothing that a person reads is a defect of orch's."""
    said = {command.name: command.err for command in evidence.commands}
    logs = {name: text for name, text in evidence.notes.items() if name.endswith(".log")}
    for name, text in {**said, **logs}.items():
        # What ranks printed is shown with their prefix, and may be anything.
        own = "\n".join(line for line in text.splitlines() if "│" not in line)
        for words in _UNTOLD:
            if words in own:
                yield f"{name}: {words}: {own[own.index(words) :][-400:]!r}"


def rule_codes_agree(evidence: Evidence) -> Iterator[str]:
    """Every report of how the run ended is the same."""
    record = evidence.record
    if record is None or record["state"] != "ended":
        return
    code = record["exit_code"]
    found = {c.name: c.code for c in evidence.commands if "attach" in c.name}
    launch = evidence.command("launch")
    if launch is not None and not _has_left(evidence):
        found["launch"] = launch.code
    for name, said in found.items():
        if said is not None and said != code:
            yield f"{name} exits with {said}, the record has {code}"
    status = evidence.command("after-status")
    if status is not None:
        if status.code != 0:
            yield f"orch status exits with {status.code}: {status.err[-300:]!r}"
            return
        shown = json.loads(status.out)
        # Without a word on its outcome, a run that has ended is shown by its exit code.
        known = {**record, "state": record.get("outcome") or shown["state"]}
        for key in ("state", "exit_code", "summary"):
            if shown[key] != known[key]:
                yield f"orch status has {key} {shown[key]!r}, the record {known[key]!r}"


def rule_commands_succeed(evidence: Evidence) -> Iterator[str]:
    """Who looks at a run sees it, and who stops it sees its end, where nothing keeps them from it."""
    is_held_up = any(hit.fault.kind in _HOLD_UP for hit in evidence.strikes)
    allowed = (0, None, 125) if is_held_up else (0, None)
    for command in evidence.commands:
        if command.name.rstrip("0123456789") in _SHOWING and command.code not in allowed:
            yield f"orch {command.name} exits with {command.code}: {command.err[-300:]!r}"


def _has_left(evidence: Evidence) -> bool:
    """Whether the launch did not see the run's end."""
    return evidence.draw.options.detach or any(
        hit.fault.target == "controller" and hit.fault.kind in ("kill", "hangup")
        for hit in evidence.strikes
    )


def rule_one_controller_is_started(evidence: Evidence) -> Iterator[str]:
    """However many look at a run at once that has no controller, one is started."""
    ended = (evidence.record or {}).get("ended") or inf
    log = evidence.notes.get("ctl/controller.log", "")
    starts = [datetime.fromisoformat(line.split()[0]).timestamp()
              for line in log.splitlines() if line.endswith(" starts a controller")]  # fmt: skip
    # Once the run has ended, one may be started to fetch what is missing. Stamps are of whole seconds.
    starts = [start for start in starts if start + 1 <= ended]
    lost = [hit for hit in evidence.strikes if _ends_a_controller(hit)]
    most = len(lost) + evidence.draw.options.detach
    if len(starts) > most:
        yield f"{len(starts)} controllers were started in the background, not {most}"


def _ends_a_controller(hit: Strike) -> bool:
    """Whether there may be none after it; one that finds no room leaves the run's end to the next."""
    is_signal = hit.fault.kind in ("kill", "hangup", "interrupt", "term")
    return (is_signal and hit.fault.target == "controller") or (
        hit.fault.kind == "fill" and hit.node == "ctl"
    )


# -- the verdict -------------------------------------------------------------------------------


def rule_attempts(evidence: Evidence) -> Iterator[str]:
    """As many attempts as were asked for at most, and none once the run has ended."""
    most = evidence.draw.options.restarts + 1
    seen = {life.attempt for life in evidence.lives}
    if len(seen) > most:
        yield f"{len(seen)} attempts, not {most}"
    ended = (evidence.record or {}).get("ended")
    for life in evidence.lives:
        if ended is not None and life.started > ended + _AFTER_THE_END:
            yield f"{_who(life)} started {life.started - ended:.1f} s after the end"
    pairs = [(life.rank, life.attempt) for life in evidence.lives]
    for pair in {pair for pair in pairs if pairs.count(pair) > 1}:
        yield f"rank {pair[0]} was started more than once in attempt {pair[1]}"


def rule_success_is_true(evidence: Evidence) -> Iterator[str]:
    """A run succeeds where every rank says so, and nowhere else."""
    for attempt in attempts(evidence):
        done = {life.rank for life in attempt.lives if life.completed}
        undone = set(evidence.draw.job.ranks) - done
        if attempt.code == 0:
            if undone:
                yield f"attempt {attempt.number} succeeded, and rank {min(undone)} has not done its steps"
            for cause in causes(evidence, attempt):
                if cause.is_certain:
                    yield f"attempt {attempt.number} succeeded, in spite of: {cause.what}"
        elif not undone and not acceptable(causes(evidence, attempt)):
            yield f"attempt {attempt.number}: {attempt.summary!r}, and all ranks did their steps"


def rule_verdict_is_true(evidence: Evidence) -> Iterator[str]:
    """The cause is what came first, with its own code; nobody innocent is named."""
    for attempt in attempts(evidence):
        if attempt.code != 0:
            yield from _judge(evidence, attempt)


def _judge(evidence: Evidence, attempt: Attempt) -> Iterator[str]:
    found = causes(evidence, attempt)
    blamable = acceptable(found)
    said = f"attempt {attempt.number}: {attempt.summary!r}, exit code {attempt.code}"
    if not blamable:
        yield f"{said}: nothing has ended it"
        return
    own, _, why_no_more = attempt.summary.partition(";")
    nodes, ranks = named(own)
    fitting = [
        cause
        for cause in blamable
        if attempt.code in cause.codes and nodes <= cause.nodes and ranks <= cause.ranks
    ]
    if not fitting:
        yield f"{said}: rather {' or '.join(cause.what for cause in blamable)}"
    struck = {hit.node for hit in evidence.strikes}
    if any(hit.node == "ctl" and hit.fault.target == "link" for hit in evidence.strikes):
        struck.update(evidence.draw.job.names)
    innocent = named(why_no_more)[0] - struck.union(*(cause.nodes for cause in found))
    if innocent:
        yield f"{said}: {', '.join(sorted(innocent))} is named, and nothing has happened there"


def named(summary: str) -> tuple[frozenset[str], frozenset[int]]:
    """Return the nodes and the ranks that a sentence names."""
    nodes = frozenset(re.findall(r"\bnode\d+\b", summary))
    return nodes, frozenset(int(word) for word in re.findall(r"\brank (\d+)\b", summary))


def rule_launch_that_fails_is_explained(evidence: Evidence) -> Iterator[str]:
    """A launch that starts nothing says 125, or 128+N for a signal, and something kept it from it."""
    launch = evidence.command("launch")
    if launch is None or launch.code is None or evidence.record is not None:
        return
    if evidence.lives:
        yield "ranks ran, and there is no record of their run"
    signals = [hit.fault.kind for hit in evidence.strikes if hit.fault.target == "controller"]
    if launch.code in [
        {"hangup": 129, "interrupt": 130, "term": 143}.get(kind) for kind in signals
    ]:
        return
    if launch.code != 125:
        yield f"the launch started nothing, and exits with {launch.code}: {launch.err[-300:]!r}"
    elif not evidence.strikes:
        yield f"nothing kept the launch from starting: {launch.err[-300:]!r}"
    innocent = named(launch.err)[0] - {hit.node for hit in evidence.strikes}
    if innocent and all(hit.node != "ctl" for hit in evidence.strikes):
        yield f"the launch names {', '.join(sorted(innocent))}: {launch.err[-300:]!r}"


RULES: list[Callable[[Evidence], Iterator[str]]] = [
    rule_copies_are_prefixes,
    rule_missing_is_explained,
    rule_nothing_written_is_lost,
    rule_logs_show_the_copy,
    rule_nothing_is_left,
    rule_no_bystander_is_harmed,
    rule_no_command_hangs,
    rule_no_traceback,
    rule_codes_agree,
    rule_commands_succeed,
    rule_one_controller_is_started,
    rule_attempts,
    rule_success_is_true,
    rule_verdict_is_true,
    rule_launch_that_fails_is_explained,
]


def _who(life: Life) -> str:
    return f"rank {life.rank} on {life.node} attempt {life.attempt}"


def _stream(evidence: Evidence, life: Life, name: str) -> Stream | None:
    for stream in evidence.streams:
        if (stream.node, stream.attempt, stream.name) == (life.node, life.attempt, name):
            return stream
    return None


def _written_out(evidence: Evidence, life: Life, last: int) -> bytes:
    seed, size = evidence.draw.seed, evidence.draw.job.size
    return b"".join(output(seed, life.rank, life.attempt, s, size) for s in range(last + 1))


def _written_err(evidence: Evidence, life: Life, last: int) -> bytes:
    seed = evidence.draw.seed
    return b"".join(complaint(seed, life.rank, life.attempt, s) for s in range(last + 1))


def _common(stream: Stream) -> int:
    assert stream.original is not None
    pairs = enumerate(zip(stream.copy, stream.original, strict=False))
    return next((i for i, (a, b) in pairs if a != b), len(stream.original))
