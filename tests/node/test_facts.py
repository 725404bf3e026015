"""The facts that a node reports, its ports and its working folder."""

from __future__ import annotations

import socket
import subprocess
from pathlib import Path

import pytest

from orchestrator.node.facts import facts, visible_gpus

from .conftest import AgentProcess


def devices(folder: Path, *names: str) -> str:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return str(folder)


NVIDIA = ("nvidia0", "nvidia1", "nvidia2", "nvidiactl", "nvidia-uvm", "nvidia-caps/nvidia-cap1")


@pytest.mark.parametrize(
    ("files", "environment", "seen"),
    [
        ((), {}, []),
        (NVIDIA, {}, ["0", "1", "2"]),
        (NVIDIA, {"CUDA_VISIBLE_DEVICES": "2,0"}, ["2", "0"]),
        (NVIDIA, {"CUDA_VISIBLE_DEVICES": ""}, []),
        (NVIDIA, {"CUDA_VISIBLE_DEVICES": "GPU-8d9a, GPU-17ab"}, ["GPU-8d9a", "GPU-17ab"]),
        (("dri/renderD128", "dri/card0"), {}, []),  # a desktop's graphics
        (("kfd", "dri/renderD128", "dri/renderD129", "dri/card0"), {}, ["0", "1"]),
        (("kfd", "dri/renderD128", "dri/renderD129"), {"HIP_VISIBLE_DEVICES": "1"}, ["1"]),
    ],
)
def test_gpus_are_counted_by_device_file_and_variable(
    tmp_path: Path, files: tuple[str, ...], environment: dict[str, str], seen: list[str]
) -> None:
    assert visible_gpus(devices(tmp_path, *files), environment) == seen


def test_facts_have_the_interfaces_that_ip_shows() -> None:
    shown = subprocess.run(["ip", "-o", "addr"], capture_output=True, text=True, check=True).stdout
    wanted = {
        (line.split()[1], line.split()[3])
        for line in shown.splitlines()
        if "scope link" not in line and line.split()[2] in ("inet", "inet6")
    }
    found = {(i["name"], a) for i in facts()["interfaces"] for a in i["addresses"]}
    assert ("lo", "127.0.0.1/8") in found
    assert found <= wanted


def test_route_to_loopback_is_from_the_routing_table(agent: AgentProcess) -> None:
    assert agent.ask("route", address="127.0.0.1")["ok"] == {
        "source": "127.0.0.1",
        "interface": "lo",
    }


def test_reserved_port_is_held_until_its_holder_ends(agent: AgentProcess) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        free = probe.getsockname()[1]
    first = agent.ask("reserve", address="127.0.0.1", preferred=free, exact=True)
    assert first["ok"] == free
    second = AgentProcess(agent.home)
    assert second.ask("reserve", address="127.0.0.1", preferred=free, exact=True)["ok"] is None
    other = second.ask("reserve", address="127.0.0.1", preferred=free, exact=False)["ok"]
    assert other not in (None, free)
    agent.close()
    assert second.ask("reserve", address="127.0.0.1", preferred=free, exact=True)["ok"] == free
    second.close()


def test_reserve_of_port_in_use_is_refused(agent: AgentProcess) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        taken = server.getsockname()[1]
        answer = agent.ask("reserve", address="127.0.0.1", preferred=taken, exact=True)
        assert answer["ok"] is None


def test_supervisor_holds_the_port_of_its_run(agent: AgentProcess) -> None:
    port = agent.ask("reserve", address="127.0.0.1", preferred=0, exact=False)["ok"]
    agent.start(["sleep", "1000"])
    agent.close()
    second = AgentProcess(agent.home)
    second.run = agent.run
    arguments = {"address": "127.0.0.1", "preferred": port, "exact": True}
    assert second.ask("reserve", **arguments)["ok"] is None
    second.stop(grace=0)
    second.follow()
    second.close()


def test_reserve_on_address_of_another_machine_is_an_error(agent: AgentProcess) -> None:
    answer = agent.ask("reserve", address="198.51.100.1", preferred=1, exact=True)
    assert "Cannot assign requested address" in answer["error"]


def test_working_folder_is_made_checked_and_tidied(agent: AgentProcess) -> None:
    made = agent.ask("prepare", workdir="~/a/b", token="t-0")["ok"]
    assert made["workdir"] == str(agent.home / "a/b")
    assert made["free"] > 0
    seen = agent.ask("shared", workdir=made["workdir"], tokens=["t-1", "t-0"])["ok"]
    assert seen == ["t-0"]
    agent.ask("tidy", workdir=made["workdir"], token="t-0")
    assert list(Path(made["workdir"]).iterdir()) == []


def test_prepare_of_impossible_folder_says_why(agent: AgentProcess) -> None:
    (agent.home / "file").write_text("")
    answer = agent.ask("prepare", workdir="~/file/x", token="t")
    assert answer["error"] == f"{agent.home}/file/x: Not a directory"


def test_agent_refuses_unknown_verb_and_invalid_name(agent: AgentProcess) -> None:
    assert "KeyError" in agent.ask("format")["error"]
    assert "not a name" in agent.ask("sweep", run="../../etc", node="n")["error"]
