"""torch and the launcher, really started once on every node."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from orchestrator.plan.plan import count_gpus
from orchestrator.preflight.answers import optional, text
from orchestrator.preflight.judge import for_all, judge_each, most_common
from orchestrator.preflight.model import Context, Finding, Group, NodeContext, Probe, Status, check
from orchestrator.preflight.script.imports import is_plain
from orchestrator.preflight.software.interpreter import (
    NAME_PYTHON,
    SOFTWARE,
    Interpreter,
    Software,
    job_environment,
)
from orchestrator.preflight.verdict import Verdict, fail, incomplete, passed, skip
from orchestrator.util.quoting import command_line

_NO_MODULE = re.compile(r"No module named '?([\w.]+)")
_CLICK = re.compile(r"\bclick\b")
_SHARED_LIBRARY = re.compile(r"(?<![^\s:])([^\s:]{1,400}): cannot open shared object file")


@dataclass(frozen=True)
class Imported:
    """torch as it says that it is; `why` is what CUDA said when it could not be used."""

    version: str
    nccl: str | None
    cuda: bool
    why: str | None


@dataclass(frozen=True)
class Start:
    """How it went: `code` is None where it had not ended after `seconds`, `error` its telling line."""

    torch: Imported | None
    code: int | None
    seconds: float
    error: str

    @classmethod
    def parse(cls, raw: Any) -> Start:
        """Return what a node answered."""
        return cls(
            torch=optional(_imported, raw["torch"]),
            code=optional(int, raw["code"]),
            seconds=float(raw["seconds"]),
            error=text(raw["error"]),
        )

    @property
    def late(self) -> Verdict:
        """The verdict on what did not come to an end."""
        return incomplete(f"importing torch took longer than {self.seconds:g} s")


def _imported(raw: Any) -> Imported:
    return Imported(
        version=text(raw["version"]),
        nccl=optional(text, raw["nccl"]),
        cuda=bool(raw["cuda"]),
        why=optional(text, raw["why"]),
    )


START = Probe(
    "software.start",
    Start.parse,
    lambda node: {
        "launcher": node.context.launcher.module or "",
        **job_environment(node),
    },
)


@check("sw.torch", Group.SOFTWARE, probes=(START, SOFTWARE))
def check_torch(context: Context) -> list[Finding]:
    """Torch can be imported, and use the GPUs.

    Imports torch in the job's interpreter and environment, within 50 seconds. Fails where that cannot be,
    where there are GPUs and it can use none (what CUDA says is the message: a driver that is too old, a
    fabric manager that does not run), and where the NCCL that it loads is not the one that most nodes
    load: `LD_LIBRARY_PATH` often has another. An import that takes longer is incomplete.
    """
    loaded = {
        name: answer.torch.nccl
        for name, answer in context.of(START).items()
        if isinstance(answer, Start) and answer.torch and answer.torch.nccl
    }
    common = most_common(loaded)

    def verdict(node: NodeContext, found: Start) -> Verdict:
        torch = found.torch
        if torch is None:
            return found.late if found.code is None else _no_import(node, found.error)
        data = {"torch": torch.version, "nccl": torch.nccl, "cuda": torch.cuda}
        gpus = count_gpus(node.host, node.facts, context.job)
        if gpus and not torch.cuda:
            return fail(
                f"torch {torch.version} can use no GPU: {torch.why or 'CUDA is not available'}",
                "install the torch that is built for the driver there: https://pytorch.org/get-started",
                data=data,
            )
        if torch.nccl and torch.nccl != common:
            return fail(
                f"torch loads NCCL {torch.nccl}, where most load {common}",
                "look for another libnccl in LD_LIBRARY_PATH, LD_PRELOAD, or beside torch",
                data=data,
            )
        nccl = f", NCCL {torch.nccl}" if torch.nccl else ""
        return passed(f"torch {torch.version} is imported{nccl}", data=data)

    return judge_each(context, START, verdict)


def _no_import(node: NodeContext, error: str) -> Verdict:
    missing = _NO_MODULE.search(error)
    library = _SHARED_LIBRARY.search(error)
    if missing and missing[1] == "torch" and is_plain(node.context):
        return skip("there is no torch, and the job does not ask for it")
    if missing and missing[1] == "torch":
        status = Status.FAIL if "torch" in node.context.launcher.needs else Status.WARN
        return Verdict(status, "torch is not installed", *_provide_torch(node), as_root=False)
    text = "install torch again there"
    if library:
        text = f"{library[1]} is what it misses: install torch again, or see LD_LIBRARY_PATH there"
    return fail(f"torch cannot be imported: {error}", text)


@check("sw.launcher", Group.SOFTWARE, probes=(START, SOFTWARE))
def check_launcher(context: Context) -> list[Finding]:
    """The launcher starts.

    Starts `--help` of the plan's launcher (`torch.distributed.run`, `lightning.fabric.cli`, ...) in the
    job's interpreter and environment. Fails with the telling line of what it said. Most often click is
    missing, which `fabric run` needs and lightning does not bring: the remedy installs it.
    """
    module = context.launcher.module
    if module is None:
        return for_all(context, skip(f"--launcher {context.plan.launcher} starts no launcher"))

    def verdict(node: NodeContext, found: Start) -> Verdict:
        if found.code is None:
            return found.late
        if found.code == 0:
            return passed(f"{module} starts")
        if found.torch is None and "torch" not in context.launcher.needs:
            return incomplete("torch cannot be imported, and the launcher is tried after that")
        if found.torch is None:
            return fail(f"{module} cannot start: {found.error}", "see sw.torch")
        if _CLICK.search(found.error):
            return fail(
                f"{module} cannot start: click is not installed, and lightning does not bring it",
                _installing(node, "install click"),
                _install(node, "click"),
                {"error": found.error},
                as_root=False,
            )
        missing = _NO_MODULE.search(found.error)
        top = missing[1].partition(".")[0] if missing else None
        return fail(
            f"{module} cannot start: {found.error}",
            _installing(node, f"install {top}") if top else "try it there",
            _install(node, top) if top else _try(node, module),
            as_root=False,
        )

    return judge_each(context, START, verdict)


def _interpreter(node: NodeContext) -> Interpreter | None:
    found = node.context.of(SOFTWARE)[node.name]
    if isinstance(found, Software) and isinstance(found.interpreter, Interpreter):
        return found.interpreter
    return None


def _provide_torch(node: NodeContext) -> tuple[str, tuple[str, ...]]:
    """Return a sentence and the lines that provide torch."""
    interpreter = _interpreter(node)
    named = interpreter.providing_torch() if interpreter else None
    if named is not None:
        return named, ()
    text = _installing(node, "install torch")
    return f"{NAME_PYTHON}; else {text}", _install(node, "torch")


def _installing(node: NodeContext, what: str) -> str:
    interpreter = _interpreter(node)
    return what if interpreter is None else interpreter.installing(what)


def _install(node: NodeContext, requirement: str) -> tuple[str, ...]:
    interpreter = _interpreter(node)
    return () if interpreter is None else interpreter.install(requirement)


def _try(node: NodeContext, module: str) -> tuple[str, ...]:
    return (command_line([node.plan.processes[0].argv[0], "-m", module, "--help"]),)
