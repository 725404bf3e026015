"""Find what needs a GPU in a script, if ranks on some nodes can use none."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from enum import StrEnum

from orchestrator.preflight.model import Context, NodeContext
from orchestrator.preflight.script.flow import Certainty, Code
from orchestrator.preflight.script.lint import Hint, argument, group_calls, literal, severity
from orchestrator.preflight.software.interpreter import interpreter_of
from orchestrator.util.groups import grouped


class Lack(StrEnum):
    """Why ranks of a node can use no GPU; continues a sentence after "needs a GPU, but"."""

    NO_GPU = "there is none"
    NO_CUDA = "torch is built for CPUs there"


_NEEDS_GPU = {
    "torch.cuda.set_device", "torch.cuda.current_device", "torch.cuda.get_device_name",
    "torch.cuda.get_device_properties", "torch.cuda.synchronize", "torch.cuda.current_stream",
}  # fmt: skip
_WITH_FALLBACK = (
    'write "cuda" if torch.cuda.is_available() else "cpu" and pass that, or choose nodes with GPUs with '
    "--nodes"
)
_OTHER_BACKEND = (
    'write backend="nccl" if torch.cuda.is_available() else "gloo", or leave the backend out'
)
_REINSTALL = "install torch for the GPUs there: https://pytorch.org/get-started"


def usable_gpus(node: NodeContext) -> int:
    """Return the number of GPUs that ranks of a node can use: none if torch is built for CPUs."""
    interpreter = interpreter_of(node)
    torch = None if interpreter is None else interpreter.torch
    return 0 if torch is not None and torch.platform == "no GPU" else node.gpus


def without_gpu(context: Context) -> dict[Lack, tuple[str, ...]]:
    """Return the nodes on which ranks can use no GPU, by the reason."""
    found = grouped(
        (Lack.NO_CUDA if node.gpus else Lack.NO_GPU, node.name)
        for node in context.nodes
        if not usable_gpus(node)
    )
    return {lack: tuple(nodes) for lack, nodes in found.items()}


def remedy(lack: Lack, otherwise: str = _WITH_FALLBACK) -> str:
    """Return what to do about a node that lacks a GPU; `otherwise` if torch is not the reason."""
    return _REINSTALL if lack is Lack.NO_CUDA else otherwise


def hints(code: Code, context: Context) -> Iterator[Hint]:
    """Yield what fails on the nodes without a GPU: NCCL, and the first use of a CUDA device."""
    for lack, nodes in without_gpu(context).items():
        for call, name, how in group_calls(code):
            if how >= Certainty.LIKELY and literal(argument(call, "backend", 0)) == "nccl":
                text = f'{name}("nccl") needs a GPU for every rank, but {lack}'
                yield Hint(severity(how), call.lineno, text, remedy(lack, _OTHER_BACKEND), nodes)
        used = [(-how, call.lineno, what, how) for call, what, how in _uses(code)]
        if used:
            _, line, what, how = min(used)
            yield Hint(severity(how), line, f"{what} needs a GPU, but {lack}", remedy(lack), nodes)


def _uses(code: Code) -> Iterator[tuple[ast.Call, str, Certainty]]:
    """Yield each call that raises without a GPU, with its text and certainty."""
    for node, how in code.nodes():
        if not isinstance(node, ast.Call) or how is Certainty.MAYBE:
            continue
        name = code.name_of(node.func) or ""
        method = node.func.attr if isinstance(node.func, ast.Attribute) else ""
        if name in _NEEDS_GPU:
            yield node, f"{name}()", how
        elif method == "cuda" and not name.startswith("torch."):
            yield node, ".cuda()", how
        elif name == "torch.set_default_device" and _is_cuda(argument(node, "device", 0)):
            yield node, f"{name}({ast.unparse(node.args[0]) if node.args else '...'})", how
        elif method == "to" and _is_cuda(argument(node, "device", 0)):
            yield node, ".to('cuda')", how
        elif name.startswith("torch.") and _is_cuda(argument(node, "device")):
            yield node, f"{name}(device='cuda')", how


def _is_cuda(node: ast.expr | None) -> bool:
    """Return whether it is `"cuda"`, `"cuda:1"`, `f"cuda:{rank}"`, or `torch.device` of one of these."""
    if isinstance(node, ast.JoinedStr) and node.values:
        node = node.values[0]
    if isinstance(node, ast.Call) and ast.unparse(node.func) == "torch.device":
        return _is_cuda(argument(node, "type", 0))
    value = literal(node)
    return isinstance(value, str) and value.partition(":")[0] == "cuda"
