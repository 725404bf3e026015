"""Accelerate's command line on each node, and what orch takes from its configuration."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.errors import UsageError
from orchestrator.plan import Elastic, Job
from orchestrator.plan.launchers.accelerate import LAUNCHER
from orchestrator.plan.launchers.base import Share

SCRIPT = "import torch\nfrom accelerate import Accelerator\n"
FSDP = "distributed_type: FSDP\nfsdp_config:\n  fsdp_version: 2\n"


def share(**more: Any) -> Share:
    fields: dict[str, Any] = {
        "run": "lusab-babad",
        "python": "/opt/py",
        "node_rank": 1,
        "nodes": 3,
        "devices": 4,
        "gpus": 4,
        "first_rank": 2,
        "world_size": 7,
        "main_address": "10.0.0.1",
        "main_port": 29500,
    }
    return Share(**{**fields, **more})


def argv(given: Share | None = None, **job: Any) -> tuple[str, ...]:
    (process,) = LAUNCHER.processes(given or share(), Job(**{"script": "train.py", **job}))
    return process.argv


def configured(folder: Path | None, *arguments: str, **job: Any) -> Job:
    asked = Job(**{"script": "train.py", "launcher_arguments": arguments, **job})
    LAUNCHER.check_job(asked)
    return LAUNCHER.configure(asked, folder)


def test_node_gets_its_number_of_ranks_times_the_number_of_nodes() -> None:
    assert argv(arguments=("--lr", "1")) == (
        "/opt/py", "-m", "accelerate.commands.launch", "--num_machines=3", "--machine_rank=1",
        "--main_process_ip=10.0.0.1", "--main_process_port=29500", "--num_processes=12",
        "--rdzv_backend=static", "--same_network", "--gpu_ids=all",
        "--deepspeed_multinode_launcher=standard", "--multi_gpu", "--mixed_precision=no",
        "--dynamo_backend=no", "--", "train.py", "--lr", "1",
    )  # fmt: skip


@given(st.integers(1, 64), st.integers(1, 16))
def test_accelerate_divides_to_the_ranks_of_the_node(nodes: int, devices: int) -> None:
    words = argv(share(nodes=nodes, devices=devices, world_size=nodes * devices))
    (total,) = (word for word in words if word.startswith("--num_processes="))
    assert int(total.partition("=")[2]) // nodes == devices


def test_module_and_program_are_named_as_such() -> None:
    assert argv(script="pkg.train", module=True)[-3:] == ("--module", "--", "pkg.train")
    (process,) = LAUNCHER.processes(share(), Job("./run.sh", program=True))
    assert process.argv[-3:] == ("--no_python", "--", "./run.sh")
    assert process.argv[process.program_at :] == ("./run.sh",)


def test_single_rank_is_a_program_with_a_rank() -> None:
    alone = share(node_rank=0, nodes=1, devices=1, world_size=1, first_rank=0)
    (process,) = LAUNCHER.processes(alone, Job("train.py", arguments=("x",)))
    assert "--multi_gpu" not in process.argv
    assert process.argv[-6:] == ("--no_python", "--", "/opt/py", "-u", "train.py", "x")
    assert process.argv[process.program_at :] == ("/opt/py", "-u", "train.py", "x")
    assert process.environment["RANK"] == process.environment["LOCAL_RANK"] == "0"
    marked = Job("train.py", launcher_arguments=("--multi_gpu",))
    assert "--multi_gpu" not in LAUNCHER.processes(alone, marked)[0].argv


@pytest.mark.parametrize(
    ("gpus", "environment", "found"),
    [(4, {}, None), (0, {}, "true"), (0, {"ACCELERATE_USE_CPU": "false"}, None)],
)
def test_node_without_gpu_trains_on_its_cpu_unless_the_job_says_otherwise(
    gpus: int, environment: dict[str, str], found: str | None
) -> None:
    (process,) = LAUNCHER.processes(share(gpus=gpus), Job("train.py", environment=environment))
    assert process.environment.get("ACCELERATE_USE_CPU") == found


@pytest.mark.parametrize(
    ("text", "added", "environment"),
    [
        ("distributed_type: MULTI_GPU\ngpu_ids: all\n", (), {}),
        (FSDP, (), {}),
        ("distributed_type: DEEPSPEED\ndeepspeed_config: {zero_stage: 2}\n", (), {}),
        ("distributed_type: 'NO'\n", ("--multi_gpu",), {}),
        ("distributed_type: MULTI_CPU\n", ("--multi_gpu",), {"ACCELERATE_USE_CPU": "true"}),
        ("distributed_type: FSDP\nuse_cpu: yes\n", (), {"ACCELERATE_USE_CPU": "true"}),
        ("distributed_type: MULTI_NPU\n", (), {"ACCELERATE_USE_CPU": "false"}),
        ("distributed_type: MULTI_GPU\ngpu_ids: 0,2\n", (), {"CUDA_VISIBLE_DEVICES": "0,2"}),
        ('{"distributed_type": "FSDP", "use_cpu": false, "gpu_ids": null}', (), {}),
    ],
)
def test_configuration_beside_the_script_is_passed_and_read(
    tmp_path: Path, text: str, added: tuple[str, ...], environment: dict[str, str]
) -> None:
    (tmp_path / "accelerate_config.yaml").write_text(text)
    job = configured(tmp_path)
    assert job.launcher_arguments == ("--config_file=accelerate_config.yaml", *added)
    assert job.environment == environment
    assert LAUNCHER.configure(job, tmp_path) == job
    words = LAUNCHER.processes(share(), job)[0].argv
    assert "--mixed_precision=no" not in words  # it is the file's
    assert ("--multi_gpu" in words) == bool(added)


def test_configuration_of_the_script_wins_over_that_of_the_folder(tmp_path: Path) -> None:
    (tmp_path / "src").mkdir()
    for file in ("accelerate_config.yaml", "src/default_config.yaml"):
        (tmp_path / file).write_text(FSDP)
    job = configured(tmp_path, script="src/train.py")
    assert job.launcher_arguments == ("--config_file=src/default_config.yaml",)
    given = configured(tmp_path, "--config_file", "accelerate_config.yaml", script="src/train.py")
    assert given.launcher_arguments == ("--config_file", "accelerate_config.yaml")
    assert configured(tmp_path, script="x", module=True).launcher_arguments == (
        "--config_file=accelerate_config.yaml",
    )


def test_other_file_of_that_name_is_no_configuration(tmp_path: Path) -> None:
    (tmp_path / "default_config.yaml").write_text("lr: 0.1\n")
    (tmp_path / "accelerate_config.yaml").write_text("a: [\n")
    assert configured(tmp_path).launcher_arguments == ()
    assert configured(None).launcher_arguments == ()


def test_configuration_with_a_mistake_is_refused_and_not_left_out(tmp_path: Path) -> None:
    (tmp_path / "accelerate_config.yaml").write_text("distributed_type: FSDP\nfsdp_config: [\n")
    assert LAUNCHER.why_chosen(SCRIPT, Job("train.py"), tmp_path) is not None
    with pytest.raises(UsageError, match=r"accelerate_config\.yaml:3:1: not valid YAML"):
        configured(tmp_path)


def test_variable_of_the_job_wins_over_the_configuration(tmp_path: Path) -> None:
    (tmp_path / "accelerate_config.yaml").write_text("distributed_type: NO\ngpu_ids: '1'\n")
    given = {"CUDA_VISIBLE_DEVICES": "3"}
    assert configured(tmp_path, environment=given).environment == given


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("distributed_type: XLA\n", r"c\.yaml:1: .* does not start distributed_type 'XLA'"),
        (
            "use_cpu: false\ncompute_environment: AMAZON_SAGEMAKER\ndistributed_type: NO\n",
            r"c\.yaml:2: compute_environment 'AMAZON_SAGEMAKER' is not started on hosts over SSH",
        ),
        ("mixed_precision: bf16\n", r"c\.yaml: there is no distributed_type"),
        ("- a\n", r"c\.yaml: there is no distributed_type"),
        ("", r"c\.yaml: there is no distributed_type"),
        ("a: [\n", r"c\.yaml:2:1: not valid YAML"),
        ("distributed_type: !!python/object:os.system x\n", r"c\.yaml:1:19: "),
        ("\x1b[2J: 1\n", r"c\.yaml:1:1: expected text, not the control character"),
    ],
)
def test_configuration_that_cannot_be_launched_is_refused(
    tmp_path: Path, text: str, message: str
) -> None:
    (tmp_path / "c.yaml").write_text(text)
    with pytest.raises(UsageError, match=message):
        configured(tmp_path, "--config_file=c.yaml")


def test_configuration_that_orch_cannot_read_needs_its_type(tmp_path: Path) -> None:
    for folder, file in ((None, "c.yaml"), (tmp_path, "/etc/c.yaml")):
        with pytest.raises(UsageError, match="orch must read its distributed_type"):
            configured(folder, f"--config_file={file}")
        given = (f"--config_file={file}", "--use_fsdp")
        assert configured(folder, *given).launcher_arguments == given
    with pytest.raises(UsageError, match=r"none\.yaml: there is no such file"):
        configured(tmp_path, "--config_file=none.yaml")
    with pytest.raises(UsageError, match="--config_file: it names no file"):
        configured(tmp_path, "--config_file")


def test_configuration_beside_the_copied_folder_needs_its_type(tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text(FSDP)
    (tmp_path / "src").mkdir()
    with pytest.raises(UsageError, match=r"\.\./c\.yaml: .* not in the folder that is copied"):
        configured(tmp_path / "src", "--config_file=../c.yaml")
    job = Job("train.py", launcher_arguments=("--config_file=../c.yaml",), folder="src")
    assert LAUNCHER.configure(job, tmp_path / "src") == job


@pytest.mark.parametrize(
    ("argument", "instead"),
    [
        ("--num_processes=4", "use --nproc"),
        ("--machine-rank=1", "use the order of the hosts"),
        ("--cpu", "use -e ACCELERATE_USE_CPU=true"),
        ("--gpu_ids=0", "use devices: "),
        ("--deepspeed_multinode_launcher=pdsh", ""),
        ("-m", "use --module"),
    ],
)
def test_option_of_the_plan_is_refused(argument: str, instead: str) -> None:
    with pytest.raises(UsageError, match=r"orch sets --?[a-z-]+ itself") as caught:
        LAUNCHER.check_job(Job("train.py", launcher_arguments=(argument,)))
    assert (caught.value.remedy or "").startswith(instead)


def test_variable_that_accelerate_overwrites_is_refused() -> None:
    with pytest.raises(UsageError, match="sets ACCELERATE_MIXED_PRECISION itself"):
        LAUNCHER.check_variables({"ACCELERATE_MIXED_PRECISION": "bf16"})
    with pytest.raises(UsageError, match="PET_RDZV_ENDPOINT"):
        LAUNCHER.check_variables({"PET_RDZV_ENDPOINT": "x"})
    assert LAUNCHER.option_of_variable("PET_MAX_RESTARTS") is None
    assert LAUNCHER.option_of_variable("PET_REDIRECTS") == "--redirects"


def test_restarts_are_those_of_the_command_line() -> None:
    assert not LAUNCHER.restarts_ranks(argv(), {"PET_MAX_RESTARTS": "3"})
    assert LAUNCHER.restarts_ranks(argv(launcher_arguments=("--max_restarts=2",)), {})
    assert LAUNCHER.trial_arguments(("--max_restarts=2", "--config_file=c.yaml")) == ()


def test_script_is_for_accelerate_only_with_its_configuration(tmp_path: Path) -> None:
    job = Job("train.py")
    assert LAUNCHER.why_chosen(SCRIPT, job, tmp_path) is None
    (tmp_path / "accelerate_config.yaml").write_text(FSDP)
    assert LAUNCHER.why_chosen(SCRIPT, job, tmp_path) == (
        "imports it (line 2) and accelerate_config.yaml is its configuration"
    )
    assert LAUNCHER.why_chosen(SCRIPT, job, None) is None
    assert LAUNCHER.why_chosen("print('accelerate')\n", job, tmp_path) is None
    assert LAUNCHER.why_chosen("from .accelerate import x\n", job, tmp_path) is None
    assert LAUNCHER.why_chosen("import accelerate (\n", job, tmp_path) is None
    elastic = Job("train.py", elastic=Elastic(1, 2))
    assert LAUNCHER.why_chosen(SCRIPT, elastic, tmp_path) is None
