"""An interface by its files in /sys: on or off, with a signal or without, found by others or not."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.node.probes.interfaces import link


@pytest.mark.parametrize(
    ("flags", "carrier", "expected"),
    [
        ("0x1003", "1", {"up": True, "carrier": True, "arp": True}),
        ("0x1083", "1", {"up": True, "carrier": True, "arp": False}),
        ("0x1003", "0", {"up": True, "carrier": False, "arp": True}),
        ("0x1002", None, {"up": False, "carrier": None, "arp": True}),  # EINVAL while it is off
    ],
)
def test_what_the_kernel_says_of_it(
    tmp_path: Path, flags: str, carrier: str | None, expected: dict[str, bool | None]
) -> None:
    folder = tmp_path / "sys/class/net/eth1"
    folder.mkdir(parents=True)
    (folder / "flags").write_text(flags + "\n")
    if carrier is not None:
        (folder / "carrier").write_text(carrier + "\n")
    assert link("eth1", str(tmp_path)) == expected


def test_no_interface_is_none(tmp_path: Path) -> None:
    assert link(None) is None
    assert link("eth9", str(tmp_path)) is None


def test_this_machines_loopback_is_on() -> None:
    found = link("lo")
    assert found is not None and found["up"]
