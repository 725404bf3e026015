"""What the kernel gives to listeners."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.node.probes.limits import somaxconn

from .conftest import AgentProcess


def test_the_backlog_is_the_kernels(tmp_path: Path) -> None:
    (tmp_path / "proc/sys/net/core").mkdir(parents=True)
    (tmp_path / "proc/sys/net/core/somaxconn").write_text("128\n")
    assert somaxconn(str(tmp_path)) == 128
    with pytest.raises(ValueError, match="cannot be read"):
        somaxconn(str(tmp_path / "elsewhere"))


def test_a_node_answers_all_of_names_ports_and_firewall(agent: AgentProcess) -> None:
    about = {"interface": "lo", "address": "127.0.0.1", "subnet": "127.0.0.0/8", "main_port": 29500}
    probes = {
        "names.own_name": {},
        "names.resolve": {"names": ["localhost"]},
        "limits.somaxconn": {},
        "firewall.port_range": {},
        "firewall": about,
    }
    answers = agent.ask("check", limit=20, probes=probes)["ok"]
    assert all("ok" in answer for answer in answers.values()), answers
    assert answers["names.resolve"]["ok"]["localhost"]["addresses"]
    low, high = answers["firewall.port_range"]["ok"]
    assert 0 < low < high < 65536
