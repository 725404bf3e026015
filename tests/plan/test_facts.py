"""Facts from a node are parsed, or refused: they are used in commands and sizes."""

from __future__ import annotations

from typing import Any

import pytest

from orchestrator.plan import Facts

SOUND: dict[str, Any] = {
    "hostname": "node0",
    "identity": "boot/net:[1]",
    "uid": 0,
    "home": "/root",
    "python_version": "3.11.7",
    "cpus": 8,
    "gpus": 8,
    "rsync": None,
    "interfaces": [
        {"name": "eth0.7", "addresses": ["198.18.0.10/24"], "speed": 10000, "loopback": False}
    ],
    "ssh_address": "198.18.0.10",
    "environment": {},
}


def with_interface(**more: Any) -> dict[str, Any]:
    return {"interfaces": [{**SOUND["interfaces"][0], **more}]}


def test_facts_are_typed() -> None:
    facts = Facts.parse(SOUND, 0.0)
    assert facts.interfaces[0].name == "eth0.7"
    assert facts.ssh_address == "198.18.0.10"


@pytest.mark.parametrize(
    "bad",
    [
        {"home": "relative"},
        {"home": "/root\nrm -rf /"},
        {"home": "/root\0"},
        {"gpus": 10**9},
        {"gpus": -1},
        with_interface(name="eth0; reboot"),
        with_interface(name="eth0\n"),
        with_interface(name="-x"),
        with_interface(name="a/b"),
        with_interface(name="sixteen-letters-"),
        with_interface(name=7),
        with_interface(addresses=[True]),
        with_interface(speed=10**400),
        with_interface(speed=float("inf")),
    ],
)
def test_implausible_facts_are_refused(bad: dict[str, Any]) -> None:
    with pytest.raises((ValueError, OverflowError)):
        Facts.parse({**SOUND, **bad}, 0.0)


@pytest.mark.parametrize("said", ["UNKNOWN", "$(reboot)", None])
def test_unknown_ssh_address_is_none(said: str | None) -> None:
    assert Facts.parse({**SOUND, "ssh_address": said}, 0.0).ssh_address is None
