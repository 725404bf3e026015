"""Show a plan as commands that a person can paste into a shell on each node."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Mapping

from orchestrator.plan.plan import NodePlan, Plan
from orchestrator.quoting import command_line

_SECRET = re.compile(r"KEY|TOKEN|SECRET|PASSW|CREDENTIAL", re.IGNORECASE)
MASK = "***"


def is_secret(name: str, secrets: frozenset[str] = frozenset()) -> bool:
    """Tell whether the value of variable `name` is never to be shown."""
    return name in secrets or _SECRET.search(name) is not None


def masked(environment: Mapping[str, str], secrets: frozenset[str]) -> dict[str, str]:
    """Return `environment` with the values of secrets replaced."""
    return {
        name: MASK if is_secret(name, secrets) else value for name, value in environment.items()
    }


def lines(plan: Plan) -> Iterator[str]:
    """Yield, node by node, what would run: a comment, then a command for each process.

    The value of a secret is not shown: its variable is taken from the shell that this is pasted into.
    """
    for node in plan.nodes:
        yield f"# {node.name}: node rank {node.node_rank}, {_describe_ranks(plan, node)}"
        for process in node.processes:
            environment = {**node.environment, **process.environment}
            yield (
                f"cd {shlex.quote(node.workdir)} && "
                f"{_env_prefix(environment, plan.secrets)}{command_line(process.argv)}"
            )


def _describe_ranks(plan: Plan, node: NodePlan) -> str:
    if plan.elastic is not None:  # torchrun numbers them, and anew each time that they begin
        return f"{node.devices} of at most {plan.world_size} ranks"
    if node.devices == 1:
        return f"rank {node.first_rank} of {plan.world_size}"
    return f"ranks {node.ranks[0]}-{node.ranks[-1]} of {plan.world_size}"


def _env_prefix(environment: Mapping[str, str], secrets: frozenset[str]) -> str:
    words = []
    for name, value in environment.items():
        shown = f'{name}="${name}"' if is_secret(name, secrets) else shlex.quote(f"{name}={value}")
        words.append(shown)
    return f"env {' '.join(words)} " if words else ""
