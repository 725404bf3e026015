"""The clocks: whether the nodes agree on the time."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from orchestrator.preflight.answers import reader
from orchestrator.preflight.judge import for_all, judge_nodes
from orchestrator.preflight.model import (
    Context,
    Finding,
    Group,
    Level,
    NodeContext,
    Probe,
    Status,
    check,
)
from orchestrator.preflight.verdict import Verdict, incomplete, passed
from orchestrator.util.quoting import command_line

_WARN, _FAIL = 0.5, 30.0  # seconds


@dataclass(frozen=True)
class ClockTools:
    """What could set a node's clock; names are some of those that `node/probes/host.py` looks for."""

    systemd: bool
    programs: frozenset[str]
    services: frozenset[str]

    def remedy(self) -> tuple[str, tuple[str, ...]]:
        """Return how to correct this node's clock: a sentence, and lines to paste."""
        services = self.services if self.systemd else frozenset()
        chrony = next((name for name in ("chronyd", "chrony") if name in services), None)
        ntpd = next((name for name in ("ntpsec", "ntp", "ntpd") if name in services), None)
        if "chronyc" in self.programs and chrony is not None:
            start = command_line(["systemctl", "enable", "--now", chrony])
            return "let chrony step the clock now", (start, "chronyc makestep")
        if ntpd is not None:
            return "restart ntpd", (command_line(["systemctl", "restart", ntpd]),)
        if "systemd-timesyncd" in services:
            restart = "systemctl restart systemd-timesyncd"
            return "let systemd keep the time", ("timedatectl set-ntp true", restart)
        if not self.systemd:
            return "set the clock of the machine itself: a container has no other", ()
        if "apt-get" in self.programs:
            return "install chrony", ("apt-get install --yes chrony", "chronyc makestep")
        if "dnf" in self.programs:
            start = "systemctl enable --now chronyd"
            return "install chrony", ("dnf install -y chrony", start, "chronyc makestep")
        return "install chrony, or another client of NTP", ()


CLOCK = Probe("host.clock", reader(ClockTools))


@check("clock", Group.LIMITS, Level.QUICK, probes=(CLOCK,))
def check_clock(context: Context) -> list[Finding]:
    """The nodes agree on the time.

    Compares each node's clock, read in the middle of a request and its answer, with the median of all
    clocks, the controller's among them. A difference of more than 0.5 s warns, of more than 30 s fails,
    less the uncertainty from the time that the answer took.

    Clocks that differ spoil the order of logs, make files seem newer than they are, and certificates not
    yet valid. The remedy is for what keeps the time on that node: chrony, ntpd, or systemd.
    """
    skews = {node.name: node.facts.clock_skew for node in context.nodes}
    clocks = sorted([*skews.values(), 0.0])
    median = clocks[(len(clocks) - 1) // 2] if len(skews) > 1 else skews[context.names[0]]
    tools = context.answers_to(CLOCK)

    def wrong(node: NodeContext) -> Iterator[Verdict]:
        skew, error = node.facts.clock_skew, node.facts.clock_error
        offset = skew - median
        if abs(offset) - error > _WARN:
            way = "ahead of" if offset > 0 else "behind"
            known = tools.get(node.name)
            yield Verdict(
                Status.FAIL if abs(offset) - error > _FAIL else Status.WARN,
                f"has a clock {abs(offset):.1f} s {way} the others: timeouts, file times and the order of "
                "logs go wrong",
                *(known.remedy() if known else ("set the clock", ())),
                {
                    "skew": round(offset, 3),
                    "doubt": round(error, 3),
                    "controller": round(skew, 3),
                },
            )
        elif error > _FAIL:
            yield incomplete(f"its answer took {2 * error:.0f} s")

    verdicts = judge_nodes(context, wrong)
    agreement = passed(_agreement(context, median), data={"controller": -median})
    return verdicts or for_all(context, agreement)


def _agreement(context: Context, median: float) -> str:
    facts = context.facts
    apart = max(abs(each.clock_skew - median) + each.clock_error for each in facts)
    message = f"agree on the time within {max(_WARN, apart):.1f} s"
    if abs(median) - min(each.clock_error for each in facts) > _WARN:
        way = "behind" if median > 0 else "ahead of"
        message += f"; this machine's own clock is {abs(median):.1f} s {way} theirs"
    return message
