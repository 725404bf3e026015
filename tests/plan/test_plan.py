"""What runs where: ranks, commands, environment."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
from contextlib import nullcontext
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.errors import PlanError, UsageError
from orchestrator.plan import Elastic, Job, Network, Plan, Process, make_plan, paste
from orchestrator.plan.job import Function
from orchestrator.plan.launchers import registry
from orchestrator.plan.launchers.base import Launcher, Share

from .helpers import facts, host


def plan_of(devices: list[int], launcher: str = "torchrun", **job: Any) -> Plan:
    hosts = [host(f"n{i}", devices=count, python="/opt/py") for i, count in enumerate(devices)]
    interfaces = tuple("eth0" for _ in devices)
    return make_plan(
        "lusab-babad",
        hosts,
        [facts(h.name) for h in hosts],
        Job(**{"script": "train.py", "launcher": launcher, "workdir_name": "demo", **job}),
        Network(
            "10.0.0.1",
            interfaces,
            "10.0.0.0/24",
            tuple(f"10.0.0.{i + 1}" for i in range(len(interfaces))),
        ),
        29500,
    )


def test_function_by_value_needs_its_own_version_of_python_on_every_node() -> None:
    with pytest.raises(PlanError) as caught:
        plan_of([1, 1], "direct", script="train", function=Function("2.7"))
    here = facts("n0").python_version
    assert caught.value.message == (
        "the code of train() is that of Python 2.7, and no other version loads it: "
        f"n0 has {here} (/opt/py), n1 has {here} (/opt/py)"
    )
    assert "--python /path/to/python2.7" in str(caught.value.remedy)


def test_function_needs_no_certain_patch_release_and_by_name_no_version() -> None:
    minor = ".".join(facts("n0").python_version.split(".")[:2])
    assert plan_of([1, 1], "direct", script="train", function=Function(minor)).nodes
    assert plan_of([1, 1], "direct", script="train", function=Function(None)).nodes


@given(st.lists(st.integers(1, 16), min_size=1, max_size=12))
def test_ranks_are_numbered_in_node_order(devices: list[int]) -> None:
    plan = plan_of(devices, "direct")
    ranks = [process.rank for node in plan.nodes for process in node.processes]
    assert ranks == list(range(sum(devices))) == sorted(plan.expected_ranks)
    for node, count in zip(plan.nodes, devices, strict=True):
        assert [process.local_rank for process in node.processes] == list(range(count))


def test_torchrun_gets_rank_and_count_of_each_node() -> None:
    plan = plan_of([4, 2])
    assert plan.nodes[1].processes[0].argv == (
        "/opt/py", "-m", "torch.distributed.run", "--nnodes=2", "--node-rank=1", "--nproc-per-node=2",
        "--master-addr=10.0.0.1", "--master-port=29500", "--rdzv-id=lusab-babad", "--",
        "train.py",
    )  # fmt: skip


def test_elastic_job_sets_rendezvous_without_host_names() -> None:
    plan = plan_of([2, 2, 2], elastic=Elastic(2, 4, restarts=5))
    assert plan.nodes[1].processes[0].argv == (
        "/opt/py", "-m", "torch.distributed.run", "--nnodes=2:3", "--nproc-per-node=2",
        "--rdzv-backend=c10d", "--rdzv-endpoint=10.0.0.1:29500",
        "--rdzv-conf=is_host=0,last_call_timeout=10", "--local-addr=10.0.0.2", "--max-restarts=5",
        "--rdzv-id=lusab-babad", "--", "train.py",
    )  # fmt: skip
    assert "--rdzv-conf=is_host=1,last_call_timeout=10" in plan.nodes[0].processes[0].argv
    for node in plan.nodes:  # or a round would use the store of the one before
        assert node.processes[0].environment["TORCH_DISABLE_SHARE_RDZV_TCP_STORE"] == "1"
    assert plan.restarts_itself
    assert all(
        "DISABLE_SHARE" in line for line in paste.shell_commands(plan) if not line.startswith("#")
    )


@pytest.mark.parametrize(("counts", "is_uniform"), [((2, 2, 2), True), ((1, 2, 3), False)])
def test_elastic_workers_are_identical_only_if_counts_are_equal(
    counts: tuple[int, ...], is_uniform: bool
) -> None:
    plan = plan_of(list(counts), elastic=Elastic(2, 4))
    found = [
        node.processes[0].environment.get("TORCH_ELASTIC_WORKER_IDENTICAL") for node in plan.nodes
    ]
    assert found == ["1" if is_uniform else None] * 3


def test_elastic_endpoint_with_ipv6_is_in_brackets() -> None:
    network = Network("fd00::1", ("eth0",) * 2, None, ("fd00::1", "fd00::2"))
    hosts = [host("a"), host("b")]
    job = Job("t.py", elastic=Elastic(1, 2))
    plan = make_plan("r", hosts, [facts("a"), facts("b")], job, network, 29500)
    assert "--rdzv-endpoint=[fd00::1]:29500" in plan.nodes[0].processes[0].argv


def test_elastic_job_without_node_addresses_is_refused() -> None:
    network = Network("10.0.0.1", (None, None), None, (None, None))
    hosts = [host("a"), host("b")]
    job = Job("t.py", elastic=Elastic(1, 2))
    with pytest.raises(PlanError, match=r"own addresses .* are not known"):
        make_plan("r", hosts, [facts("a"), facts("b")], job, network, 29500)


@pytest.mark.parametrize(
    ("skew", "error", "is_planned"), [(7.0, 0, True), (20, 0, False), (20, 20, True)]
)
def test_elastic_job_with_clock_skew_is_refused(
    skew: float, error: float, is_planned: bool
) -> None:
    network = Network("10.0.0.1", ("eth0",) * 2, None, ("10.0.0.1", "10.0.0.2"))
    hosts = [host("a"), host("b")]
    known = [facts("a"), facts("b", clock_skew=skew, clock_error=error)]
    make_plan("r", hosts, known, Job("t.py"), network, 29500)
    planned = (
        nullcontext() if is_planned else pytest.raises(PlanError, match=r"b is 20 s ahead of .* a:")
    )
    with planned:
        make_plan("r", hosts, known, Job("t.py", elastic=Elastic(1, 2)), network, 29500)


@pytest.mark.parametrize(
    ("launcher", "elastic", "words", "message"),
    [
        ("direct", (1, 2), (), "does not restart ranks"),
        ("fabric", (1, 2), (), "does not restart ranks"),
        ("torchrun", (3, 4), (), "--elastic 3:4: there are 2 nodes"),
        ("torchrun", (1, 1), (), "--elastic 1:1: there are 2 nodes"),
        ("torchrun", (1, 2), ("--max_restarts=1",), "orch sets --max-restarts itself"),
        ("torchrun", (1, 2), ("--rdzv-conf=x=1",), "orch sets --rdzv-conf itself"),
    ],
)
def test_job_that_cannot_be_elastic_is_refused(
    launcher: str, elastic: tuple[int, int], words: tuple[str, ...], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        plan_of([1, 1], launcher, elastic=Elastic(*elastic), launcher_arguments=words)


def test_fabric_run_separates_its_options_from_the_scripts() -> None:
    plan = plan_of(
        [2, 2], "fabric", arguments=("--devices", "x"), launcher_arguments=("--precision=32",)
    )
    assert plan.nodes[0].processes[0].argv == (
        "/opt/py", "-m", "lightning.fabric.cli", "--accelerator=cpu", "--devices=2", "--num-nodes=2",
        "--node-rank=0", "--main-address=10.0.0.1", "--main-port=29500", "--precision=32", "--",
        "train.py", "--", "--devices", "x",
    )  # fmt: skip


def test_python_starts_one_process_a_node_with_its_rank() -> None:
    plan = plan_of([2, 2], "python")
    (process,) = plan.nodes[1].processes
    assert process.argv == ("/opt/py", "-u", "train.py")
    assert process.environment == {
        "MASTER_ADDR": "10.0.0.1", "MASTER_PORT": "29500", "NODE_RANK": "1",
    }  # fmt: skip
    assert process.rank == 2
    assert plan.expected_ranks == {0, 2}


def test_direct_sets_all_variables_of_a_rank() -> None:
    process = plan_of([4, 2], "direct").nodes[1].processes[1]
    wanted = {
        "RANK": "5", "LOCAL_RANK": "1", "WORLD_SIZE": "6", "LOCAL_WORLD_SIZE": "2", "GROUP_RANK": "1",
        "GROUP_WORLD_SIZE": "2", "NODE_RANK": "1", "MASTER_ADDR": "10.0.0.1", "MASTER_PORT": "29500",
    }  # fmt: skip
    assert wanted.items() <= dict(process.environment).items()


def test_module_is_run_with_dash_m() -> None:
    argv = plan_of([1], "direct", script="pkg.train", module=True).nodes[0].processes[0].argv
    assert argv == ("/opt/py", "-u", "-m", "pkg.train")
    with pytest.raises(PlanError, match="not a module"):
        plan_of([1], "fabric", script="pkg.train", module=True)


def test_module_option_of_torchrun_precedes_the_separator() -> None:
    argv = (
        plan_of([1], script="pkg.train", module=True, arguments=("-m",)).nodes[0].processes[0].argv
    )
    assert argv[-4:] == ("-m", "--", "pkg.train", "-m")


def test_program_is_started_without_python() -> None:
    program: dict[str, Any] = {"script": "./run.sh", "program": True, "arguments": ("--tee", "3")}
    (process,) = plan_of([2], **program).nodes[0].processes
    assert process.argv[-5:] == ("--no-python", "--", "./run.sh", "--tee", "3")
    assert process.program_at is not None
    assert process.argv[process.program_at :] == ("./run.sh", "--tee", "3")
    for launcher, ranks in (("direct", 2), ("python", 1)):
        processes = plan_of([2], launcher, **program).nodes[0].processes
        assert [process.argv for process in processes] == [("./run.sh", "--tee", "3")] * ranks
    with pytest.raises(PlanError, match=r"not a program: \./run\.sh"):
        plan_of([1], "fabric", **program)


@pytest.mark.parametrize("python", ["3.8", "3.9", "3.10", "3.11", "3.12", "3.13"])
@pytest.mark.parametrize("launcher", ["torchrun", "fabric"])
def test_arguments_of_the_script_follow_the_separator(launcher: str, python: str) -> None:
    interpreter = shutil.which(f"python{python}") or "false"
    if subprocess.run([interpreter, "-V"], capture_output=True, check=False).returncode != 0:
        pytest.skip(f"there is no python{python}")
    for arguments in (
        [], ["--log", "5"], ["--log=5"], ["--", "--log", "5"], ["a", "--", "--ma=1"], ["-t"], ["--"],
        ["--", "--"], ["--nnodes=7"], ["", ""], ["-m", "x"], ["--no-python"], ["--help"],
    ):  # fmt: skip
        process = plan_of([1, 1], launcher, arguments=tuple(arguments)).nodes[0].processes[0]
        words = list(process.argv[3:])
        if launcher == "fabric":  # which hands on what click has left of them
            words = ["--nnodes=2", *words[words.index("--") + 1 :]]
        said = subprocess.run(
            [interpreter, "-c", _PARSER, *words], capture_output=True, text=True, check=False
        )
        assert (said.stderr, said.stdout) == ("", f"{['2', 'train.py', arguments]}\n"), arguments


# The options of torchrun that have something to do with this, parsed as it does.
_PARSER = """
import argparse
parser = argparse.ArgumentParser()
for name in ("nnodes", "nproc-per-node", "node-rank", "master-addr", "master-port", "rdzv-id", "log-dir",
             "local-addr", "local-ranks-filter", "logs-specs", "max-restarts"):
    parser.add_argument("--" + name, "--" + name.replace("-", "_"))
