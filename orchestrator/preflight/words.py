"""Findings in plain words, one line each, whatever nodes sent."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from orchestrator.inventory.ranges import fold
from orchestrator.preflight.mend import Mend, Place, mends
from orchestrator.preflight.model import Status
from orchestrator.preflight.phrases import counted
from orchestrator.preflight.report import Report
from orchestrator.preflight.scene import Scene


def lines(report: Report) -> list[str]:
    """Return what failed, and what mends it, in lines for a terminal or a log."""
    text = []
    for mend in mends(report, Status.FAIL):
        for check, finding in mend.found:
            text.append(
                f"{check.id}  {who(report.scene, finding.nodes)}: {one_line(finding.message)}"
            )
        if mend.text is not None:
            sentence, *rest = remedy(report.scene, mend)
            text += [f"  → {sentence}", *rest]
    return text


def remedy(scene: Scene, mend: Mend) -> list[str]:
    """Return what to do: `a sentence (on node[1-2])`, then the commands, indented by six.

    Where different nodes need different commands, `on node3:` stands before each.
    """
    if len(mend.places) == 1:
        (place,) = mend.places
        return [f"{one_line(mend.text or '')} ({on(scene, place)})", *_commands(place)]
    found = [advice(scene, mend)]
    for place in mend.places:
        found += [f"    {on(scene, place)}:", *_commands(place)]
    return found


def advice(scene: Scene, mend: Mend) -> str:
    """Return the sentence; where nothing is to be pasted on nodes, with those that it is for."""
    text = one_line(mend.text or "")
    nodes = "all" if mend.places or not mend.nodes else who(scene, mend.nodes)
    return text if nodes == "all" else f"{text} ({nodes})"


def summary(report: Report, seconds: float) -> str:
    """Return `2 fail, 1 warn, 30 pass in 4.2 s (16 nodes, full)`; it is checks that are counted."""
    nodes = len(_everyone(report.scene))
    counts = Counter(result.status for result in report.results)
    order = [status for status in reversed(Status) if status is not Status.PASS] + [Status.PASS]
    told = ", ".join(f"{counts[status]} {status}" for status in order if counts[status])
    return (
        f"{told or 'no checks'} in {seconds:.1f} s ({counted(nodes, 'node')}, {report.scene.level})"
    )


def who(scene: Scene, nodes: Iterable[str]) -> str:
    """Return `nodes` as one word: `node[3-7]`, `all` for all of several, `-` for none."""
    names = set(nodes)
    everyone = _everyone(scene)
    if len(everyone) > 1 and names.issuperset(everyone):
        return "all"
    return fold(names) if names else "-"


def on(scene: Scene, place: Place) -> str:
    """Return where to paste: `on node[3-7]`, `on all nodes`."""
    nodes = who(scene, place.nodes)
    return "on all nodes" if nodes == "all" else f"on {nodes}"


def one_line(text: str) -> str:
    """Return `text` as one line that a terminal only shows."""
    return visible(" ".join(text.split()))


def visible(text: str) -> str:
    """Return `text` with what a terminal could obey, or would not show, made visible: `^[`, `<U+202E>`."""
    return text if text.isprintable() else "".join(map(_shown, text))


def _shown(character: str) -> str:
    if character.isprintable():
        return character
    code = ord(character)
    return f"^{chr(code ^ 0x40)}" if code < 0x80 else f"<U+{code:04X}>"


def _commands(place: Place) -> list[str]:
    return [f"      {visible(command)}" for command in place.commands]


def _everyone(scene: Scene) -> list[str]:
    return [*scene.names, *(each.node for each in scene.unreachable)]
