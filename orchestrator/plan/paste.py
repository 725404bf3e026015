"""Print a plan as commands to paste into a shell on each node."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Mapping

from orchestrator.plan.masking import MASK, known_secrets, masked, masked_words
from orchestrator.plan.plan import NodePlan, Plan

# Characters that a terminal interprets, or does not show as they are.
_CONTROL = re.compile(
    r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\udc80-\udcff]+"
)


def shell_commands(plan: Plan) -> Iterator[str]:
    """Yield a comment for each node, then a command for each of its processes.

    Secrets are not shown: a variable takes its value from the shell that the line is pasted into; an
    argument, or a variable that a shell cannot name, is masked. Lines have no control characters except
    tabs and newlines.
    """
    for node in plan.nodes:
        yield f"# {node.name}: node rank {node.node_rank}, {_describe_ranks(plan, node)}"
        bindings = {process.numa_binding for process in node.processes} - {None}
        for binding in bindings:
            yield f"# each is bound to CPUs near its GPU, as by torchrun's --numa-binding={binding}"
        for process in node.processes:
            environment = {**node.environment, **process.environment}
            argv = masked_words(process.argv, known_secrets(environment))
            secrets = plan.secrets - process.environment.keys()  # which the launcher replaces
            variables = list(_env_words(environment, secrets))
            if argv != process.argv or any(MASK in word for word in variables):
                yield f"# {MASK} stands for a secret: insert it before you paste this"
            words = [*variables, *map(_word, argv)]
            yield f"cd {_word(node.cwd)} && {' '.join(words)}"


def _describe_ranks(plan: Plan, node: NodePlan) -> str:
    if plan.elastic is not None:  # torchrun numbers them at each restart
        return f"{node.devices} of at most {plan.world_size} ranks"
    if not node.ranks:
        return "no ranks"
    if len(node.ranks) == 1:
        return f"rank {node.first_rank} of {plan.world_size}"
    return f"ranks {node.ranks[0]}-{node.ranks[-1]} of {plan.world_size}"


def _env_words(environment: Mapping[str, str], secrets: frozenset[str]) -> Iterator[str]:
    """Yield `env` and the variables; a secret one as `NAME="$NAME"` if a shell can name it."""
    if environment:
        yield "env"
    shown = masked(environment, secrets, known_secrets(environment))
    for name, value in environment.items():
        if shown[name] == value:
            yield _word(f"{name}={value}")
        elif name.isascii() and name.isidentifier():
            yield f'{name}="${name}"'
        else:
            yield _word(f"{name}={MASK}")


def _word(text: str) -> str:
    """Return `text` as one word for a POSIX shell, with control characters in octal."""
    word, end = "", 0
    for found in _CONTROL.finditer(text):
        octal = "".join(f"\\{byte:03o}" for byte in found[0].encode(errors="surrogateescape"))
        word += _quoted(text[end : found.start()]) + f"\"$(printf '{octal}')\""
        end = found.end()
    return word + _quoted(text[end:]) if word else shlex.quote(text)


def _quoted(text: str) -> str:
    return shlex.quote(text) if text else ""
