"""Scripts in the shape in which seven projects publish theirs, each from a DeepSpeed hostfile, in one line.

ORCH_ENGINES names the Python of the hosts. A script is skipped if that lacks accelerate, deepspeed,
hydra-core, jsonargparse, lightning, ray or transformers where the script needs it. DeepSpeed compiles an
operator on every host, for minutes, unless it was installed with
`DS_BUILD_SHM_COMM=1 pip install --no-build-isolation --no-binary deepspeed deepspeed`.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from labkit.lab import Lab

from .orch import Launch, agents, launch, processes_of_runs

_PYTHON = os.environ.get("ORCH_ENGINES", "")
_HERE = Path(__file__).parent

pytestmark = [
    pytest.mark.lab,
    pytest.mark.torch,
    pytest.mark.timeout(600),
    pytest.mark.skipif(not _PYTHON, reason="not asked for: ORCH_ENGINES=PYTHON"),
]

# What the Python must have, the script, its arguments, and the line of each of the four ranks.
_SCRIPTS = [
    ("torch", "firsts/nanogpt_like.py", ["nanogpt_cpu.py", "--max_iters=3"],
     "rank {rank} of 4: 2 steps of 4,"),
    ("accelerate", "published/accelerate_check/check.py", [], "rank {rank} of 4: trained the same"),
    ("deepspeed", "published/deepspeed_cifar/cifar10.py",
     ["--epochs", "1", "--deepspeed", "--deepspeed_config", "ds_config.json"],
     "rank {rank} of 4, local {local}: 4 steps, "),
    ("lightning jsonargparse", "firsts/lightning_cli.py",
     ["fit", "--model.width=8", "--trainer.accelerator=cpu", "--trainer.num_nodes=2",
      "--trainer.devices=2", "--trainer.max_epochs=1", "--trainer.logger=false",
      "--trainer.enable_checkpointing=false"],
     "rank {rank} of 4: width 8, 2 steps"),
    ("hydra", "published/hydra_app/train.py", ["optimizer=adamw", "optimizer.lr=0.5", "+seed=7"],
     "rank {rank} of 4 in rank-{rank}: AdamW 0.5, 4 steps, 3 overrides"),
    ("transformers accelerate", "firsts/trainer_like.py",
     ["--output_dir", "out", "--use_cpu", "--num_train_epochs", "1", "--report_to", "none",
      "--save_strategy", "no"],
     "rank {rank} of 4: 2 steps"),
]  # fmt: skip

# The launcher that orch finds from the script, where that is not torchrun.
_CHOSEN = {
    "published/accelerate_check/check.py": ["accelerate"],
    "published/deepspeed_cifar/cifar10.py": ["deepspeed"],
}


@pytest.fixture(scope="module")
def hosts(_labs: Any) -> Iterator[Lab]:
    """Two hosts whose `python3` is the one with the packages: a hostfile cannot name it."""
    lab: Lab = _labs.up(2, python=_PYTHON)
    for node in lab.nodes:
        exports = f"export PATH={Path(_PYTHON).parent}:$PATH\n"
        (lab.files(node) / "home/.bashrc").write_text(exports)
    yield lab
    _labs.down(lab)


@pytest.fixture
def hostfile(tmp_path: Path) -> Path:
    file = tmp_path / "hostfile"
    file.write_text("# for DeepSpeed\nnode0 slots=2\nnode1 slots=2\n")
    return file


def require(modules: str) -> None:
    """Skip the test if the Python of the hosts lacks one of them."""
    code = (
        "import importlib.util as u, sys; print(*(m for m in sys.argv[1:] if not u.find_spec(m)))"
    )
    argv = [_PYTHON, "-I", "-c", code, *modules.split()]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=True)
    if missing := done.stdout.strip():
        pytest.skip(f"the Python of ORCH_ENGINES lacks {missing}")


def copied(script: str, folder: Path) -> Path:
    """Copy the script with the files beside it; return where it is."""
    return Path(shutil.copytree((_HERE / script).parent, folder / "project")) / Path(script).name


@pytest.mark.parametrize(
    ("modules", "script", "arguments", "line"), _SCRIPTS, ids=[each[1] for each in _SCRIPTS]
)
def test_script_of_a_project_starts_from_a_hostfile(
    hosts: Lab, hostfile: Path, tmp_path: Path, modules: str, script: str, arguments: list[str], line: str
) -> None:  # fmt: skip
    require(modules)
    words: list[str | Path] = [copied(script, tmp_path), *arguments]
    done = launch(hosts, *words, inventory=hostfile, timeout=500)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{hostfile}: read as a DeepSpeed hostfile" in done.stderr
    assert re.findall(r"launcher: (\w+), because", done.stderr) == _CHOSEN.get(script, [])
    for rank in range(4):
        assert line.format(rank=rank, local=rank % 2) in done.stdout
    assert (processes_of_runs(hosts), agents(hosts)) == ([], [])


def test_server_on_ray_starts_from_a_hostfile_and_answers(
    hosts: Lab, hostfile: Path, tmp_path: Path
) -> None:
    require("ray")
    script = copied("published/ray_serve/serve.py", tmp_path)
    words = ("--launcher", "ray", script, "--tensor-parallel-size", "2", "--port", "8000")
    with Launch(hosts, *words, inventory=hostfile) as running:
        running.wait_for_lines(1, "serving on port 8000 with ['node0', 'node1']")
        asked = json.dumps({"model": "stand-in", "prompt": "7", "max_tokens": 3})
        curl = ["curl", "-sS", "--max-time", "60", "--json", asked]
        done = hosts.run([*curl, "http://node0:8000/v1/completions"], timeout=90)
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout) == {"choices": [{"text": "8 9 10"}]}
        assert running.interrupt() == 130
    assert (processes_of_runs(hosts), agents(hosts)) == ([], [])
