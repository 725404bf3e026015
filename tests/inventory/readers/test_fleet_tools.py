"""SSH fleets and node pools, as dstack and SkyPilot themselves read them.

`ORCH_FLEET_TOOLS` is a Python that has both: `python -m venv V && V/bin/pip install dstack skypilot`.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
from pathlib import Path
from typing import Any

import pytest

from orchestrator.inventory import load
from tests.ssh_home import be_at_home

# How dstack's server combines both levels: dstack/_internal/server/services/fleets.py.
DSTACK = """
import json, sys, yaml
from dstack._internal.core.models.fleets import FleetConfiguration, SSHHostParams
found = []
for text in json.load(sys.stdin):
    ssh = FleetConfiguration.model_validate(yaml.safe_load(text)).ssh_config
    hosts = []
    for host in ssh.hosts:
        own = SSHHostParams(hostname=host) if isinstance(host, str) else host
        jump = own.proxy_jump or ssh.proxy_jump
        hosts.append([own.hostname, own.user or ssh.user, own.port or ssh.port,
                      own.identity_file or ssh.identity_file, own.internal_ip,
                      jump and [jump.user, jump.hostname, jump.port]])
    found.append(hosts)
print(json.dumps(found))
"""
SKY = """
import contextlib, json, sys
from sky.ssh_node_pools import utils
found = []
with contextlib.redirect_stdout(sys.stderr):
    for path in json.load(sys.stdin):
        pools = utils.get_cluster_config(utils.load_ssh_targets(path))
        found.append([[name, [[h["ip"], h["user"], h["identity_file"]]
                              for h in utils.prepare_hosts_info(name, pools[name])]] for name in pools])
print(json.dumps(found))
"""
COUNT = 150


def ask(program: str, given: object, home: Path) -> list[Any]:
    python = os.environ.get("ORCH_FLEET_TOOLS")
    if python is None:
        pytest.skip("needs ORCH_FLEET_TOOLS, a Python that has dstack and skypilot")
    done = subprocess.run(
        [python, "-c", program],
        input=json.dumps(given),
        env={**os.environ, "HOME": str(home)},
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert done.returncode == 0, done.stderr
    answers: list[Any] = json.loads(done.stdout)
    return answers


def chosen(draw: random.Random, **values: list[Any]) -> dict[str, Any]:
    """Return some of the keys, each with one of its values."""
    return {key: draw.choice(some) for key, some in values.items() if draw.random() < 0.5}


def fleet(draw: random.Random) -> str:
    jump = {"hostname": "gate", "user": "jump", "identity_file": "/k/gate"}
    jumps = [jump, {**jump, "port": 2200}, {**jump, "hostname": "other"}]
    shared: dict[str, list[Any]] = {
        "user": ["ubuntu", "me"],
        "port": [22, 2222],
        "identity_file": ["/k/a", "/k/b"],
    }
    hosts: list[Any] = []
    for number in range(draw.randint(1, 5)):
        name = draw.choice([f"10.0.0.{number}", f"node{number}.lan"])
        own: dict[str, list[Any]] = {
            "internal_ip": [f"192.168.1.{number + 1}"],
            "proxy_jump": jumps,
            "blocks": [1, "auto"],
        }
        hosts.append(draw.choice([name, {"hostname": name, **chosen(draw, **shared, **own)}]))
    ssh = {**chosen(draw, **shared, proxy_jump=jumps), "hosts": hosts}
    return json.dumps({"type": "fleet", "name": "ours", "ssh_config": ssh})  # YAML, too


def test_fleets_are_read_as_by_dstack(tmp_path: Path) -> None:
    draw = random.Random(7)
    texts = [fleet(draw) for _ in range(COUNT)]
    for number, (text, expected) in enumerate(
        zip(texts, ask(DSTACK, texts, tmp_path), strict=True)
    ):
        path = tmp_path / f"{number}.dstack.yml"
        path.write_text(text)
        found = [
            [
                host.address, host.user, host.port, host.identity_file, host.internal_address,
                host.proxy_jump,
            ]
            for host in load(f"dstack:{path}").hosts
        ]  # fmt: skip
        for each in expected:
            user, gate, port = each[5] or (None, None, None)
            each[5] = user and f"{user}@{gate}" + (f":{port}" if port else "")
        assert found == expected, text


def pools(draw: random.Random, keys: list[str]) -> str:
    named: dict[str, Any] = {}
    for pool in range(draw.randint(1, 3)):
        hosts: list[Any] = []
        for number in range(draw.randint(1, 4)):
            name = draw.choice([f"10.{pool}.0.{number}", f"node{pool}{number}.lan"])
            own = chosen(draw, user=["alt"], identity_file=keys)
            hosts.append(draw.choice([name, {"ip": name, **own}]))
        named[f"pool{pool}"] = {**chosen(draw, user=["ubuntu"], identity_file=keys), "hosts": hosts}
    return json.dumps(named)


def test_pools_are_read_as_by_skypilot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    be_at_home(monkeypatch, tmp_path)
    keys = [str(tmp_path / name) for name in ("a", "b")]
    for key in keys:
        Path(key).touch()
    draw = random.Random(7)
    paths = [tmp_path / f"{number}.yaml" for number in range(COUNT)]
    for path in paths:
        path.write_text(pools(draw, keys))
    # No host has a stanza in ssh_config: SkyPilot asks `ssh -vvG`, as test_sky.py does.
    for path, expected in zip(
        paths, ask(SKY, [str(path) for path in paths], tmp_path), strict=True
    ):
        read = load(f"sky:{path}")
        hosts = {host.name: host for host in read.hosts}
        found = [
            [
                group.name,
                [
                    [hosts[name].address, hosts[name].user or "", hosts[name].identity_file or ""]
                    for name in group.hosts
                ],
            ]
            for group in read.groups
        ]
        assert found == expected, path.read_text()
