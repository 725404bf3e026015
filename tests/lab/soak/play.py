"""Carry out a draw in a lab of its own, and gather the evidence."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from labkit.lab import Lab, LabError

from . import faults
from .draw import HALT, Draw, Fault
from .evidence import Command, Evidence, Strike
from .site import Running, Site

END_WAIT = 60.0  # seconds after the last fault is over within which a run must have ended
QUIET_WAIT = 20.0  # seconds after its end within which nothing of it may be left
_COMMAND_WAIT = 60.0  # seconds that a command of a person may take once the run has ended
_POLL = 0.03
_LOOK_AFTER = 0.7  # seconds without a controller after which a person looks at the run
_NEARLY = 8  # steps before a rank's last
_LOOKERS = [("status",), ("logs",), ("attach",), ("status",), ("logs", "-f")]
_OF_PEOPLE: Mapping[str, Sequence[tuple[str, ...]]] = {
    "logs": [("logs", "-f")],
    "attach": [("attach",)],
    "status": [("status",)],
    "stop": [("stop",)],
    "crowd": _LOOKERS,
}


@dataclass
class _Happened:
    """A fault that happened; `undo` is what there is to undo yet, `command` what a person typed."""

    strike: Strike
    undo: Callable[[], None] | None = None
    command: Running | None = None

    @property
    def is_to_be_undone(self) -> bool:
        """Whether it is over before the run need be."""
        return self.undo is not None and self.strike.until != HALT

    def final(self) -> Strike:
        """Return the strike, with when it was over."""
        if self.command is None or self.command.ended_at is None:
            return self.strike
        return replace(self.strike, until=self.command.ended_at)


class Play:
    """One draw, from before the launch until nothing is left of it."""

    def __init__(self, lab: Lab, folder: Path, draw: Draw) -> None:
        self._lab = lab
        self._site = Site(lab, folder, draw)
        self._folder = folder
        self._draw = draw
        self._pending = list(draw.faults)
        self._happened: list[_Happened] = []
        self._reached: dict[str, float] = {}
        self._launched = 0.0

    def run(self) -> Evidence:
        """Launch, do harm, wait for the end, look at what it was."""
        for where in sorted({fault.where for fault in self._draw.faults if fault.kind == "fill"}):
            faults.give_small_disk(self._lab, where)
        self._site.start_bystanders()
        self._strike_those_due()
        self._launch()
        has_ended = self._until_ended()
        self._undo_those_due(before=float("inf"))
        commands = self._look_back(has_ended)
        return self._evidence(has_ended, commands)

    def _launch(self) -> None:
        job = self._draw.job
        script = self._folder / "job" / "job.py"
        script.parent.mkdir()
        script.write_bytes(Path(__file__).with_name("job.py").read_bytes())
        words = ["launch", "-i", str(self._lab.inventory), "--launcher", job.launcher]
        words += ["--nproc", str(job.per_node), *self._draw.options.words()]
        self._launched = time.time()
        self._site.command("launch", [*words, str(script), json.dumps(config_of(self._draw))])

    def _until_ended(self) -> bool:
        """Have the faults happen as they are due; tell whether the run ended in time."""
        quiet_since: float | None = None
        deadline = time.time() + END_WAIT
        while True:
            self._strike_those_due()
            self._undo_those_due(before=time.time())
            now = time.time()
            if any(happened.is_to_be_undone for happened in self._happened):
                deadline = now + END_WAIT
            if self._has_ended():
                return True
            if now > deadline:
                return False
            if self._has_controller():
                quiet_since = None
            elif quiet_since is None:
                quiet_since = now
            elif now - quiet_since > _LOOK_AFTER and self._site.run is not None:
                # It has no controller: a command looks, and it has one again.
                for words in _LOOKERS[: self._draw.lookers]:
                    name = "attach" if words[0] == "attach" else "look"
                    self._site.command(name, [*words, self._site.run])
                quiet_since = None
            time.sleep(_POLL)

    def _has_controller(self) -> bool:
        """Whether there is one, or a command that may start one."""
        if any(not command.is_over for command in self._site.commands):
            return True
        return bool(faults.find(self._lab, "controller", "ctl"))

    def _has_ended(self) -> bool:
        """Whether the launch is over, and its run, if there is one."""
        if not self._site.commands[0].is_over:
            return False
        record = self._site.record()
        if self._site.run is not None and (
            record is None or record["state"] not in ("ended", "failed")
        ):
            return False
        return not faults.find(self._lab, "controller", "ctl")

    # -- faults ----------------------------------------------------------------------------------

    def _reached_at(self, phase: str) -> float | None:
        """Return when a phase was first seen to be reached, None before."""
        if phase not in self._reached and self._is_reached(phase):
            self._reached[phase] = time.time()
        return self._reached.get(phase)

    def _is_reached(self, phase: str) -> bool:
        """Tell whether it is: see `draw.Phase`."""
        job = self._draw.job
        if phase == "before":
            return True
        if phase == "connect":
            return any(faults.find(self._lab, "session", node) for node in job.names)
        # Looked for often: whole journals are read only once all is over.
        nearly = b'"step": %d}' % max(0, job.steps - _NEARLY)
        event = {
            "running": b'"started"', "end": nearly, "exit": b'"exit"', "stop": b'"signal"'
        }[phase]  # fmt: skip
        those = sum(event in path.read_bytes() for _, path in self._site.journals())
        return those >= (len(job.ranks) if phase == "running" else 1)

    def _strike_those_due(self) -> None:
        for fault in list(self._pending):
            since = self._reached_at(fault.phase)
            if since is not None and time.time() >= since + fault.delay:
                self._pending.remove(fault)
                with suppress(LabError):  # the other fault had the node vanish
                    self._strike(fault)

    def _strike(self, fault: Fault) -> None:
        if fault.target == "run":
            if self._site.run is not None:
                at = time.time()
                run = self._site.run
                typed = [self._site.command(w[0], [*w, run]) for w in _OF_PEOPLE[fault.kind]]
                self._happened.append(_Happened(Strike(fault, at, at, "ctl"), command=typed[-1]))
            return
        harm = faults.strike(self._lab, fault)
        if harm is not None:
            self._happened.append(_Happened(harm.strike, harm.undo))

    def _undo_those_due(self, before: float) -> None:
        for happened in self._happened:
            if happened.undo is not None and happened.strike.until <= before:
                with suppress(LabError):  # the other fault had the node vanish
                    happened.undo()
                happened.undo = None
                if happened.strike.fault.seconds:
                    happened.strike = replace(happened.strike, until=time.time())

    # -- afterwards ------------------------------------------------------------------------------

    def _look_back(self, has_ended: bool) -> list[Command]:
        """See every command end, and look at a run that has ended as a person would."""
        site = self._site
        wait = _COMMAND_WAIT if has_ended else 1.0
        done = [command.end(wait) for command in site.commands]
        if site.run is not None and has_ended:
            # First the logs: that fetches what is missing.
            logs = ["logs", site.run, "--rank", "0", "--stdout", "--output", "raw"]
            done.append(site.command("after-logs", logs).end(_COMMAND_WAIT))
            site.command("after-attach", ["attach", site.run, "--tail", "0"])
            site.command("after-status", ["status", site.run, "--output", "json"])
            done += [command.end(_COMMAND_WAIT) for command in site.commands[-2:]]
        return done

    def _evidence(self, has_ended: bool, commands: list[Command]) -> Evidence:
        site = self._site
        deadline = time.time() + (QUIET_WAIT if has_ended else 0.0)
        while (left := list(site.left())) and time.time() < deadline:
            time.sleep(_POLL)
        strikes = [happened.final() for happened in self._happened]
        gone = {hit.node for hit in strikes if hit.fault.kind == "vanish"}
        return Evidence(
            draw=self._draw,
            launched=self._launched,
            lives=site.lives(),
            strikes=strikes,
            streams=list(site.streams(gone)),
            record=site.record(),
            commands=commands,
            has_ended=has_ended,
            left=left,
            harmed=site.end_bystanders(gone),
            notes=site.notes(gone),
        )


def config_of(draw: Draw) -> dict[str, Any]:
    """What the ranks know about a draw."""
    job = draw.job
    return {
        "seed": draw.seed,
        "steps": job.steps,
        "pause": job.pause,
        "size": job.size,
        "on_term": job.on_term,
        "grandchildren": job.grandchildren,
        "endings": {
            str(rank): {"how": e.how, "step": e.step, "number": e.number, "again": e.again}
            for rank, e in job.endings.items()
        },
    }
