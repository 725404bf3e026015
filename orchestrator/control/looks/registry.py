"""All looks: what to ask a node about a failure, and what its answers mean together."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from orchestrator.control.looks.clocks import CLOCKS_LOOK
from orchestrator.control.looks.gpus import GPUS_LOOK
from orchestrator.control.looks.limits import LIMITS_LOOK
from orchestrator.control.looks.locks import LOCKS_LOOK
from orchestrator.control.looks.memory import MEMORY_LOOK
from orchestrator.control.looks.model import Finding, Known, Look, Subject
from orchestrator.control.looks.places import PLACES_LOOK
from orchestrator.control.looks.ports import PORTS_LOOK
from orchestrator.control.looks.xids import XIDS_LOOK
from orchestrator.diagnose import Hit
from orchestrator.diagnose.table import BY_ID
from orchestrator.preflight.measure import parse
from orchestrator.preflight.model import Probe
from orchestrator.util.text import printable

LOOKS: Mapping[str, Look] = {
    look.name: look
    for look in (
        PLACES_LOOK, LIMITS_LOOK, MEMORY_LOOK, PORTS_LOOK, LOCKS_LOOK, GPUS_LOOK, XIDS_LOOK, CLOCKS_LOOK,
    )
}  # fmt: skip
"""By the name that a signature's `asks` has."""

_PROBES: Mapping[str, Probe[Any]] = {
    probe.name: probe for look in LOOKS.values() for probe in look.probes
}
_MAX_LOOKED = 16  # places
_MAX_TEXT = 300  # characters of each
_MAX_CAUSE = 600


def questions(subject: Subject) -> dict[str, Mapping[str, Any]]:
    """Return the arguments of every probe to run on the node, by its name; none for a clean failure."""
    return {
        name: arguments
        for look in _looks_of(subject.hit)
        for name, arguments in look.asks(subject).items()
    }


def parse_answers(asked: Mapping[str, Any], raw: Any) -> dict[str, Any]:
    """Return the node's answers by probe, parsed; a NoAnswer for each that is missing or invalid."""
    return {name: parse(_PROBES[name], raw) for name in asked}


def look(subject: Subject, known: Known) -> Finding:
    """Return what the looks found: where they looked, and the first cause."""
    findings = [each.judge(subject, known) for each in _looks_of(subject.hit)]
    looked = [printable(text, _MAX_TEXT) for finding in findings for text in finding.looked]
    cause = next((finding.cause for finding in findings if finding.cause), None)
    return Finding(tuple(dict.fromkeys(looked))[:_MAX_LOOKED], cause)


def with_finding(hit: Hit, finding: Finding) -> Hit:
    """Return `hit` with the cause that a look found."""
    cause = finding.cause
    if cause is None:
        return hit
    if cause.signature:
        signature = BY_ID[cause.signature]
        hit = replace(hit, signature=signature, meaning=signature.meaning)
    if not cause.checkable:
        hit = replace(hit, signature=replace(hit.signature, check=None))
    text, fix = (printable(each, _MAX_CAUSE) for each in (cause.text, cause.fix))
    return replace(hit, cause=text, fix=fix, orch_fix=None)


def _looks_of(hit: Hit) -> list[Look]:
    return [LOOKS[name] for name in hit.signature.asks]
