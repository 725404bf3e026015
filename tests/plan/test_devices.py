"""Which GPUs ranks see, and how many ranks there are: `devices`, --nproc and variables on a real node."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import pytest

from orchestrator.errors import PlanError
from orchestrator.inventory.devices import Devices as Value
from orchestrator.plan import Facts, Job
from orchestrator.plan.devices import Devices, assign_devices, devices_of, gpu_indices

from .helpers import facts, host

ORDER = {"CUDA_DEVICE_ORDER": "PCI_BUS_ID"}


def node(
    gpus: int = 8, environment: Mapping[str, str] = MappingProxyType({}), *, amd: bool = False
) -> Facts:
    return facts("a", gpus=gpus, all_gpus=gpus, amd=amd, environment=environment)


def cuda(value: str, **more: str) -> dict[str, str]:
    return {"CUDA_VISIBLE_DEVICES": value, **more}


@pytest.mark.parametrize(
    ("value", "nproc", "found"),
    [
        (4, None, Devices(4, 8)),
        ("auto", None, Devices(8, 8)),
        ("gpu", None, Devices(8, 8)),
        ("cpu", None, Devices(1, 0, cuda(""))),
        ("cpu:3", None, Devices(3, 0, cuda(""))),
        ((0, 2, 3), None, Devices(3, 3, cuda("0,2,3", **ORDER))),
        ((7, 0), None, Devices(2, 2, cuda("7,0", **ORDER))),
        ("^3", None, Devices(7, 7, cuda("0,1,2,4,5,6,7", **ORDER))),
        ((0, 2, 3), 2, Devices(2, 3, cuda("0,2,3", **ORDER))),
        ((0, 2, 3), 6, Devices(6, 3, cuda("0,2,3", **ORDER))),
        ((0, 2, 3), "auto", Devices(3, 3, cuda("0,2,3", **ORDER))),
        ((0, 2, 3), "cpu", Devices(1, 0, cuda(""))),
        ("cpu", 4, Devices(4, 0, cuda(""))),
        ("cpu:4", "auto", Devices(1, 0, cuda(""))),
        (4, "gpu", Devices(8, 8)),
    ],
)
def test_devices_of_a_node_with_eight_gpus(
    value: Value, nproc: int | str | None, found: Devices
) -> None:
    assert devices_of(host("a", devices=value), node(), Job("t.py", devices=nproc)) == found


@pytest.mark.parametrize(
    ("value", "variable", "found"),
    [
        (2, None, (0, 1, 2, 3)),
        ("auto", None, (0, 1, 2, 3)),
        ("auto", "2,0", (2, 0)),
        ("^1", None, (0, 2, 3)),
        ((3, 1), None, (3, 1)),
        ("cpu:4", None, ()),
    ],
)
def test_gpu_indices_are_those_that_ranks_see(
    value: Value, variable: str | None, found: tuple[int, ...]
) -> None:
    environment = {} if variable is None else cuda(variable)
    assert gpu_indices(host("a", devices=value), node(4, environment), Job("t.py")) == found


def test_gpu_indices_of_uuids_are_refused() -> None:
    with pytest.raises(
        PlanError, match="CUDA_VISIBLE_DEVICES='GPU-1,GPU-2' names GPUs there by UUID"
    ):
        gpu_indices(host("a"), node(4, cuda("GPU-1,GPU-2")), Job("t.py"))


def test_nproc_of_one_node_wins_over_that_of_all() -> None:
    job = Job("t.py", devices=2, devices_by_node={"b": 5})
    found = assign_devices([host("a"), host("b")], [node(), node()], job)
    assert [each.ranks for each in found] == [2, 5]


@pytest.mark.parametrize(
    ("value", "gpus", "environment", "text"),
    [
        ((0, 9), 8, {}, "devices: [0, 9]: there is no GPU 9; it has 8 GPUs (0-7)"),
        ((1, 2), 1, {}, "there is no GPU 1, 2; it has 1 GPU (0)"),
        ("^8", 8, {}, "devices: ^8: there is no GPU 8"),
        ((0,), 0, {}, "there is no GPU 0; it has none"),
        ("gpu", 0, {}, "devices: gpu: it has no GPU"),
        ("gpu", 8, cuda(""), "CUDA_VISIBLE_DEVICES leaves none of its 8 GPUs"),
        ("^0,1", 2, {}, "devices: ^0,1: CUDA_VISIBLE_DEVICES leaves none of its 2 GPUs"),
        ((0, 5), 8, cuda("4,5"), "CUDA_VISIBLE_DEVICES there leaves out GPU 0; it leaves 4, 5"),
        ((0,), 8, cuda("GPU-8d9a"), "CUDA_VISIBLE_DEVICES='GPU-8d9a' names GPUs there by UUID"),
        ((0,), 8, cuda("MIG-1\x1b[2J"), r"MIG-1\x1b[2J"),
    ],
)
def test_devices_that_a_node_lacks_are_refused(
    value: Value, gpus: int, environment: dict[str, str], text: str
) -> None:
    with pytest.raises(PlanError) as caught:
        devices_of(host("a", devices=value), node(gpus, environment), Job("t.py"))
    assert caught.value.message.startswith("a: devices: ")
    assert text in caught.value.message
    assert caught.value.remedy
    assert "\x1b" not in str(caught.value)


def test_nodes_that_lack_the_same_gpu_are_named_together() -> None:
    hosts = [host("n0", devices=(3,)), host("n1", devices=(3,)), host("n2", devices="gpu")]
    with pytest.raises(PlanError) as caught:
        assign_devices(hosts, [node(2), node(2), node(0)], Job("t.py"))
    assert caught.value.message.splitlines() == [
        "n[0-1]: devices: [3]: there is no GPU 3; it has 2 GPUs (0-1)",
        "n2: devices: gpu: it has no GPU",
    ]


@pytest.mark.parametrize(
    ("login", "inventory", "job", "seen"),
    [
        (cuda("4,5"), {}, {}, "5"),
        (cuda("0"), cuda("5,6"), {}, "5"),
        (cuda("0"), cuda("1"), cuda("5"), "5"),
    ],
)
def test_devices_choose_among_what_the_nearest_variable_leaves(
    login: dict[str, str], inventory: dict[str, str], job: dict[str, str], seen: str
) -> None:
    one = host("a", devices=(5,), env=inventory)
    found = devices_of(one, node(8, login), Job("t.py", environment=job))
    assert found.environment["CUDA_VISIBLE_DEVICES"] == seen


def test_order_of_gpus_that_the_user_has_set_is_kept() -> None:
    one = host("a", devices=(5,), env={"CUDA_DEVICE_ORDER": "FASTEST_FIRST"})
    assert devices_of(one, node(), Job("t.py")).environment == cuda("5")


@pytest.mark.parametrize(
    ("value", "environment", "found"),
    [
        ((2, 0), {}, Devices(2, 2, {"HIP_VISIBLE_DEVICES": "2,0"})),
        ("cpu", {}, Devices(1, 0, {"HIP_VISIBLE_DEVICES": "-1"})),
        ("auto", {"HIP_VISIBLE_DEVICES": "1,2"}, Devices(2, 2)),
        ("auto", {"HIP_VISIBLE_DEVICES": "1", "CUDA_VISIBLE_DEVICES": "1,2"}, Devices(1, 1)),
        ("auto", {"CUDA_VISIBLE_DEVICES": "1,2"}, Devices(2, 2)),
        ("auto", {"ROCR_VISIBLE_DEVICES": "4,6"}, Devices(2, 2)),
        # HIP counts among the GPUs that ROCR leaves.
        ((6,), {"ROCR_VISIBLE_DEVICES": "4,6"}, Devices(1, 1, {"HIP_VISIBLE_DEVICES": "1"})),
        (
            (6,),
            {"ROCR_VISIBLE_DEVICES": "4,6", "HIP_VISIBLE_DEVICES": "1"},
            Devices(1, 1, {"HIP_VISIBLE_DEVICES": "1"}),
        ),
    ],
)
def test_gpus_of_amd_are_selected_by_their_own_variable(
    value: Value, environment: dict[str, str], found: Devices
) -> None:
    assert (
        devices_of(host("a", devices=value), node(8, environment, amd=True), Job("t.py")) == found
    )


@pytest.mark.torch
@pytest.mark.parametrize("hip", [False, True])
@pytest.mark.parametrize(
    "variables",
    [
        {},
        cuda("0,1,11,2"),
        cuda("3,5"),
        cuda("-1"),
        cuda(""),
        cuda("1,1"),
        cuda(" 2 , 0"),
        cuda("2,x,1"),
        {"HIP_VISIBLE_DEVICES": "1,0"},
        {"HIP_VISIBLE_DEVICES": "2", **cuda("0,1")},
        {"ROCR_VISIBLE_DEVICES": "4,6,7"},
        {"ROCR_VISIBLE_DEVICES": "4,6,7", "HIP_VISIBLE_DEVICES": "0,2"},
    ],
)
def test_number_of_gpus_is_the_one_that_torch_sees(
    variables: dict[str, str], hip: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    for name in ("CUDA_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(torch.version, "hip", "6.4" if hip else None)
    seen: list[Any] = torch.cuda._parse_visible_devices()
    existing = [each for each in seen if each < 8]
    first_missing = next((i for i, each in enumerate(seen) if each >= 8), len(seen))
    assert devices_of(host("a"), node(8, variables, amd=hip), Job("t.py")).gpus == len(
        existing[:first_missing]
    )
