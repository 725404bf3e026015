"""Plans and launch specs without the values of secrets, for records."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from orchestrator.inventory import Host
from orchestrator.inventory.values import Environment
from orchestrator.plan import NodePlan, Plan
from orchestrator.plan.masking import MASK, known_secrets, masked, masked_words
from orchestrator.runs.launch_spec import LaunchSpec


def masked_plan(plan: Plan) -> Plan:
    """Return `plan` with the values of secrets masked, and without the fields that only a start needs."""
    nodes = tuple(masked_node(node, plan.secrets) for node in plan.nodes)
    return replace(plan, nodes=nodes, secrets=frozenset())


def masked_node(node: NodePlan, secrets: frozenset[str]) -> NodePlan:
    """Return a node of a plan with the values of `secrets` masked, without the variables of its host."""
    known = known_secrets(node.environment, *(each.environment for each in node.processes))
    return replace(
        node,
        host=node.host.model_copy(update={"env": Environment()}),
        environment=masked(node.environment, secrets, known),
        unset=(),
        processes=tuple(
            replace(
                process,
                argv=masked_words(process.argv, known),
                environment=masked(process.environment, secrets, known),
            )
            for process in node.processes
        ),
    )


def masked_spec(spec: LaunchSpec) -> LaunchSpec:
    """Return `spec` with the values of secrets masked and their names in `withheld`."""
    job = spec.job
    known = known_secrets(job.environment, *(host.env for host in (*spec.hosts, *spec.spares)))
    hidden: set[str] = set(spec.withheld)

    def variables(given: Mapping[str, str]) -> dict[str, str]:
        result = masked(given, job.secrets, known)
        hidden.update(name for name in result if result[name] != given[name])
        return result

    def words(given: Sequence[str]) -> tuple[str, ...]:
        result = masked_words(given, known)
        hidden.update(_names_of_masked(given, result))
        return result

    def hosts(given: Sequence[Host]) -> tuple[Host, ...]:
        return tuple(
            host.model_copy(update={"env": Environment(variables(host.env))}) for host in given
        )

    return replace(
        spec,
        job=replace(
            job,
            arguments=words(job.arguments),
            launcher_arguments=words(job.launcher_arguments),
            environment=variables(job.environment),
        ),
        hosts=hosts(spec.hosts),
        spares=hosts(spec.spares),
        withheld=tuple(sorted(hidden)),
    )


def _names_of_masked(words: Sequence[str], shown: Sequence[str]) -> Iterator[str]:
    """Yield the option before each masked word, or the word as shown if there is no option."""
    for before, word, masked_word in zip(("", *words), words, shown, strict=False):
        if word != masked_word:
            yield before if masked_word == MASK and before.startswith("-") else masked_word
