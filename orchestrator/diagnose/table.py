"""Every signature there is, and a fast way to find the lines that may have one."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import cache
from typing import NamedTuple

from orchestrator.diagnose.literal import literals
from orchestrator.diagnose.signature import Kind, Signature
from orchestrator.diagnose.signatures import (
    cuda,
    exits,
    gloo,
    launchers,
    memory,
    nccl,
    network,
    python,
    rendezvous,
    storage,
    training,
)

FAMILIES: Mapping[str, tuple[Signature, ...]] = {
    "Network": network.SIGNATURES,
    "The store and the rendezvous": rendezvous.SIGNATURES,
    "NCCL": nccl.SIGNATURES,
    "gloo and torch.distributed": gloo.SIGNATURES,
    "Launchers and their scripts": launchers.SIGNATURES,
    "Python and checkpoints": (*python.SIGNATURES, python.EXCEPTION),
    "Memory, data loaders, limits": memory.SIGNATURES,
    "GPUs": cuda.SIGNATURES,
    "Storage": storage.SIGNATURES,
    "The training itself": training.SIGNATURES,
    "How a process ended": exits.SIGNATURES,
}
"""The signatures by what they are about."""

SIGNATURES: tuple[Signature, ...] = tuple(
    signature for family in FAMILIES.values() for signature in family
)
"""By family. A line tells one thing: where several rows of a kind fit, the one that stands first counts."""

BY_ID: Mapping[str, Signature] = {signature.id: signature for signature in SIGNATURES}


class Rule(NamedTuple):
    """A pattern of a signature, and the signature's place in the table."""

    order: int
    signature: Signature
    pattern: re.Pattern[str]


Rules = Mapping[bytes, Sequence[Rule]]
"""Rules by a text without which none of them matches."""


@cache
def rules() -> Rules:
    """Return the patterns by a text without which none of them matches.

    No such text holds another one: so there are fewer to look for.
    """
    found = [
        (max(reversed(literals(pattern)), key=len), Rule(order, signature, re.compile(pattern)))
        for order, signature in enumerate(SIGNATURES)
        for pattern in signature.patterns
    ]
    grouped: dict[str, list[Rule]] = {}
    for text, rule in sorted(found, key=lambda pair: len(pair[0])):
        held = next((known for known in grouped if known in text), text)
        grouped.setdefault(held, []).append(rule)
    return {
        text.encode(): tuple(sorted(group, key=lambda rule: rule.order))
        for text, group in grouped.items()
    }


def is_noise(line: str) -> bool:
    """Tell whether a line is one that many a healthy run prints, and means nothing."""
    return _noise().search(line) is not None


@cache
def _noise() -> re.Pattern[str]:
    noise = (signature for signature in SIGNATURES if signature.kind is Kind.NOISE)
    return re.compile("|".join(pattern for signature in noise for pattern in signature.patterns))
