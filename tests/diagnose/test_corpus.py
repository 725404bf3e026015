"""Every recorded text, as it reaches people: under other prefixes, in other encodings, and cut.

It has the cause that it has as it was printed, or none that is certain: never another one.
With ORCH_FUZZ every text is read under every prefix, else a quarter of them.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from functools import cache

import pytest

from orchestrator.diagnose import Kind, Source, diagnose

from .test_recorded import PRINTED, PUBLISHED, TEXTS

EXPECTED = PRINTED | PUBLISHED
NAMES = sorted(EXPECTED)
TIME = "2026-12-01T02:17:16.123456789Z"

PREFIXES: dict[str, Callable[[str], str]] = {
    "torch": lambda line: f"[rank3]: {line}",
    "torchrun": lambda line: f"[default3]:{line}",
    "srun": lambda line: f"3: {line}",
    "mpirun": lambda line: f"[1,3]<stderr>: {line}",
    "pdsh": lambda line: f"node3: {line}",
    "ray": lambda line: f"(TrainWorker pid=4711, ip=10.0.0.7) {line}",
    "sagemaker": lambda line: f"[1,mpirank:3,algo-2]<stderr>: {line}",
    "determined": lambda line: f"[2026-12-01T02:17:16.152302Z] 2b58a4a9 [rank=3] || {line}",
    "journald": lambda line: f"Dec 01 02:17:16 gpu-7 train[4711]: {line}",
    "short-iso": lambda line: f"2026-12-01T02:17:16+0100 gpu-7 python[4711]: {line}",
    "cri": lambda line: f"{TIME} stderr F {line}",
    "kubectl": lambda line: f"[pod/train-3/pytorch] {line}",
    "kubectl-time": lambda line: f"{TIME} {line}",
    "compose": lambda line: f"train-3  | {line}",
    "docker": lambda line: json.dumps({"log": f"{line}\n", "stream": "stderr", "time": TIME}),
    "orch": lambda line: f"r3 node1 │ {line}",
    "pod-of-torch": lambda line: f"[pod/train-3/pytorch] [rank3]: {line}",
    "utf-16": lambda line: line,
}


@cache
def lines(name: str) -> list[str]:
    (path,) = TEXTS.glob(f"*/{name}.txt")
    return path.read_text(encoding="utf-8").splitlines()


def causes(text: str, encoding: str = "utf-8") -> set[str]:
    """Return the signatures that would be the verdict, or are as important as it."""
    found = diagnose([(Source("log"), [text.encode(encoding)])])
    best = found.verdict
    if best is None:
        return set()
    return {hit.signature.id for hit in found.hits if hit.kind == best.kind and not hit.recovered}


@cache
def plain(name: str) -> set[str]:
    return causes("\n".join(lines(name)) + "\n")


@cache
def usual(name: str) -> set[str]:
    """Return all that is found in the text as it was printed."""
    (path,) = TEXTS.glob(f"*/{name}.txt")
    return {hit.signature.id for hit in diagnose([(Source("log"), [path.read_bytes()])]).hits}


@pytest.mark.parametrize("prefix", PREFIXES)
def test_cause_does_not_depend_on_the_prefix(prefix: str) -> None:
    encoding = "utf-16" if prefix == "utf-16" else "utf-8"
    wrong = {}
    start, step = (0, 1) if os.environ.get("ORCH_FUZZ") else (list(PREFIXES).index(prefix) % 4, 4)
    for name in NAMES[start::step]:
        text = "\n".join(map(PREFIXES[prefix], lines(name))) + "\n"
        if (found := causes(text, encoding)) != plain(name):
            wrong[name] = found
    assert wrong == {}


@pytest.mark.parametrize("part", ["head", "tail", "both"])
def test_text_that_was_cut_has_no_other_cause(part: str) -> None:
    """A consequence may be all that is left, but never a root that the whole text does not have."""
    wrong = {}
    for name in NAMES:
        whole = lines(name)
        for cut in {1, 2, len(whole) // 3, len(whole) // 2} - {0}:
            left = whole[cut if part != "tail" else 0 : len(whole) - (cut if part != "head" else 0)]
            found = diagnose([(Source("log"), ["\n".join(left).encode()])])
            best = found.verdict
            others = {
                "python.exception",
                "python.last-line",
                "exit.code",
                "state.mismatch",
            }  # less is known, nothing wrong
            if best and best.kind is Kind.ROOT and best.signature.id not in usual(name) | others:
                wrong[name, cut] = best.signature.id
    assert wrong == {}
