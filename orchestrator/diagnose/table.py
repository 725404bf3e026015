"""All signatures, and a fast way to find the lines that may match one."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import NamedTuple

from orchestrator.diagnose import stage
from orchestrator.diagnose.label import MAX_TEXT
from orchestrator.diagnose.signature import Kind, Signature
from orchestrator.diagnose.signatures import (
    checkpoints,
    cuda,
    data,
    exits,
    extensions,
    gloo,
    launchers,
    memory,
    nccl,
    network,
    python,
    ray,
    rendezvous,
    schedulers,
    shared_files,
    storage,
    training,
)

_TOKEN = re.compile(
    r"""(?P<escaped>\\[^A-Za-z0-9])      # an escaped character: \\. \\( \\[
    |(?P<special>\\.|\[\^?\]?(?:\\.|[^\]\\])*\]|[.^$])  # a class, any character, a boundary
    |(?P<repeat>[*+?]\+?|\{\d*,?\d*\}[+?]?)
    |(?P<open>\((?:\?[!=:>]|\?<[!=]|\?P<\w+>|\?i:)?)
    |(?P<close>\))
    |(?P<either>\|)
    |(?P<plain>.)""",
    re.VERBOSE | re.DOTALL,
)
FAMILIES: Mapping[str, tuple[Signature, ...]] = {
    "Network": network.SIGNATURES,
    "The store and the rendezvous": rendezvous.SIGNATURES,
    "NCCL": nccl.SIGNATURES,
    "gloo and torch.distributed": gloo.SIGNATURES,
    "Launchers and their scripts": launchers.SIGNATURES,
    "Ray": ray.SIGNATURES,
    "Schedulers, and ssh between nodes": schedulers.SIGNATURES,
    "Checkpoints": checkpoints.SIGNATURES,
    "Shared folders, caches and locks": shared_files.SIGNATURES,
    "Compiled extensions and libraries": extensions.SIGNATURES,
    "Data": data.SIGNATURES,
    "What ranks did before a collective timed out": stage.SIGNATURES,
    "Python": (*python.SIGNATURES, python.LAST_LINE, python.EXCEPTION),
    "Memory, data loaders, limits": memory.SIGNATURES,
    "GPUs": cuda.SIGNATURES,
    "Storage": storage.SIGNATURES,
    "The training itself": training.SIGNATURES,
    "How a process ended": exits.SIGNATURES,
}
"""The signatures by subject."""

SIGNATURES: tuple[Signature, ...] = tuple(
    signature for family in FAMILIES.values() for signature in family
)
"""By family. If several rows of a kind match a line, the first one counts."""

BY_ID: Mapping[str, Signature] = {signature.id: signature for signature in SIGNATURES}


class Rule(NamedTuple):
    """A pattern of a signature, and the position of the signature in the table."""

    order: int
    signature: Signature
    pattern: re.Pattern[str]


Rules = Mapping[bytes, Sequence[Rule]]
"""Rules by a text that is in every match."""


@lru_cache(maxsize=4)
def rules(extra: tuple[Signature, ...] = ()) -> Rules:
    """Return the patterns by a text that is in every match; those of `extra` come first.

    No such text contains another one, so that there are fewer to search for.
    """
    found = [
        (max(reversed(literals(pattern)), key=len), Rule(order, signature, re.compile(pattern)))
        for order, signature in enumerate((*extra, *SIGNATURES))
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


def is_noise(line: str, extra: tuple[Signature, ...] = ()) -> bool:
    """Return whether a line is harmless noise that healthy runs print, also by the `extra` signatures."""
    return any(pattern.search(line, 0, MAX_TEXT) for pattern in _noise(extra))


@lru_cache(maxsize=4)
def _noise(extra: tuple[Signature, ...]) -> tuple[re.Pattern[str], ...]:
    """Return orch's patterns as one; those of others may have groups of the same names."""
    own, others = (
        [text for signature in rows if signature.kind is Kind.NOISE for text in signature.patterns]
        for rows in (SIGNATURES, extra)
    )
    return tuple(re.compile(text) for text in ("|".join(own), *others))


def literals(pattern: str) -> list[str]:
    """Return the pieces of text that are in every match of `pattern`.

    Groups are left out, as they may contain alternatives. Raises ValueError for alternatives outside of
    groups: write two patterns.
    """
    pieces, piece, depth, previous = [], "", 0, None
    for token in _TOKEN.finditer(pattern):
        kind = token.lastgroup
        if kind == "either" and not depth:
            raise ValueError(f"alternatives outside of a group: {pattern}")
        depth += (kind == "open") - (kind == "close")
        if kind in ("plain", "escaped") and not depth:
            piece += token[0][-1]
        else:
            # A repeat may match its character zero times, except for `+`.
            if kind == "repeat" and previous in ("plain", "escaped") and token[0][0] != "+":
                piece = piece[:-1]
            pieces.append(piece)
            piece = ""
        previous = kind
    return [text for text in [*pieces, piece] if text]
