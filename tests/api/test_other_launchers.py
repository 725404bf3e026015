"""Commands of other launchers in the place of SCRIPT."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.api.other_launchers import launcher_in, refuse_command
from orchestrator.errors import UsageError

NAMES = ("python", "torchrun", "accelerate", "fabric", "deepspeed", "uv", "bash", "srun")


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "train.py").touch()
    return tmp_path


def refused(command: str, *before: str, module: bool = False) -> str:
    with pytest.raises(UsageError) as caught:
        refuse_command(shlex.split(command), module, before)
    return str(caught.value)


@pytest.mark.parametrize(
    ("command", "line"),
    [
        ("python train.py --lr 1", "train.py --lr 1"),
        ("python3 -u -X dev train.py", "train.py"),
        ("python3.11 -m pkg.train 1", "-m pkg.train 1"),
        (".venv/bin/python train.py", "train.py"),
        ("python -m torch.distributed.run --nproc_per_node=2 train.py", "--nproc 2 train.py"),
        ("python -m torch.distributed.launch --use_env train.py -x", "train.py -x"),
        ("torchrun --nnodes 2 --nproc-per-node gpu --node-rank=0 train.py", "--nproc gpu train.py"),
        ("torchrun --nnodes=1:4 --rdzv_backend c10d train.py", "--elastic 1:4 train.py"),
        ("torchrun --max-restarts=3 -m pkg.train", "--launcher-arg=--max-restarts=3 -m pkg.train"),
        ("torchrun --standalone -- train.py -- x", "train.py -- x"),
        ("torchrun --no-python ./run.sh a", "--no-python ./run.sh a"),
        ("fabric run --devices=2 --num-nodes=2 --precision bf16-mixed train.py",
         "--launcher fabric --nproc 2 --launcher-arg=--precision=bf16-mixed train.py"),
        ("lightning run model --devices 2 train.py", "--launcher fabric --nproc 2 train.py"),
        ("accelerate launch --multi_gpu --num_processes 8 --mixed_precision bf16 train.py --a",
         "--launcher accelerate --launcher-arg=--mixed_precision=bf16 train.py --a"),
        ("accelerate launch --config_file c.yaml --machine_rank=0 --main_process_port 29501 t.py",
         "--launcher accelerate --launcher-arg=--config_file=c.yaml --main-port 29501 t.py"),
        ("accelerate launch --use_fsdp --fsdp_version 2 --multi_gpu t.py",
         "--launcher accelerate --launcher-arg=--use-fsdp --launcher-arg=--fsdp_version=2 t.py"),
        ("accelerate launch --cpu t.py", "--launcher accelerate --env=ACCELERATE_USE_CPU=true t.py"),
        ("deepspeed --num_gpus 4 train.py --deepspeed c.json",
         "--launcher deepspeed --nproc 4 train.py --deepspeed c.json"),
        ("deepspeed --hostfile h --no_local_rank --module pkg.train",
         "--launcher deepspeed --launcher-arg=--no_local_rank -m pkg.train"),
        ("deepspeed -i node0:0,1@node1 train.py",
         "--launcher deepspeed --include node0:0,1@node1 train.py"),
        ("deepspeed --exclude=node0:1 train.py", "--launcher deepspeed --exclude node0:1 train.py"),
        ("accelerate launch --gpu_ids=0,2 t.py",
         "--launcher accelerate --env=CUDA_VISIBLE_DEVICES=0,2 t.py"),
        ("accelerate launch --gpu_ids all t.py", "--launcher accelerate t.py"),
        ("torchrun --nproc-per-node=cpu train.py", "--nproc auto train.py"),
        ("mpirun -np 4 --hostfile h python train.py", "train.py"),
        ("mpirun -np 4 -bind-to none -x NCCL_DEBUG=INFO -x A -mca pml ob1 --mca btl ^openib python t.py",
         "--env NCCL_DEBUG=INFO --env A t.py"),
        ("mpiexec -n 4 -genv OMP_NUM_THREADS 2 -ppn 2 python t.py", "t.py"),
        ("srun -N 2 --ntasks-per-node=4 python -u train.py", "train.py"),
        ("uv run train.py", "train.py"),
        ("poetry run torchrun --nproc-per-node 2 train.py", "--nproc 2 train.py"),
        ("bash run.sh a", "run.sh a"),
    ],
)  # fmt: skip
def test_command_for_one_machine_is_answered_with_the_line_to_type(command: str, line: str) -> None:
    said = refused(command, "-i", "my hosts.yaml")
    assert f"→ type: orch launch -i 'my hosts.yaml' {line}" in said.splitlines()[1]
    assert "is not needed" in said


@pytest.mark.parametrize(
    ("command", "line"),
    [
        ("deepspeed --hostfile=h --num_gpus 4 t.py", "--launcher deepspeed -i h --nproc 4 t.py"),
        ("deepspeed -H h t.py", "--launcher deepspeed -i h t.py"),
        ("mpirun -np 4 --hostfile h python t.py", "-i h t.py"),
        ("mpirun -np 4 -H a:2,b:2 python t.py", "-H a:2,b:2 t.py"),
        ("horovodrun -np 4 -H a:2,b:2 python t.py", "-H a:2,b:2 t.py"),
        ("mpiexec -f h -n 4 python t.py", "-i h t.py"),
        ("srun -H -i none python t.py", "t.py"),
    ],
)
def test_hosts_of_the_command_are_kept_unless_orch_has_its_own(command: str, line: str) -> None:
    assert f"→ type: orch launch {line}" in refused(command)
    for own in (("-i", "x"), ("--inventory=x",), ("-H", "a"), ("-ix",), ("--local", "2")):
        kept = line.replace("-i h ", "").replace("-H a:2,b:2 ", "")
        assert f"→ type: orch launch {shlex.join(own)} {kept}" in refused(command, *own)


def test_long_command_in_one_pair_of_quotes_is_answered() -> None:
    words = ["train.py", "--note", "x" * 300]
    with pytest.raises(UsageError, match="in one pair of quotes"):
        refuse_command([" ".join(words)], False, ())
    with pytest.raises(UsageError, match="`python` is not needed"):
        refuse_command([" ".join(["python", *words])], False, ())


def test_module_of_a_launcher_is_answered_as_its_command(here: Path) -> None:
    said = refused("torch.distributed.run --nproc-per-node 2 train.py", "-m", module=True)
    assert said.endswith("→ type: orch launch --nproc 2 train.py")
    refuse_command(["pkg.train"], True, ())


def test_path_of_a_python_is_answered_with_the_inventory_key() -> None:
    assert refused("/opt/venv/bin/python train.py").endswith(
        "the inventory names the nodes' Python: python: /opt/venv/bin/python"
    )


@pytest.mark.parametrize(
    "command", ["python -c 'print(1)'", "python", "bash -c x", "torchrun", "uv"]
)
def test_command_without_a_script_is_answered_with_a_remedy(command: str) -> None:
    assert "put the code into a file" in refused(command)


def test_line_in_one_pair_of_quotes_is_split() -> None:
    assert refused("'train.py --lr 1'").endswith("→ type: orch launch train.py --lr 1")
    assert refused("'python train.py --lr 1'").endswith("→ type: orch launch train.py --lr 1")


def test_script_with_the_name_of_a_launcher_is_a_script(here: Path) -> None:
    (here / "accelerate").touch()
    (here / "a b.py").touch()
    for word in ("accelerate", "./torchrun", "scripts/python", "train.py", "a b.py"):
        refuse_command([word, "launch", "train.py"], False, ())
        refuse_command([word], False, ())


def test_no_secret_is_in_the_answer() -> None:
    said = refused("python train.py --api-key hunter2hunter2", "-e", "A_TOKEN=hunter3hunter3")
    assert "hunter" not in said


@given(
    st.lists(
        st.sampled_from([*NAMES, "-m", "-u", "run", "launch", "--", "-x", "--a=b", "t.py", ""])
    )
)
def test_any_words_after_a_launcher_are_answered(words: list[str]) -> None:
    for name in NAMES:
        with pytest.raises(UsageError):
            refuse_command([name, *words], False, ())
        launcher_in(" ".join([name, *words]))
