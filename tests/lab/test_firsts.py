"""The scripts that people copy first, in shapes of our own (`firsts/`): each succeeds, or is answered
with what to change.

Three of them always; all with ORCH_SCRIPTS=all.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
from labkit.lab import Lab

from .orch import launch

pytestmark = [pytest.mark.lab, pytest.mark.torch]

_SCRIPTS = Path(__file__).with_name("firsts")
_ALWAYS = {"ddp_toy.py", "cuda_literal.py", "with_torchrun.sh"}
_FABRIC = ["--launcher", "fabric"]
_PYTHON = ["--launcher", "python"]
_DIRECT = ["--launcher", "direct"]
_NODES = ["--env", f"PYTHON={sys.executable}"]  # the one on the PATH there has no torch

# Of two nodes with two ranks each: options of orch, the script and its arguments, and a line of each rank.
_SUCCEED = [
    ([], ["ddp_toy.py"], "rank 3 of 4: finished"),
    ([], ["elastic_ddp.py"], "rank 3 of 4, 2 here, round 0"),
    (_DIRECT, ["elastic_ddp.py"], "rank 3 of 4, 2 here, round 0"),
    ([], ["multinode_snapshot.py", "2", "1"], "rank 3: 2 epochs, 2 batches each"),
    ([], ["imagenet_like.py", "-b", "4", "-p", "1", "--dist-url", "env://", "--dist-backend", "gloo"],
     "Epoch: [0][1/2]\tworker 3 of 4"),
    ([], ["rpc_workers.py"], "answers: [1, 4, 9]"),
    ([], ["all_reduce.py"], "rank 3 has the sum 10 and [0, 1, 2, 3]"),
    ([], ["mnist_workers.py", "--epochs", "1", "--log-interval", "2", "--dry-run"], "trained"),
    ([], ["fsdp_gloo.py"], "rank 3 has 202 parameters of its own"),
    ([], ["tcp_init.py"], "rank 3 met 4 at tcp://"),
    (_DIRECT, ["tcp_init.py"], "rank 3 met 4 at tcp://"),
    ([], ["hydra_like.py", "trainer.lr=0.5", "+seed=7"], "lr 0.5 seed 7 in outputs/2026-01-01/3: 4"),
    ([], ["lightning_trainer.py"], "global rank 3 of 4 is through"),
    ([], ["fabric_launch.py"], "global rank 3 of 4: 4"),
    (_PYTHON, ["fabric_launch.py"], "global rank 3 of 4: 4"),
    (_FABRIC, ["fabric_cli.py"], "global rank 3 of 4: 4"),
    ([], ["accelerate_loop.py"], "4 processes, 2 batches each: [0, 1, 2, 3]"),
    ([], ["nanogpt_like.py", "nanogpt_cpu.py", "--max_iters=3"], "rank 3 of 4: 2 steps of 4"),
    ([], ["lightning_cli.py", "fit", "--model.width=8", "--trainer.accelerator=cpu",
          "--trainer.num_nodes=2", "--trainer.devices=2", "--trainer.max_epochs=1",
          "--trainer.logger=false", "--trainer.enable_checkpointing=false"],
     "rank 3 of 4: width 8, 2 steps"),
    ([], ["trainer_like.py", "--output_dir", "out", "--use_cpu", "--num_train_epochs", "1",
          "--report_to", "none", "--save_strategy", "no"], "rank 3 of 4: 2 steps"),
    ([], ["checkpoint_barrier.py"], "rank 3 has loaded it"),
    ([], ["device_mesh.py"], "rank 3 at (1, 1): [6, 7]"),
    (_NODES, ["numactl_like.sh", "--log", "5"], "shard 1 for rank 3 of 4 --log 5"),
]  # fmt: skip

# What is answered, before the start or with the failure, and a part of what it says to do.
_RANK = "all ranks get the same arguments; their own rank"
_ANSWERED = [
    ([], ["tcp_written.py"], _RANK, "RANK, LOCAL_RANK and WORLD_SIZE from os.environ"),
    ([], ["local_rank_option.py"], _RANK, "RANK, LOCAL_RANK and WORLD_SIZE from os.environ"),
    ([], ["imagenet_like.py"], "init_process_group got an init_method, but no rank", "env://"),
    (_FABRIC, ["fabric_launch.py"], "the script calls launch() itself", "--launcher torchrun"),
    ([], ["cuda_literal.py"], "needs a GPU for every rank, but there is none", '"gloo"'),
    ([], ["with_torchrun.sh"], "with_torchrun.sh:3 runs torchrun", "--launcher python"),
    ([], ["lightning_alone.py"], "by itself", "num_nodes"),
    (["--timeout", "20"], ["mp_spawn.py"], "MASTER_ADDR", "setdefault"),
]  # fmt: skip


def _name(value: object) -> str:
    return " ".join(value) if isinstance(value, list) else ""


@pytest.fixture
def words(request: pytest.FixtureRequest) -> list[str]:
    """The command line of a script, unless it is left out."""
    words: list[str] = request.param
    if words[0] not in _ALWAYS and os.environ.get("ORCH_SCRIPTS") != "all":
        pytest.skip("one of many: ORCH_SCRIPTS=all")
    for module in ("lightning", "accelerate", "jsonargparse", "transformers"):
        if module in (_SCRIPTS / words[0]).read_text() and find_spec(module) is None:
            pytest.skip(f"{module} is not installed")
    return words


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A copy of the scripts, for what is written into the folder of them."""
    return Path(shutil.copytree(_SCRIPTS, tmp_path / "project"))


def _launch(
    lab: Lab, project: Path, options: list[str], words: list[str]
) -> subprocess.CompletedProcess[str]:
    """Run it to its end; again if PyTorch aborts at exit, as it does now and then (pytorch#179291)."""
    shape = ["--nodes", "node[0-1]", "--nproc", "2"]
    line: list[str | Path] = [*shape, "--sync", project, *options, project / words[0], *words[1:]]
    done = launch(lab, *line)
    if done.returncode == 134 and "terminate called without an active exception" in done.stderr:
        done = launch(lab, *line)
    return done


@pytest.mark.parametrize(("options", "words", "line"), _SUCCEED, indirect=["words"], ids=_name)
def test_script_that_people_copy_first_succeeds(
    lab3: Lab, project: Path, options: list[str], words: list[str], line: str
) -> None:
    done = _launch(lab3, project, options, words)
    assert done.returncode == 0, done.stdout + done.stderr
    assert line in done.stdout


@pytest.mark.parametrize(
    ("options", "words", "said", "remedy"), _ANSWERED, indirect=["words"], ids=_name
)
def test_unsuitable_script_is_refused_with_a_remedy(
    lab3: Lab, project: Path, options: list[str], words: list[str], said: str, remedy: str
) -> None:
    done = _launch(lab3, project, options, words)
    shown = " ".join(done.stderr.split())
    assert said in shown, done.stdout + done.stderr
    assert remedy in shown
