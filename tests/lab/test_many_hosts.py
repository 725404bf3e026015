"""Preflight on many real hosts of one kernel: $ORCH_HOSTS of them."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from labkit import kernel_limits, network
from labkit.lab import Lab

from .orch import orch

HOSTS = int(os.environ.get("ORCH_HOSTS", "0"))

pytestmark = [
    pytest.mark.lab,
    pytest.mark.skipif(not HOSTS, reason="ORCH_HOSTS=N is not set"),
]

DROP = """\
table inet site {
    chain in { type filter hook input priority 0; iif != lo ct state new tcp dport != 22 drop; }
}
"""
LIMIT = Path("/proc/sys/net/ipv4/neigh/default/gc_thresh3")


def test_preflight_names_exactly_the_bad_tenth(make_lab: Callable[..., Lab]) -> None:
    before = LIMIT.read_text()
    lab = make_lab(HOSTS)
    assert (LIMIT.read_text() != before) == (kernel_limits.LARGE < HOSTS)
    for bad in ([], lab.nodes[5::10]):
        for node in bad:
            network.configure(lab.pid(node), [], ruleset=DROP)
        words = ("preflight", "-i", lab.inventory, "--only", "net.tcp", "--output", "json")
        done = orch(lab, *words, timeout=600)
        findings = json.loads(done.stdout)["checks"]
        failed = [finding for finding in findings if finding["status"] == "fail"]
        assert {name for finding in failed for name in finding["nodes"]} == set(bad), failed
        assert all("by its own nftables rules" in finding["message"] for finding in failed)
