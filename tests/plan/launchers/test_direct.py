"""The launcher direct: --numa-binding, and no other option of a launcher."""

from __future__ import annotations

from typing import Any

import pytest

from orchestrator.errors import PlanError, UsageError
from orchestrator.node.numa import MODES
from orchestrator.plan import Job, Network, Plan, make_plan
from orchestrator.plan.paste import shell_commands
from tests.plan.helpers import facts, host


def plan_of(*arguments: str, gpus: int = 2, **job: Any) -> Plan:
    network = Network("10.0.0.1", ("eth0",), None, ("10.0.0.1",))
    given = Job("train.py", launcher="direct", launcher_arguments=arguments, **job)
    return make_plan(
        "r", [host("a")], [facts("a", gpus=gpus, all_gpus=gpus)], given, network, 29500
    )


def test_variable_of_the_launcher_is_shown_though_a_secret_one_has_its_name() -> None:
    plan = plan_of(environment={"RANK": "9", "SEED": "9"}, secrets=frozenset({"RANK", "SEED"}))
    first, second = [line for line in shell_commands(plan) if not line.startswith("#")]
    assert " RANK=0 " in first
    assert " RANK=1 " in second
    assert ' SEED="$SEED" ' in second


@pytest.mark.parametrize("mode", MODES)
def test_numa_binding_is_that_of_every_rank(mode: str) -> None:
    for arguments in ([f"--numa-binding={mode}"], ["--numa_binding", mode]):
        plan = plan_of(*arguments)
        assert [process["numa_binding"] for process in plan.nodes[0].spec("r", 0)["processes"]] == [
            mode,
            mode,
        ]
        assert f"--numa-binding={mode}" in "\n".join(shell_commands(plan))


def test_numa_binding_is_off_by_default() -> None:
    (node,) = plan_of().nodes
    assert {process.numa_binding for process in node.processes} == {None}
    assert "numa" not in "\n".join(shell_commands(plan_of()))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ("--numa-binding=all",),
            "expected one of node, socket, exclusive, core-complex; found 'all'",
        ),
        (("--numa-binding",), "found ''"),
        (("--max-restarts=3",), "--launcher-arg --max-restarts: with --launcher direct"),
        (("--numa-binding=node", "train.py"), "--launcher-arg train.py"),
        (("--numa-binding=\x1b",), r"\x1b"),
        (("\x1b[2J",), r"\x1b"),
    ],
)
def test_other_launcher_argument_is_refused(arguments: tuple[str, ...], message: str) -> None:
    with pytest.raises(UsageError) as caught:
        plan_of(*arguments)
    assert message in str(caught.value)
    assert "\x1b" not in str(caught.value)


@pytest.mark.parametrize(("gpus", "ranks"), [(0, 1), (2, 3)])
def test_numa_binding_of_ranks_without_a_gpu_is_refused(gpus: int, ranks: int) -> None:
    with pytest.raises(PlanError, match=f"node rank 0 has {ranks} rank.*, and {gpus} GPUs"):
        plan_of("--numa-binding=node", gpus=gpus, devices=ranks)
