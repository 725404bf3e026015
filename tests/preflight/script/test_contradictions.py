"""Verdicts on scripts that contradict the launch, and on those that do not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.plan import Job
from orchestrator.preflight.judge import judge_check
from orchestrator.preflight.model import Context, Finding, Script, Status
from orchestrator.preflight.script.contradictions import CHECKS
from orchestrator.preflight.software.interpreter import SOFTWARE

from ..contexts import answered, brief, make_context
from ..software.test_agreement import CPU, CU130, software

(CHECK,) = CHECKS
EXAMPLES = Path(__file__).parents[3] / "examples"


def a_context(
    text: str, n: int = 2, *, devices: int = 1, launcher: str = "torchrun", **more: Any
) -> Context:
    job = Job("train.py", launcher=launcher, devices=devices)
    script = Script(Path("train.py"), text, None)
    return make_context(n, job=more.pop("job", job), script=script, **more)


def lint(text: str, n: int = 2, **more: Any) -> list[Finding]:
    return judge_check(CHECK, a_context(text, n, **more))


def status(text: str, n: int = 2, **more: Any) -> Status:
    (finding,) = lint(text, n, **more)
    return finding.status


def test_script_not_given_is_skipped() -> None:
    assert brief(judge_check(CHECK, make_context(2))) == [("skip", "node0,node1")]


@pytest.mark.parametrize("name", ["digits_ddp.py", "digits_fabric.py"])
@pytest.mark.parametrize("launcher", ["torchrun", "fabric", "direct"])
def test_examples_pass_with_every_launcher(name: str, launcher: str) -> None:
    text = (EXAMPLES / name).read_text()
    assert status(text, devices=2, launcher=launcher) is Status.PASS


def test_script_that_cannot_be_parsed_warns_with_its_line() -> None:
    (finding,) = lint("x = 1\nprint 'old'\n")
    assert finding.status is Status.WARN
    assert finding.message.startswith("train.py:2 cannot be parsed as Python here: Missing paren")


def test_launch_call_under_fabric_run_fails() -> None:
    text = "from lightning.fabric import Fabric\nfabric = Fabric()\nfabric.launch()\n"
    (finding,) = lint(text, launcher="fabric")
    assert finding.status is Status.FAIL
    assert finding.message.startswith("train.py:3: the script calls launch() itself")
    assert finding.remedy is not None and "--launcher torchrun" in finding.remedy.text


# -- Accelerate ------------------------------------------------------------------------------------

ACCELERATE = "from accelerate import Accelerator\n"


@pytest.mark.parametrize(
    ("call", "launcher", "variables", "expected"),
    [
        ("Accelerator()", "torchrun", {}, "warn"),
        ("Accelerator(mixed_precision='bf16')", "direct", {}, "warn"),
        ("Accelerator(cpu=True)", "torchrun", {}, "pass"),
        ("Accelerator(cpu=args.cpu)", "torchrun", {}, "pass"),
        ("Accelerator(**more)", "torchrun", {}, "pass"),
        ("Accelerator(True, False, None, 1, True)", "torchrun", {}, "pass"),
        ("Accelerator()", "accelerate", {}, "pass"),
        ("Accelerator()", "torchrun", {"ACCELERATE_USE_CPU": "true"}, "pass"),
        ("Accelerator() if x else None", "torchrun", {}, "pass"),
    ],
)
def test_accelerator_that_makes_a_world_of_one_warns(
    call: str, launcher: str, variables: dict[str, str], expected: str
) -> None:
    job = Job("train.py", launcher=launcher, devices=1, environment=variables)
    found = lint(f"{ACCELERATE}a = {call}\n", job=job)
    assert [finding.status.value for finding in found] == [expected]
    if expected == "warn":
        assert "each of the 2 ranks would train by itself" in found[0].message


def test_accelerator_with_gpus_or_alone_passes() -> None:
    text = f"{ACCELERATE}a = Accelerator()\n"
    assert status(text, facts_of={0: {"gpus": 1}, 1: {"gpus": 1}}) is Status.PASS
    assert status(text, n=1) is Status.PASS


# -- Lightning -------------------------------------------------------------------------------------

FABRIC = "from lightning.fabric import Fabric\n"


@pytest.mark.parametrize(
    ("call", "launcher", "devices", "expected"),
    [
        # torchrun's variables: the product is the world size (2 nodes)
        ("Fabric(num_nodes=2, devices=1)", "torchrun", 1, "pass"),
        ("Fabric(num_nodes=2, devices=4)", "torchrun", 4, "pass"),
        ("Fabric(num_nodes=2, devices=[0, 1])", "direct", 2, "pass"),
        ("Fabric(num_nodes=4, devices=1)", "torchrun", 1, "fail"),
        ("Fabric(num_nodes=4, devices='auto')", "direct", 1, "fail"),
        ("Fabric(num_nodes=2, devices=8)", "torchrun", 4, "fail"),
        ("Fabric(devices=8)", "torchrun", 8, "fail"),
        ("Fabric('cpu', 'ddp', 2)", "torchrun", 2, "fail"),
        ("Fabric(num_nodes=4, devices=count())", "torchrun", 1, "warn"),
        ("Fabric()", "torchrun", 1, "fail"),  # each rank by itself
        ("Fabric(strategy='auto')", "direct", 2, "fail"),
        ("Fabric('cpu', devices=1)", "torchrun", 2, "fail"),
        ("Fabric(strategy='ddp')", "torchrun", 1, "warn"),
        ("Fabric(num_nodes=nodes)", "torchrun", 1, "pass"),
        ("Fabric(num_nodes=4, devices=1, plugins=[Own()])", "torchrun", 1, "pass"),
        ("Fabric(num_nodes=4, **more)", "torchrun", 1, "pass"),
        # `fabric run` configures Fabric
        ("Fabric()", "fabric", 1, "pass"),
        ("Fabric(num_nodes=2, devices=2)", "fabric", 2, "pass"),
        ("Fabric(num_nodes=1)", "fabric", 1, "pass"),
        ("Fabric(devices='auto')", "fabric", 1, "pass"),
        ("Fabric(num_nodes=4)", "fabric", 1, "fail"),
        ("Fabric(devices=4)", "fabric", 2, "fail"),
        ("Fabric(accelerator='gpu')", "fabric", 1, "fail"),
        ("Fabric(accelerator='cpu')", "fabric", 1, "pass"),
        # a script that starts its own ranks
        ("Fabric(num_nodes=2, devices=2)", "python", 2, "pass"),
        ("Fabric(num_nodes=2)", "python", 1, "pass"),
        ("Fabric(num_nodes=4, devices=2)", "python", 2, "fail"),
        ("Fabric(devices=2)", "python", 2, "fail"),
        ("Fabric()", "python", 1, "fail"),
        ("Fabric(num_nodes=2, devices=4)", "python", 2, "warn"),
    ],
)
def test_fabric_for_other_nodes_than_the_plan_is_reported(
    call: str, launcher: str, devices: int, expected: str
) -> None:
    assert status(FABRIC + call, devices=devices, launcher=launcher).value == expected


@pytest.mark.parametrize(
    "imported", ["import lightning as L", "import lightning.pytorch as L", "import pytorch_lightning as L"]
)  # fmt: skip
def test_trainer_is_compared_with_the_world_size_under_every_launcher(imported: str) -> None:
    text = f"{imported}\nL.Trainer(num_nodes=3, devices=1)\n"
    for launcher in ("torchrun", "fabric", "direct"):
        (finding,) = lint(text, launcher=launcher)
        assert finding.status is Status.FAIL
        assert finding.message.startswith(
            "train.py:2: Trainer(devices=1, num_nodes=3): this launch has 2 nodes with 1 rank each"
        )


def test_trainer_of_transformers_is_ignored() -> None:
    assert status("from transformers import Trainer\nTrainer(num_nodes=9)") is Status.PASS


def test_trainer_on_unequal_nodes_only_warns() -> None:
    hosts = {0: {"devices": 2}, 1: {"devices": 1}}
    for call in ("Trainer(num_nodes=2, devices='auto')", "Trainer(num_nodes=2, devices=2)"):
        text = f"from lightning import Trainer\n{call}"
        assert status(text, host_of=hosts, job=Job("train.py")) is Status.WARN


@pytest.mark.parametrize(
    ("call", "n", "devices", "expected"),
    [
        ("Fabric()", 1, 8, "pass"),
        ("Fabric()", 1, 4, "warn"),
        ("Fabric(num_nodes=2)", 2, 8, "pass"),
        ("Fabric(num_nodes=2, devices=-1)", 2, 8, "pass"),
        ("Fabric(num_nodes=2, accelerator='cpu')", 2, 8, "warn"),
        ("Fabric(num_nodes=4)", 2, 8, "fail"),
        ("Fabric()", 2, 8, "warn"),
    ],
)
def test_fabric_with_automatic_devices_counts_all_gpus(
    call: str, n: int, devices: int, expected: str
) -> None:
    gpus = {i: {"gpus": 8} for i in range(n)}
    assert status(FABRIC + call, n, devices=devices, facts_of=gpus).value == expected


def test_fabric_that_conflicts_with_fabric_run_names_only_those_nodes() -> None:
    hosts = {0: {"devices": 2}, 1: {"devices": 4}, 2: {"devices": 2}}
    job = Job("train.py", launcher="fabric")
    (finding,) = lint(FABRIC + "Fabric(devices=2)", 3, host_of=hosts, job=job)
    assert (finding.status, finding.nodes) == (Status.FAIL, ("node1",))
    assert "conflicts with --devices=4" in finding.message


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("def main():\n    Fabric(num_nodes=4, devices=1)\nmain()", "fail"),
        ("def main():\n    Fabric(num_nodes=4, devices=1)", "warn"),
        ("if debug:\n    Fabric(num_nodes=4, devices=1)", "pass"),
        ("def main():\n    if a: return\n    Fabric(num_nodes=4, devices=1)\nmain()", "warn"),
    ],
)
def test_fabric_fails_only_if_it_surely_runs(text: str, expected: str) -> None:
    assert status(FABRIC + text).value == expected


@pytest.mark.parametrize(
    ("text", "remedy"),
    [
        ("fabric = Fabric()", "use --launcher fabric,"),
        ("fabric = Fabric()\nfabric.launch()", "write Fabric(num_nodes=2, devices=2), "),
        (
            "fabric = Fabric(devices=1)",
            "write Fabric(num_nodes=2, devices=2) and call its launch(), with --launcher torchrun",
        ),
        ("import lightning as L\nL.Trainer()", "write Trainer(num_nodes=2, devices=2), "),
    ],
)
def test_fabric_for_a_single_rank_fails_with_the_launcher_that_fits(text: str, remedy: str) -> None:
    (finding,) = lint(FABRIC + text, devices=2)
    assert finding.status is Status.FAIL
    assert "each of the 4 ranks would train by itself" in finding.message
    assert finding.remedy is not None
    assert finding.remedy.text.startswith(remedy)
    assert "--preflight off" in finding.remedy.text


def test_fabric_for_a_single_rank_passes_if_there_is_only_one() -> None:
    assert status(FABRIC + "Fabric()", 1) is Status.PASS
    assert status(FABRIC + "Fabric()", 1, devices=2, launcher="python") is Status.PASS


def test_trainer_for_a_single_rank_only_warns_if_another_fits() -> None:
    text = "from lightning import Trainer\nTrainer(num_nodes=2, devices=1)\nTrainer(devices=1)"
    assert status(text) is Status.WARN


@pytest.mark.parametrize(
    ("call", "gpus", "expected", "said"),
    [
        ("Fabric(accelerator='cuda', devices=1, num_nodes=2)", 0, "fail", "needs a GPU, but there is none"),
        ("Fabric('gpu', devices=1, num_nodes=2)", 0, "fail", "Fabric(accelerator='gpu') needs a GPU"),
        ("Fabric(accelerator='mps', devices=1, num_nodes=2)", 1, "fail", "is for a Mac"),
        ("Fabric(accelerator='cuda', devices=1, num_nodes=2)", 1, "pass", ""),
        ("Fabric(accelerator=which(), devices=1, num_nodes=2)", 0, "pass", ""),
        ("if gpus:\n    Fabric(accelerator='cuda', devices=1, num_nodes=2)", 0, "pass", ""),
        ("def f():\n    Fabric(accelerator='cuda', devices=1, num_nodes=2)", 0, "warn", "there is none"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("launcher", ["torchrun", "fabric"])
def test_accelerator_that_nodes_lack_fails_with_its_line(
    call: str, gpus: int, expected: str, said: str, launcher: str
) -> None:
    found = lint(FABRIC + call, launcher=launcher, facts_of={i: {"gpus": gpus} for i in range(2)})
    assert found[0].status.value == expected
    assert said in found[0].message
    if said:
        assert found[0].message.startswith("train.py:")


def test_accelerator_with_more_gpus_than_nodes_have_fails_on_those_nodes() -> None:
    text = FABRIC + "Fabric(accelerator='cuda', devices=4, num_nodes=2)"
    gpus = {0: {"gpus": 4}, 1: {"gpus": 2}}
    (finding,) = lint(text, devices=4, facts_of=gpus)
    assert (finding.status, finding.nodes) == (Status.FAIL, ("node1",))
    assert "needs 4 GPUs on each node, but there are 2" in finding.message


# -- torch.distributed -----------------------------------------------------------------------------

DIST = "import os\nimport torch.distributed as dist\n"


@pytest.mark.parametrize("call", ['("nccl")', '(backend="nccl")', '("nccl", "env://")'])
def test_nccl_fails_on_nodes_without_a_gpu(call: str) -> None:
    text = f"{DIST}dist.init_process_group{call}"
    (finding,) = lint(text, 3, facts_of={0: {"gpus": 8}, 2: {"gpus": 8}})
    assert (finding.status, finding.nodes) == (Status.FAIL, ("node1",))
    assert 'init_process_group("nccl") needs a GPU' in finding.message


@pytest.mark.parametrize(
    "text",
    [
        'dist.init_process_group("gloo")',
        'dist.init_process_group("cpu:gloo,cuda:nccl")',
        "dist.init_process_group(backend)",
        'dist.init_process_group(*["nccl"])',
        'dist.init_process_group("nccl" if torch.cuda.is_available() else "gloo")',
        'if torch.cuda.is_available():\n    dist.init_process_group("nccl")',
    ],
)
def test_backend_other_than_nccl_passes(text: str) -> None:
    assert status(DIST + text) is Status.PASS


def test_nccl_passes_if_each_node_has_gpus() -> None:
    gpus = {0: {"gpus": 1}, 1: {"gpus": 1}}
    assert status(f'{DIST}dist.init_process_group("nccl")', facts_of=gpus) is Status.PASS


CUDA = "import torch\nfrom torch import nn\n"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("torch.cuda.set_device(0)", "torch.cuda.set_device() needs a GPU"),
        ("model = nn.Linear(1, 1).cuda()", ".cuda() needs a GPU"),
        ("model.to('cuda')", ".to('cuda') needs a GPU"),
        ("model.to(f'cuda:{rank}')", ".to('cuda') needs a GPU"),
        ("model.to(torch.device('cuda', 0))", ".to('cuda') needs a GPU"),
        ("x = torch.zeros(1, device='cuda:0')", "torch.zeros(device='cuda') needs a GPU"),
        ("torch.set_default_device('cuda')", "torch.set_default_device('cuda') needs a GPU"),
    ],
)
def test_use_of_cuda_fails_without_a_gpu_or_with_a_cpu_build_of_torch(text: str, said: str) -> None:
    (finding,) = lint(CUDA + text, facts_of={0: {"gpus": 1}})
    assert (finding.status, finding.nodes) == (Status.FAIL, ("node1",))
    assert f"train.py:3: {said}, but there is none" in finding.message
    cpu_build = software(**CPU), software(**CU130)
    gpus = {i: {"gpus": 1} for i in range(2)}
    (finding,) = lint(CUDA + text, facts_of=gpus, answers=answered(SOFTWARE, *cpu_build))
    assert (finding.status, finding.nodes) == (Status.FAIL, ("node0",))
    assert "torch is built for CPUs there" in finding.message
    assert finding.remedy is not None and "install torch for the GPUs" in finding.remedy.text


@pytest.mark.parametrize(
    "text",
    [
        "device = 'cuda' if torch.cuda.is_available() else 'cpu'\nmodel.to(device)",
        "if torch.cuda.is_available():\n    torch.cuda.set_device(0)",
        "model.to('cpu')",
        "torch.cuda.is_available()",
        "torch.load(path, map_location='cuda')",
    ],
)
def test_use_of_cuda_that_tests_for_it_passes_without_a_gpu(text: str) -> None:
    assert status(CUDA + text) is Status.PASS


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('dist.init_process_group("gloo", "tcp://10.0.0.1:23456")', "warn"),
        ('dist.init_process_group("gloo", init_method="tcp://198.18.0.10:1")', "warn"),
        ('dist.init_process_group("gloo", init_method="tcp://198.18.0.10:29500")', "pass"),
        ('dist.init_process_group("gloo", init_method="tcp://node0:29500")', "pass"),
        ('dist.init_process_group("gloo", init_method="env://")', "pass"),
        ('os.environ["MASTER_ADDR"] = "localhost"', "warn"),
        ('def setup():\n    os.environ["MASTER_ADDR"] = "localhost"', "warn"),
        ('os.environ["MASTER_PORT"] = "12355"', "warn"),
        ('os.environ["MASTER_PORT"] = "29500"', "pass"),
        ('os.environ["MASTER_ADDR"] = "198.18.0.10"', "pass"),
        ('os.environ["MASTER_ADDR"] = args.main', "pass"),
        ('os.environ.setdefault("MASTER_ADDR", "localhost")', "pass"),
        (
            'if "MASTER_ADDR" not in os.environ:\n    os.environ["MASTER_ADDR"] = "localhost"',
            "pass",
        ),
    ],
)
def test_rendezvous_set_by_the_script_is_compared_with_the_launch(text: str, expected: str) -> None:
    assert status(DIST + text).value == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('if int(os.environ["LOCAL_RANK"]) == 0:\n    save()', "warn"),
        ('local = int(os.environ["LOCAL_RANK"])\nif local == 0:\n    save()', "warn"),
        ('local = int(os.environ.get("LOCAL_RANK", 0))\nif not local:\n    save()', "warn"),
        ('if int(os.environ["LOCAL_RANK"]) == 0:\n    download()', "pass"),
        ('if int(os.environ["LOCAL_RANK"]) == 1:\n    save()', "pass"),
        ('rank = os.environ["RANK"]\nif int(os.environ["LOCAL_RANK"]) == 0:\n    save()', "pass"),
        ('if int(os.environ["LOCAL_RANK"]) == 0 and dist.get_rank() == 0:\n    save()', "pass"),
        ('use(int(os.environ["LOCAL_RANK"]))', "pass"),
    ],
)
def test_local_rank_0_guard_without_rank_warns_on_several_nodes(text: str, expected: str) -> None:
    assert status(DIST + text).value == expected
    assert status(DIST + text, 1) is Status.PASS  # on one node they are the same


# -- any text -------------------------------------------------------------------------------------

_PIECES = st.sampled_from(
    ["dist.init_process_group(", "Fabric(", "Trainer(", '"nccl"', '"tcp://[::1]:7"', '"tcp://x:y"', ")",
     "num_nodes=", "devices=", "[0, 1]", "-1", "9" * 5000, "None", "*a", "**b", ",", "\n", "lambda: ",
     'os.environ["MASTER_ADDR"] = ', "'''", "if x:\n    ", "backend=", "\\", "\0", "{}", "1j", "\ud800"]
)  # fmt: skip


@given(st.lists(_PIECES, max_size=30).map("".join) | st.text())
@settings(deadline=None)
def test_check_of_any_text_does_not_raise(text: str) -> None:
    for launcher in ("torchrun", "fabric", "python"):
        assert lint(f"{FABRIC}{DIST}{text}", launcher=launcher)
