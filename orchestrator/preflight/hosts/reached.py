"""Whether every host can be reached over SSH."""

from __future__ import annotations

import re

from orchestrator.preflight.judge import whole
from orchestrator.preflight.model import Check, Finding, Group, Level, Remedy, Status
from orchestrator.preflight.scene import Scene

_ENDPOINT = re.compile(r"\S+:\d+")


def _reach(scene: Scene) -> list[Finding]:
    """Fold those of one cause and one remedy, whose messages differ in the address alone."""
    alike: dict[tuple[str, str, str], list[str]] = {}
    messages = {each.node: each.message for each in scene.unreachable}
    for each in scene.unreachable:
        key = (each.cause, _ENDPOINT.sub("", each.message), each.remedy)
        alike.setdefault(key, []).append(each.node)
    findings = []
    for (cause, _, remedy), nodes in alike.items():
        told = messages[nodes[0]] + ("; the others likewise" if len(nodes) > 1 else "")
        data = {node: {"cause": cause, "message": messages[node]} for node in nodes}
        findings.append(Finding(Status.FAIL, tuple(nodes), told, _here(remedy, nodes), data))
    if scene.names:
        findings += whole(scene, Status.PASS, "lets orch in, and runs its agent")
    return findings


def _here(text: str, nodes: list[str]) -> Remedy:
    """A remedy that is not for the nodes' own shells: nobody gets into one there."""
    return Remedy(text, (), tuple(nodes))


REACH = Check(
    id="ssh.reach",
    group=Group.HOST,
    level=Level.QUICK,
    meaning="every node lets orch in over SSH, without asking anything",
    page="One connection to each node in batch mode, within the connect time-out. Refused, timed "
    "out, no route, a name that does not resolve, an unknown or changed host key and a failed "
    "authentication are told apart, and each fails with what to do about it: start sshd, open the "
    "port, `ssh-copy-id`, compare the fingerprint. All other checks are made on the nodes that can "
    "be reached; a node that cannot is told of whatever was asked for with `--only`.",
    verdict=_reach,
)
