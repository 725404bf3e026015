"""Find collective calls that only some ranks make."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.plan import Job
from orchestrator.preflight.judge import judge_check
from orchestrator.preflight.model import Context, Script, Status
from orchestrator.preflight.script import collectives
from orchestrator.preflight.script.contradictions import CHECKS
from orchestrator.preflight.script.flow import Code, read
from orchestrator.preflight.script.lint import Hint

from ..contexts import make_context

HEAD = "import os\nimport torch.distributed as dist\nfrom lightning.fabric import Fabric\n"


def a_context(text: str, n: int = 2, devices: int = 2) -> Context:
    return make_context(
        n, job=Job("train.py", devices=devices), script=Script(Path("train.py"), text, None)
    )


def hints(text: str, n: int = 2, devices: int = 2) -> list[Hint]:
    code = read(HEAD + text)
    assert isinstance(code, Code)
    return list(collectives.hints(code, a_context(text, n, devices)))


def test_hints_report_save_of_fabric_by_rank_0_with_its_line() -> None:
    text = (
        "fabric = Fabric(devices=2, num_nodes=2)\nfabric.launch()\nfor step in range(4):\n"
        "    if fabric.global_rank == 0 and step == 1:\n        fabric.save('c', {})\n"
    )
    (hint,) = hints(text)
    assert hint.line == 8
    assert hint.message == (
        "every rank must call fabric.save(), but `if fabric.global_rank == 0 and step == 1` (line 7) "
        "lets only some: those wait for the others forever"
    )
    assert hint.remedy.startswith("call fabric.save() on every rank, outside the condition")


@pytest.mark.parametrize(
    "text",
    [
        "if rank == 0:\n    dist.barrier()",
        "if args.rank == 0:\n    dist.all_reduce(x)",
        "if not rank:\n    dist.barrier()",
        "if rank:\n    dist.barrier()",
        "if rank != 0:\n    dist.barrier()",
        "if rank > 0:\n    dist.barrier()",
        "if dist.get_rank() == 0:\n    dist.barrier()",
        "if int(os.environ['RANK']) == 0:\n    dist.barrier()",
        "if os.environ.get('RANK', '0') == 0:\n    dist.barrier()",
        "if local_rank in [-1, 0]:\n    dist.barrier()",
        "if master_process:\n    dist.barrier()",
        "if trainer.is_global_zero:\n    fabric.barrier()",
        "if is_main_process():\n    dist.barrier()",
        "if accelerator.is_main_process:\n    accelerator.save_state('c')",
        "if not accelerator.is_main_process:\n    accelerator.wait_for_everyone()",
        "for step in data:\n    with open('x') as f:\n        if rank == 0:\n            dist.barrier()",
        "def main():\n    if rank != 0:\n        return\n    dist.barrier()",
        "while True:\n    if rank != 0:\n        continue\n    dist.barrier()",
        "def save():\n    fabric.save('c', {})\nif rank == 0:\n    save()",
        "class A:\n    def end(self):\n        if self.rank == 0:\n            self.fabric.save('c', {})",
        "@rank_zero_only\ndef save():\n    fabric.save('c', {})",
        "f = Fabric()\nif f.is_global_zero:\n    f.save('c', {})",
        "import torch.distributed.checkpoint as dcp\nif rank == 0:\n    dcp.save({})",
        "from lightning import Trainer\nt = Trainer()\nif rank == 0:\n    t.test(m)",
        "if rank == 0:\n    print()\nelif rank == 1:\n    dist.barrier()",
    ],
)
def test_hints_report_a_collective_that_only_some_ranks_call(text: str) -> None:
    assert len(hints(text)) == 1


@pytest.mark.parametrize(
    "text",
    [
        # each side makes the call
        "if rank == 0:\n    dist.broadcast(x, 0)\nelse:\n    dist.broadcast(y, 0)",
        "if rank != 0:\n    dist.barrier()\nprepare()\nif rank == 0:\n    dist.barrier()",
        "if local_rank not in [-1, 0]:\n    dist.barrier()\nif local_rank == 0:\n    dist.barrier()",
        "def f():\n    if rank == 0:\n        dist.barrier()\n        return\n    dist.barrier()",
        # not a call for all
        "if rank == 0:\n    dist.send(x, 1)\nelse:\n    dist.recv(x, 0)",
        "if rank == 0:\n    dist.all_reduce(x, group=mine)",
        "if rank == 0:\n    torch.save({}, 'c')",
        "if rank == 0:\n    print(dist.get_rank())",
        "if rank == 0:\n    config.save('c')",
        "if rank == 0:\n    dist.destroy_process_group()",
        # not the rank
        "if step == 0:\n    dist.barrier()",
        "if lora_rank_of(model) == x:\n    dist.barrier()",
        "if dist.is_initialized():\n    dist.barrier()",
        "if rank == 0 or step > 1:\n    dist.barrier()",
        "if rank == 0 and debug:\n    print()\nelse:\n    dist.barrier()",
        "dist.barrier()",
        "if rank == 0:\n    def later():\n        dist.barrier()",
    ],
)
def test_hints_ignore_calls_of_all_ranks_and_those_that_are_not_collective(text: str) -> None:
    assert hints(text) == []


def test_check_reads_modules_of_the_script(tmp_path: Path) -> None:
    (tmp_path / "engine.py").write_text(
        "import torch.distributed as dist\n"
        "def save():\n    if dist.get_rank() == 0:\n        dist.barrier()\n"
    )
    script = Script(tmp_path / "train.py", "import engine\nengine.save()\n", tmp_path)
    (finding,) = judge_check(
        CHECKS[0], make_context(2, job=Job("train.py", devices=2), script=script)
    )
    assert finding.status is Status.WARN
    assert finding.message.startswith(
        f"{tmp_path}/engine.py:4: every rank must call dist.barrier()"
    )


def test_hints_with_a_single_rank_are_empty() -> None:
    assert hints("if rank == 0:\n    dist.barrier()", 1, 1) == []


def test_hints_ignore_local_rank_if_each_node_has_one_rank() -> None:
    text = "if local_rank == 0:\n    dist.barrier()"
    assert hints(text, 2, 1) == []
    assert len(hints(text, 2, 2)) == 1


_PIECES = st.sampled_from(
    ["if rank == 0:\n", "if not rank:\n", "    ", "dist.barrier()\n", "else:\n", "return\n", "continue\n",
     "fabric.save()\n", "def f():\n", "f()\n", "@rank_zero_only\n", "while x:\n", "\n",
     "if rank in (0, [], {}):\n"]
)  # fmt: skip


@given(st.lists(_PIECES, max_size=30).map("".join))
@settings(deadline=None)
def test_hints_of_any_script_do_not_raise(text: str) -> None:
    code = read(HEAD + text)
    if isinstance(code, Code):
        list(collectives.hints(code, a_context(text)))
