"""Versions that must be the same on every node."""

from __future__ import annotations

import shlex
from collections.abc import Hashable, Iterator, Mapping
from dataclasses import replace
from itertools import chain
from typing import TypeVar

from orchestrator.preflight.judge import have, judge_nodes, most_common
from orchestrator.preflight.model import Context, Finding, Group, Level, NodeContext, Status, check
from orchestrator.preflight.script.imports import is_plain, needs
from orchestrator.preflight.software.interpreter import SOFTWARE, Interpreter
from orchestrator.preflight.verdict import Verdict, fail, passed, warn
from orchestrator.util.groups import grouped

V = TypeVar("V", bound=Hashable)
Interpreters = Mapping[str, Interpreter]
"""By node."""


@check("sw.versions", Group.SOFTWARE, Level.QUICK, probes=(SOFTWARE,))
def check_versions(context: Context) -> list[Finding]:
    """Python, torch, its CUDA and its NCCL are the same on every node.

    What the job's interpreter has on each node, read from disk in the job's environment; torch is not
    imported. Nodes are compared with what most have, or with main without a majority. Another minor
    version of Python, another torch, another build of it (CPU, CUDA, ROCm), or another NCCL fails: ranks
    use protocols, and pickle objects, of their own version. Another patch level of Python, another
    lightning, or another driver only warns, as do GPUs with a torch that is built for CPUs. If launcher
    and script need only the standard library, all of it only warns.

    If torch is missing, it fails with a launcher that needs it (torchrun, `fabric run`, `accelerate
    launch`); else it warns, if the script imports it. Mostly another Python was meant: the remedy names
    one that has torch, if there is one, for `python:` in the inventory; else it installs what the others
    have with that node's interpreter, or in an environment of its own if the system manages that (PEP
    668).
    """
    software = context.answers_to(SOFTWARE)
    interpreters = {name: each.interpreter for name, each in software.items() if each.interpreter}
    drivers = {name: each.driver for name, each in software.items() if each.driver is not None}
    only_warn = is_plain(context)  # its ranks exchange nothing that orch knows of
    all_found = chain(
        _pythons(interpreters),
        _torches(context, interpreters),
        _nccls(interpreters),
        _lightnings(interpreters),
        _drivers(drivers),
    )
    found = grouped(
        (name, replace(verdict, status=Status.WARN) if only_warn else verdict)
        for name, verdict in all_found
    )

    def verdicts(node: NodeContext) -> Iterator[Verdict]:
        answer = node.answer(SOFTWARE)
        interpreter = answer.interpreter
        if interpreter is None:
            message = f"Python does not start in the job's environment: {answer.broken}"
            yield fail(message, "check PYTHONHOME and PYTHONPATH there")
        elif node.name not in found:
            yield passed(_describe(interpreter), data=_data(interpreter))
        yield from found.get(node.name, [])

    return judge_nodes(context, verdicts)


def _pythons(of: Interpreters) -> Iterator[tuple[str, Verdict]]:
    text = "run the same Python on every node: set `python:` in the inventory"
    minor = {name: each.minor for name, each in of.items()}
    for name, mine, common, who in _different(minor):
        yield name, fail(f"Python {mine}, but {who} {common}", text)
    most = most_common(minor)
    patch = {name: each.python for name, each in of.items() if each.minor == most}
    for name, mine, common, who in _different(patch):
        yield name, warn(f"Python {mine}, but {who} {common}", text)


def _torches(context: Context, of: Interpreters) -> Iterator[tuple[str, Verdict]]:
    having = {name: each.torch for name, each in of.items() if each.torch is not None}
    most = most_common(having)

    def install(name: str, status: Status, message: str) -> Verdict:
        """Return a verdict with the remedy that installs the torch of most nodes."""
        wanted = ("the torch that the others have", most.requirement) if most else ()
        text, commands = of[name].install_torch(*wanted)
        return Verdict(status, message, text, commands, _data(of[name]), as_root=False)

    for name, mine, common, who in _different(having):
        yield name, install(name, Status.FAIL, f"{mine}, but {who} {common}")
    status = _without_torch(context)
    there = f", but {have(list(having))} it" if having else ""
    for node in context.nodes:
        if node.name not in of:
            continue
        torch = of[node.name].torch
        if torch is None and status is not None:
            yield node.name, install(node.name, status, f"torch is not installed{there}")
        elif torch is not None and torch.platform == "no GPU" and node.gpus and torch == most:
            message = f"{torch} is built for CPUs, and would not use the GPUs there"
            text = "install torch for their driver: https://pytorch.org/get-started"
            yield node.name, warn(message, text)


def _without_torch(context: Context) -> Status | None:
    """Return the status of a node without torch; None if nothing is known to need it."""
    if "torch" in context.launcher.needs:
        return Status.FAIL
    script = context.script
    return Status.WARN if script is None or "torch" in needs(script).imports else None


def _nccls(of: Interpreters) -> Iterator[tuple[str, Verdict]]:
    most = most_common({name: each.torch for name, each in of.items()})
    nccl = {n: each.nccl for n, each in of.items() if each.nccl and each.torch == most}
    for name, mine, common, who in _different(nccl):
        message = f"NCCL {mine.version}, but {who} {common.version}: it fails if versions differ"
        advice = of[name].install("the NCCL that the others have", common.requirement)
        yield name, fail(message, *advice, as_root=False)


def _lightnings(of: Interpreters) -> Iterator[tuple[str, Verdict]]:
    having = {name: each.lightning for name, each in of.items() if each.lightning is not None}
    for name, mine, common, who in _different(having):
        requirement = shlex.quote(f"lightning=={common}")
        advice = of[name].install("the lightning that the others have", requirement)
        yield name, warn(f"lightning {mine}, but {who} {common}", *advice, as_root=False)


def _drivers(drivers: Mapping[str, str]) -> Iterator[tuple[str, Verdict]]:
    for name, mine, common, who in _different(drivers):
        message = f"NVIDIA's driver is {mine}, but {who} {common}"
        yield name, warn(message, "install the same driver on all nodes when you can")


def _different(values: Mapping[str, V]) -> Iterator[tuple[str, V, V, str]]:
    """Yield (node, its value, the common one, `node[0-2] have`) of each node with another than most."""
    common = most_common(values)
    who = have([name for name, value in values.items() if value == common])
    for name, value in values.items():
        if common is not None and value != common:
            yield name, value, common, who


def _describe(interpreter: Interpreter) -> str:
    torch, nccl, lightning = interpreter.torch, interpreter.nccl, interpreter.lightning
    words = [f"Python {interpreter.python}"]
    words += [str(torch)] if torch else []
    words += [f"NCCL {nccl.version}"] if nccl else []
    words += [f"lightning {lightning}"] if lightning else []
    return ", ".join(words)


def _data(interpreter: Interpreter) -> dict[str, str | None]:
    torch, nccl = interpreter.torch, interpreter.nccl
    return {
        "executable": interpreter.executable,
        "python": interpreter.python,
        "torch": torch.version if torch else None,
        "platform": torch.platform if torch else None,
        "nccl": nccl.version if nccl else None,
        "lightning": interpreter.lightning,
    }
