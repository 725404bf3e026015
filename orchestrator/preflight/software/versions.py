"""Versions that must be alike on every node."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import TypeVar

from orchestrator.plan.plan import count_gpus
from orchestrator.preflight.judge import have, most_common, to_findings
from orchestrator.preflight.model import Context, Finding, Group, Level, NoAnswer, Status, check
from orchestrator.preflight.script.imports import is_plain, needs
from orchestrator.preflight.software.interpreter import (
    NAME_PYTHON,
    SOFTWARE,
    Interpreter,
    Software,
    Torch,
)
from orchestrator.preflight.verdict import Verdict, fail, incomplete, passed, warn

T = TypeVar("T")


@check("sw.versions", Group.SOFTWARE, Level.QUICK, probes=(SOFTWARE,))
def check_versions(context: Context) -> list[Finding]:
    """Python, torch, its CUDA and its NCCL are the same on every node.

    What the job's interpreter has on each node, read from disk, in the job's environment: torch is not
    imported. What most nodes have counts, main's where there is no majority. Another minor version of
    Python, another torch, another build of it (CPU, CUDA, ROCm), or another NCCL fails: ranks speak
    protocols, and pickle objects, of their own version. A Python of another patch level, another
    lightning, or another driver only warns, as do GPUs beside a torch that is built for CPUs. So does all
    of it where launcher and script need no more than the standard library.

    torch missing fails where the launcher is torchrun or `fabric run`; else it warns, if the script
    imports it. The usual reason is that another Python was meant: the remedy names one that has torch,
    where there is one, for `python:` in the inventory; else it installs what the others have with that
    node's interpreter, or in an environment of its own where the system manages that (PEP 668).
    """
    return to_findings(_judge_versions(context))


def _judge_versions(context: Context) -> Iterator[tuple[str, Verdict]]:
    software: dict[str, Software] = {}
    interpreters: dict[str, Interpreter] = {}
    for name, answer in context.of(SOFTWARE).items():
        if isinstance(answer, NoAnswer):
            yield name, incomplete(answer.reason)
            continue
        software[name] = answer
        if isinstance(answer.interpreter, Interpreter):
            interpreters[name] = answer.interpreter
        else:
            text = f"Python does not start in the job's environment: {answer.interpreter}"
            yield name, fail(text, "look at PYTHONHOME and PYTHONPATH there")
    found = [
        *_pythons(interpreters),
        *_torches(context, interpreters),
        *_nccls(interpreters),
        *_lightnings(interpreters),
        *_drivers(software),
    ]
    if is_plain(context):  # its ranks exchange nothing that orch knows of
        found = [(name, replace(verdict, status=Status.WARN)) for name, verdict in found]
    yield from found
    wrong = {name for name, _ in found}
    for name, interpreter in interpreters.items():
        if name not in wrong:
            yield name, passed(_describe(interpreter), data=_data(interpreter))


def _pythons(of: Mapping[str, Interpreter]) -> Iterator[tuple[str, Verdict]]:
    mend = "have every node run the same Python: `python:` in the inventory says which"
    minor = {name: each.minor for name, each in of.items()}
    for name, (mine, common, who) in _unlike(minor):
        yield name, fail(f"Python {mine}, where {who} {common}", mend)
    most = most_common(minor)
    patch = {name: each.python for name, each in of.items() if each.minor == most}
    for name, (mine, common, who) in _unlike(patch):
        yield name, warn(f"Python {mine}, where {who} {common}", mend)


def _torches(context: Context, of: Mapping[str, Interpreter]) -> Iterator[tuple[str, Verdict]]:
    having = {name: each.torch for name, each in of.items() if each.torch is not None}
    most = most_common(having)
    for name, (mine, common, who) in _unlike(having):
        yield name, _install(of[name], f"{mine}, where {who} {common}", common)
    status = _without_torch(context)
    for node in context.nodes:
        interpreter = of.get(node.name)
        if interpreter is None:
            continue
        torch = interpreter.torch
        gpus = count_gpus(node.host, node.facts, context.job)
        if torch is None and status is not None:
            text = f"torch is not installed{_there(having)}"
            yield node.name, _install(interpreter, text, most, status)
        elif torch is not None and torch.platform == "no GPU" and gpus and torch == most:
            text = f"{torch} is built for CPUs, and the GPUs there would be left alone"
            yield (
                node.name,
                warn(text, "install torch for their driver: https://pytorch.org/get-started"),
            )


def _there(having: Mapping[str, Torch]) -> str:
    return f", where {have(list(having))} it" if having else ""


def _install(
    interpreter: Interpreter, message: str, torch: Torch | None, status: Status = Status.FAIL
) -> Verdict:
    data = _data(interpreter)
    if interpreter.torch is None and (named := interpreter.providing_torch()) is not None:
        return Verdict(status, message, named, data=data)
    wanted = torch.requirement if torch else "torch"
    text = "install the torch that the others have" if torch else "install torch"
    text = interpreter.installing(text)
    if interpreter.torch is None:
        text = f"{NAME_PYTHON}; else {text}"
    return Verdict(status, message, text, interpreter.install(wanted), data, as_root=False)


def _without_torch(context: Context) -> Status | None:
    """Return what a node without torch is; None where nothing is known to need it."""
    if "torch" in context.launcher.needs:
        return Status.FAIL
    if context.script is None:
        return Status.WARN
    return Status.WARN if "torch" in needs(context.script).imports else None


def _nccls(of: Mapping[str, Interpreter]) -> Iterator[tuple[str, Verdict]]:
    most = most_common({name: each.torch for name, each in of.items()})
    alike = {n: each.nccl for n, each in of.items() if each.nccl and each.torch == most}
    for name, (mine, common, who) in _unlike(alike):
        yield (
            name,
            fail(
                f"NCCL {mine.version}, where {who} {common.version}: it stops where versions differ",
                of[name].installing("install the NCCL that the others have"),
                of[name].install(common.requirement),
                as_root=False,
            ),
        )


def _lightnings(of: Mapping[str, Interpreter]) -> Iterator[tuple[str, Verdict]]:
    having = {name: each.lightning for name, each in of.items() if each.lightning is not None}
    for name, (mine, common, who) in _unlike(having):
        yield (
            name,
            warn(
                f"lightning {mine}, where {who} {common}",
                of[name].installing("install the lightning that the others have"),
                of[name].install(shlex.quote(f"lightning=={common}")),
                as_root=False,
            ),
        )


def _drivers(of: Mapping[str, Software]) -> Iterator[tuple[str, Verdict]]:
    having = {name: each.driver for name, each in of.items() if each.driver is not None}
    for name, (mine, common, who) in _unlike(having):
        text = f"NVIDIA's driver is {mine}, where {who} {common}"
        yield name, warn(text, "give all nodes the same driver when you can")


def _unlike(values: Mapping[str, T]) -> Iterator[tuple[str, tuple[T, T, str]]]:
    """Yield (node, (what it has, what the common thing is, `node[0-2] have`)) of every odd one."""
    common = most_common(values)
    who = have([name for name, value in values.items() if value == common])
    for name, value in values.items():
        if common is not None and value != common:
            yield name, (value, common, who)


def _describe(interpreter: Interpreter) -> str:
    words = [f"Python {interpreter.python}"]
    words += [str(interpreter.torch)] if interpreter.torch else []
    words += [f"NCCL {interpreter.nccl.version}"] if interpreter.nccl else []
    words += [f"lightning {interpreter.lightning}"] if interpreter.lightning else []
    return ", ".join(words)


def _data(interpreter: Interpreter) -> dict[str, str | None]:
    return {
        "executable": interpreter.executable,
        "python": interpreter.python,
        "torch": interpreter.torch.version if interpreter.torch else None,
        "platform": interpreter.torch.platform if interpreter.torch else None,
        "nccl": interpreter.nccl.version if interpreter.nccl else None,
        "lightning": interpreter.lightning,
    }
