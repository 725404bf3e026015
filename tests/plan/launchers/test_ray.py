"""A Ray cluster around one script: what starts where, and with which options."""

from __future__ import annotations

from typing import Any

import pytest

from orchestrator.errors import UsageError
from orchestrator.node import scratch
from orchestrator.plan import Job, Network, Plan, make_plan, paste
from tests.plan.helpers import facts, host

RUN = "lusab-babad"


def plan_of(*gpus: int, main: str = "10.0.0.1", known: bool = True, **job: Any) -> Plan:
    """Return the plan on nodes n0, n1, ... with these numbers of GPUs."""
    hosts = [host(f"n{i}", python="/opt/py") for i in range(len(gpus))]
    addresses = tuple(f"10.0.0.{i + 1}" if known else None for i in range(len(gpus)))
    network = Network(main, tuple("eth0" for _ in gpus), None, addresses)
    found = [facts(each.name, gpus=count) for each, count in zip(hosts, gpus, strict=True)]
    wanted = Job(**{"script": "serve.py", "launcher": "ray", **job})
    return make_plan(RUN, hosts, found, wanted, network, 29500)


def start_of(plan: Plan, node: int) -> tuple[str, ...]:
    return plan.nodes[node].processes[0].argv


def test_head_and_workers_have_the_addresses_ports_and_gpus_of_the_plan() -> None:
    plan = plan_of(8, 4)
    ray = ("/opt/py", "-u", "-m", "ray.scripts.scripts", "start")
    assert start_of(plan, 0) == (
        *ray, "--head", "--port=29500", f"--temp-dir={scratch.folder_of(RUN)}",
        "--node-ip-address=10.0.0.1", "--num-gpus=8", "--min-worker-port=0", "--max-worker-port=0",
        "--include-dashboard=false", "--block",
    )  # fmt: skip
    assert start_of(plan, 1) == (
        *ray, "--address=10.0.0.1:29500", "--node-ip-address=10.0.0.2", "--num-gpus=4",
        "--min-worker-port=0", "--max-worker-port=0", "--block",
    )  # fmt: skip


def test_script_is_the_only_rank_and_waits_for_all_nodes() -> None:
    plan = plan_of(8, 8, 8, arguments=("--tp", "8"))
    assert (plan.world_size, plan.expected_ranks) == (1, frozenset({0}))
    assert [list(node.ranks) for node in plan.nodes] == [[0], [], []]
    assert [node.devices for node in plan.nodes] == [8, 8, 8]
    _, script = plan.nodes[0].processes
    assert script.environment["RAY_ADDRESS"] == "10.0.0.1:29500"
    assert script.argv[:3] == ("/opt/py", "-u", "-c")
    assert script.argv[4:] == ("3", "300", "/opt/py", "-u", "serve.py", "--tp", "8")
    compile(script.argv[3], "wait", "exec")
    assert "RANK" not in script.environment
    assert all("OMP_NUM_THREADS" not in node.environment for node in plan.nodes)


@pytest.mark.parametrize(
    ("job", "command"),
    [
        ({"script": "vllm", "program": True, "arguments": ("serve", "m")}, ("vllm", "serve", "m")),
        (
            {"script": "verl.trainer.main_ppo", "module": True, "arguments": ("trainer.nnodes=2",)},
            ("/opt/py", "-u", "-m", "verl.trainer.main_ppo", "trainer.nnodes=2"),
        ),
    ],
)
def test_program_and_module_are_started_on_the_main_node(
    job: dict[str, Any], command: tuple[str, ...]
) -> None:
    plan = plan_of(1, 1, **job)
    assert plan.nodes[0].processes[1].argv[6:] == command
    assert [process.name for process in plan.nodes[1].processes] == ["launcher"]


def test_dashboard_is_started_on_the_head_if_it_is_asked_for() -> None:
    given = ("--include-dashboard", "true", "--dashboard-port=8266", "--num-cpus", "4")
    plan = plan_of(0, 0, launcher_arguments=given)
    assert start_of(plan, 0)[-6:] == (*given, "--block")
    assert start_of(plan, 1)[-3:] == ("--num-cpus", "4", "--block")


def test_nproc_limits_the_gpus_and_no_gpu_is_none() -> None:
    assert "--num-gpus=2" in start_of(plan_of(8, devices=2), 0)
    assert "--num-gpus=0" in start_of(plan_of(0, devices=2), 0)


def test_unknown_address_of_a_worker_is_left_to_ray_and_the_head_has_that_of_main() -> None:
    plan = plan_of(0, 0, main="2001:db8::1", known=False)
    assert "--node-ip-address=2001:db8::1" in start_of(plan, 0)
    assert start_of(plan, 1)[5:7] == ("--address=[2001:db8::1]:29500", "--num-gpus=0")
    assert plan.nodes[1].processes[0].environment == {"RAY_USAGE_STATS_ENABLED": "0"}


def test_variables_of_the_job_take_precedence() -> None:
    plan = plan_of(0, environment={"VLLM_HOST_IP": "10.9.9.9", "RAY_USAGE_STATS_ENABLED": "1"})
    assert plan.nodes[0].processes[0].environment == {}
    assert plan.nodes[0].environment["VLLM_HOST_IP"] == "10.9.9.9"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--head"], "--launcher-arg --head: orch sets --head itself"),
        (["--port=6379"], "use --main-port"),
        (["--num-gpus", "2"], "use --nproc"),
        (["--temp-dir=/scratch"], "orch sets --temp-dir itself"),
        (["serve.py"], "--launcher-arg serve.py: not an option of `ray start`"),
        (["--num-cpus=4", "5"], "--launcher-arg 5: not an option of `ray start`"),
        (["--num-cpus", "4", "5"], "--launcher-arg 5: not an option of `ray start`"),
    ],
)
def test_options_that_orch_sets_and_other_words_are_refused(
    arguments: list[str], message: str
) -> None:
    with pytest.raises(UsageError) as caught:
        plan_of(0, launcher_arguments=tuple(arguments))
    assert message in f"{caught.value} {caught.value.remedy}"


def test_ray_address_of_the_job_is_refused() -> None:
    with pytest.raises(UsageError, match="RAY_ADDRESS"):
        plan_of(0, environment={"RAY_ADDRESS": "auto"})


def test_dry_run_shows_what_serves_and_what_runs() -> None:
    lines = list(paste.shell_commands(plan_of(0, 0)))
    assert [line for line in lines if line.startswith("#")] == [
        "# n0: node rank 0, rank 0 of 1",
        "# n1: node rank 1, no ranks",
    ]
