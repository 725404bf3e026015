"""torch and the launcher, started once on every node."""

from __future__ import annotations

import re
from dataclasses import dataclass

from orchestrator.preflight.answers import reader
from orchestrator.preflight.judge import for_all, judge_each, most_common
from orchestrator.preflight.model import (
    Context,
    Finding,
    Group,
    NodeContext,
    Probe,
    Status,
    Unmeasured,
    check,
)
from orchestrator.preflight.script.imports import is_plain
from orchestrator.preflight.software.interpreter import (
    NAME_PYTHON,
    SOFTWARE,
    Advice,
    interpreter_of,
    job_environment,
)
from orchestrator.preflight.verdict import Verdict, fail, passed, skip
from orchestrator.util.quoting import command_line

_NO_MODULE = re.compile(r"No module named '?([\w.]+)")
_CLICK = re.compile(r"\bclick\b")
_SHARED_LIBRARY = re.compile(r"(?<![^\s:])([^\s:]{1,400}): cannot open shared object file")


@dataclass(frozen=True)
class Imported:
    """What torch reports about itself; `why` is CUDA's error if it cannot be used."""

    version: str
    nccl: str | None
    cuda: bool
    why: str | None


@dataclass(frozen=True)
class Start:
    """How it went: `code` is None if it had not ended after `seconds`; `error` is why it failed."""

    torch: Imported | None
    code: int | None
    seconds: float
    error: str

    def require_end(self) -> None:
        """Raise Unmeasured if it did not end in time."""
        if self.code is None:
            raise Unmeasured(f"importing torch took longer than {self.seconds:g} s")


START = Probe(
    "software.start",
    reader(Start),
    lambda node: {"launcher": node.context.launcher.module or "", **job_environment(node)},
)


@check("sw.torch", Group.SOFTWARE, probes=(START, SOFTWARE))
def check_torch(context: Context) -> list[Finding]:
    """torch can be imported, and use the GPUs.

    Imports torch in the job's interpreter and environment, within 50 seconds. Fails if that is not
    possible, if there are GPUs and torch can use none (the message is CUDA's: a driver that is too old, a
    fabric manager that does not run), and if it loads another NCCL than on most nodes: `LD_LIBRARY_PATH`
    often has one. An import that takes longer is incomplete.
    """
    answers = context.answers_to(START).items()
    loaded = {n: each.torch.nccl for n, each in answers if each.torch and each.torch.nccl}
    common = most_common(loaded)

    def verdict(node: NodeContext, found: Start) -> Verdict:
        torch = found.torch
        if torch is None:
            found.require_end()
            return _no_import(node, found.error)
        data = {"torch": torch.version, "nccl": torch.nccl, "cuda": torch.cuda}
        if node.gpus and not torch.cuda:
            return fail(
                f"torch {torch.version} can use no GPU: {torch.why or 'CUDA is not available'}",
                "install the torch that is built for the driver there: https://pytorch.org/get-started",
                data=data,
            )
        if torch.nccl and torch.nccl != common:
            return fail(
                f"torch loads NCCL {torch.nccl}, but most nodes load {common}",
                "look for another libnccl in LD_LIBRARY_PATH, LD_PRELOAD, or next to torch",
                data=data,
            )
        nccl = f", NCCL {torch.nccl}" if torch.nccl else ""
        return passed(f"torch {torch.version} is imported{nccl}", data=data)

    return judge_each(context, START, verdict)


def _no_import(node: NodeContext, error: str) -> Verdict:
    missing = _NO_MODULE.search(error)
    if missing and missing[1] == "torch":
        if is_plain(node.context):
            return skip("torch is not installed, and the job does not need it")
        status = Status.FAIL if "torch" in node.context.launcher.needs else Status.WARN
        interpreter = interpreter_of(node)
        advice = (
            interpreter.install_torch()
            if interpreter
            else (f"{NAME_PYTHON}; else install torch", ())
        )
        return Verdict(status, "torch is not installed", *advice, as_root=False)
    library = _SHARED_LIBRARY.search(error)
    text = "install torch again there"
    if library:
        text = f"{library[1]} is missing: install torch again, or fix LD_LIBRARY_PATH there"
    return fail(f"torch cannot be imported: {error}", text)


@check("sw.launcher", Group.SOFTWARE, probes=(START, SOFTWARE))
def check_launcher(context: Context) -> list[Finding]:
    """The launcher starts.

    Starts `--help` of the plan's launcher (`torch.distributed.run`, `lightning.fabric.cli`, ...) in the
    job's interpreter and environment. Fails with the line of its output that explains why. Most often
    click is missing, which `fabric run` needs and lightning does not install: the remedy installs it.
    """
    module = context.launcher.module
    if module is None:
        return for_all(context, skip(f"--launcher {context.plan.launcher} starts no launcher"))

    def verdict(node: NodeContext, found: Start) -> Verdict:
        found.require_end()
        message = f"{module} cannot start: {found.error}"
        if found.code == 0:
            return passed(f"{module} starts")
        if found.torch is None:
            if "torch" not in context.launcher.needs:
                raise Unmeasured("torch cannot be imported, and the launcher is tried after that")
            return fail(message, "see sw.torch")
        if _CLICK.search(found.error):
            message = (
                f"{module} cannot start: click is not installed, and lightning does not install it"
            )
            data = {"error": found.error}
            return fail(message, *_install(node, "click"), data, as_root=False)
        missing = _NO_MODULE.search(found.error)
        command = command_line([node.plan.processes[0].argv[0], "-m", module, "--help"])
        advice = (
            _install(node, missing[1].partition(".")[0])
            if missing
            else ("try it there", (command,))
        )
        return fail(message, *advice, as_root=False)

    return judge_each(context, START, verdict)


def _install(node: NodeContext, requirement: str) -> Advice:
    interpreter = interpreter_of(node)
    if interpreter is None:
        return f"install {requirement}", ()
    return interpreter.install(requirement, requirement)