parser.add_argument("-m", "--module", action="store_true")
parser.add_argument("--no-python", "--no_python", action="store_true")
parser.add_argument("-r", "--redirects")
parser.add_argument("-t", "--tee")
parser.add_argument("script")
parser.add_argument("arguments", nargs=argparse.REMAINDER)
given = parser.parse_args()
print([given.nnodes, given.script, given.arguments])
"""


def test_restarts_of_torchrun_are_detected_in_arguments_and_variables() -> None:
    assert not plan_of([1]).restarts_itself
    assert not plan_of([1], arguments=("--max-restarts=3",)).restarts_itself
    assert plan_of([1], launcher_arguments=("--max-restarts", "3")).restarts_itself
    for launcher in ("torchrun", "fabric"):
        assert plan_of([1], launcher, environment={"PET_MAX_RESTARTS": "3"}).restarts_itself
    assert not plan_of([1], "direct", environment={"PET_MAX_RESTARTS": "3"}).restarts_itself
    with pytest.raises(UsageError, match="PET_STANDALONE"):
        plan_of([1], environment={"PET_STANDALONE": "1"})


@pytest.mark.parametrize(
    "processes",
    [
        (),
        (Process("mpirun", ("mpirun",)),),
        (Process("rank-0", ("a",), rank=0),),
        (Process("rank-0", ("a",), rank=0), Process("rank-2", ("a",), rank=2)),
        (Process("rank-0", ("a",), rank=0), Process("rank-1", ("a",), rank=0)),
        (Process("launcher", ("a",)), Process("launcher", ("a",))),
    ],
)
def test_unexpected_processes_of_a_launcher_are_refused(
    monkeypatch: pytest.MonkeyPatch, processes: tuple[Process, ...]
) -> None:
    class Odd(Launcher):
        name = "odd"
        help = "none"

        def processes(self, share: Share, job: Job) -> tuple[Process, ...]:
            return processes

    monkeypatch.setattr(registry, "find", lambda name: Odd())
    with pytest.raises(PlanError, match=r"launcher odd would start .* rank-0, rank-1\n"):
        plan_of([2], "odd")


def test_auto_devices_are_the_gpus_or_one() -> None:
    hosts, network = (
        [host("a"), host("b")],
        Network("10.0.0.1", ("eth0", "eth0"), None, ("10.0.0.1", "10.0.0.2")),
    )
    known = [facts("a", gpus=8), facts("b")]
    job = Job("t.py")
    assert [n.devices for n in make_plan("r", hosts, known, job, network, 1).nodes] == [8, 1]
    fixed = Job("t.py", devices=3)
    assert [n.devices for n in make_plan("r", hosts, known, fixed, network, 1).nodes] == [3, 3]


@pytest.mark.parametrize(
    ("shown", "ranks"), [("0,1,11,2", 2), ("1", 1), ("3,5", 2), ("-1", 1), ("", 1), ("GPU-8d9a", 1)]
)
def test_auto_devices_respect_cuda_visible_devices(shown: str, ranks: int) -> None:
    one = host("a", env={"CUDA_VISIBLE_DEVICES": shown})
    network = Network("10.0.0.1", ("eth0",), None, ("10.0.0.1",))
    plan = make_plan("r", [one], [facts("a", gpus=8)], Job("t.py"), network, 1)
    assert plan.world_size == ranks


def test_interface_variables_of_the_user_win() -> None:
    network = Network(
        "10.0.0.1", ("eth0", "eth1", "eth2"), None, ("10.0.0.1", "10.0.0.2", "10.0.0.3")
    )
    hosts = [host("a"), host("b", env={"GLOO_SOCKET_IFNAME": "bond0"}), host("c")]
    known = [facts("a"), facts("b"), facts("c", environment={"NCCL_SOCKET_IFNAME": "ib0"})]
    nodes = make_plan("r", hosts, known, Job("t.py"), network, 1).nodes
    got = [{k: v for k, v in node.environment.items() if k.endswith("IFNAME")} for node in nodes]
    assert got == [
        {"NCCL_SOCKET_IFNAME": "=eth0", "GLOO_SOCKET_IFNAME": "eth0", "TP_SOCKET_IFNAME": "eth0"},
        {"NCCL_SOCKET_IFNAME": "=eth1", "GLOO_SOCKET_IFNAME": "bond0", "TP_SOCKET_IFNAME": "eth1"},
        {"GLOO_SOCKET_IFNAME": "eth2", "TP_SOCKET_IFNAME": "eth2"},
    ]


def test_environment_of_the_job_wins_over_the_hosts() -> None:
    network = Network("10.0.0.1", ("eth0",), None, ("10.0.0.1",))
    hosts = [host("a", env={"A": "host", "B": "host"})]
    plan = make_plan("r", hosts, [facts("a")], Job("t.py", environment={"A": "job"}), network, 1)
    environment = plan.nodes[0].environment
    assert (environment["A"], environment["B"]) == ("job", "host")


def test_tilde_is_the_home_of_the_node() -> None:
    network = Network("10.0.0.1", ("eth0",), None, ("10.0.0.1",))
    hosts = [host("a", python="~/venv/bin/python")]
    plan = make_plan("r", hosts, [facts("a")], Job("t.py", workdir_name="demo"), network, 1)
    assert plan.nodes[0].workdir == "/home/ubuntu/orch/demo"
    assert plan.nodes[0].processes[0].argv[0] == "/home/ubuntu/venv/bin/python"


def test_hosts_with_different_launchers_are_refused() -> None:
    hosts = [host("a", launcher="direct"), host("b")]
    network = Network("10.0.0.1", ("eth0", "eth0"), None, ("10.0.0.1", "10.0.0.2"))
    with pytest.raises(UsageError, match="different launchers: direct, torchrun"):
        make_plan("r", hosts, [facts("a"), facts("b")], Job("t.py"), network, 1)


def test_printed_command_runs_in_a_shell(tmp_path: object) -> None:
    plan = plan_of([1], "direct", arguments=("a b", "$HOME", "é\n"), environment={"X": "it's"})
    comment, command = list(paste.shell_commands(plan))
    assert comment == "# n0: node rank 0, rank 0 of 1"
    command = command.replace("cd /home/ubuntu/orch/demo", f"cd {tmp_path}")
    command = command.replace(
        "/opt/py -u train.py", "python3 -c 'import os,sys;print(sys.argv[1:],os.environ[\"X\"])'"
    )
    done = subprocess.run(["/bin/sh", "-c", command], capture_output=True, text=True, check=True)
    assert done.stdout == f"{['a b', '$HOME', 'é' + chr(10)]} it's\n"


def test_control_characters_are_escaped_and_survive_pasting() -> None:
    words = ("\x1b[2Ja\x07", "b\u202ec\r\n", "\udcff'", "\x9b")
    _, command = paste.shell_commands(plan_of([1], "direct", arguments=words))
    assert not set(re.sub("[\t\n]", "", command)) & set(
        map(chr, (*range(0x20), 0x7F, 0x9B, 0x202E))
    )
    _, _, typed = command.partition("train.py ")
    shown = subprocess.run(
        ["/bin/sh", "-c", f"printf '%s|' {typed}"], capture_output=True, check=True
    ).stdout
    assert shown == "".join(f"{word}|" for word in words).encode(errors="surrogateescape")


def test_secret_argument_is_masked_with_a_note() -> None:
    plan = plan_of([1], arguments=("--api-key", "hunter2", "--db", "pg://me:hunter3@db"))
    _, note, command = paste.shell_commands(plan)
    assert note == "# *** stands for a secret: insert it before you paste this"
    assert command.endswith("train.py --api-key '***' --db 'pg://me:***@db'")


def test_variable_with_a_password_in_a_url_comes_from_the_shell() -> None:
    plan = plan_of([1], environment={"DB": "pg://me:hunter2@db", "TOKENIZERS_PARALLELISM": "false"})
    _, command = paste.shell_commands(plan)
    assert 'DB="$DB" TOKENIZERS_PARALLELISM=false ' in command


def test_secret_variable_without_a_shell_name_is_masked_with_a_note() -> None:
    plan = plan_of([1], environment={"api.token": "hunter2", "a.b": "1"})
    _, note, command = paste.shell_commands(plan)
    assert "stands for a secret" in note
    assert "'api.token=***' a.b=1 " in command


def test_secrets_are_not_printed() -> None:
    plan = plan_of(
        [1],
        environment={"HF_TOKEN": "hunter2", "FROM_FILE": "hunter3"},
        secrets=frozenset({"FROM_FILE"}),
    )
    text = "\n".join(paste.shell_commands(plan))
    assert "hunter" not in text
    words = shlex.split(text.splitlines()[1].replace("&&", ""))
    assert "HF_TOKEN=$HF_TOKEN" in words


@pytest.mark.parametrize(
    ("launcher", "argument", "message"),
    [
        ("torchrun", "--nproc_per_node=8", "orch sets --nproc-per-node itself"),
        ("torchrun", "--no-python", "orch sets --no-python itself"),
        ("fabric", "--main-address=1.2.3.4", "orch sets --main-address itself"),
        ("direct", "--precision=32", "there is no launcher to take it"),
    ],
)
def test_launcher_argument_that_the_plan_sets_is_refused(
    launcher: str, argument: str, message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        plan_of([1], launcher, launcher_arguments=(argument,))


def test_relative_working_folder_starts_at_home() -> None:
    network = Network("10.0.0.1", ("eth0",), None, ("10.0.0.1",))
    hosts = [host("a", workdir="jobs/x")]
    plan = make_plan("r", hosts, [facts("a")], Job("t.py"), network, 1)
    assert plan.nodes[0].workdir == "/home/ubuntu/jobs/x"


def test_ranks_start_in_the_folder_of_the_job() -> None:
    network = Network("10.0.0.1", (None,), None, (None,))
    job = Job("../t.py", workdir_name="demo", folder="scripts")
    (node,) = make_plan("r", [host("a")], [facts("a")], job, network, 1).nodes
    assert node.cwd == f"{node.workdir}/scripts"
    assert node.spec("r", 0)["cwd"] == node.cwd
