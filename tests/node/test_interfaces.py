"""The network interfaces of a node, on trees like those of real machines."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from orchestrator.node.probes.interfaces import interfaces, link


def put(root: Path, path: str, text: str) -> None:
    file = root / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text + "\n")


def interface(root: Path, name: str, device: bool = False, **attributes: object) -> Path:
    """Make the folder of an interface in /sys/class/net."""
    folder = root / "sys/class/net" / name
    usual: dict[str, object] = {
        "ifindex": len(list(folder.parent.glob("*"))) + 1,
        "mtu": 1500,
        "operstate": "up",
        "flags": "0x1003",
        "speed": 25000,
        "duplex": "full",
    }
    for attribute, value in {**usual, **attributes}.items():
        if value is not None:
            put(folder, attribute, str(value))
    if device:
        (folder / "device").mkdir()
    return folder


def found(root: Path, *addresses: tuple[str, str]) -> dict[str, dict[str, Any]]:
    return {entry["name"]: entry for entry in interfaces(str(root), addresses)}


def test_interface_of_a_card_has_every_value(tmp_path: Path) -> None:
    interface(tmp_path, "enp1s0f0", device=True, mtu=9000)
    addresses = [("enp1s0f0", "198.18.0.7/24"), ("enp1s0f0", "fd00::7/64"), ("gone", "10.0.0.1/8")]
    assert interfaces(str(tmp_path), addresses) == [
        {
            "name": "enp1s0f0",
            "addresses": ["198.18.0.7/24", "fd00::7/64"],
            "mtu": 9000,
            "speed": 25000,
            "duplex": "full",
            "device": True,
            "running": True,
            "roce": [],
            "arp_ignore": 0,
            "arp_announce": 0,
        }
    ]


def test_interfaces_are_sorted_by_index(tmp_path: Path) -> None:
    interface(tmp_path, "zeth", ifindex=2)
    interface(tmp_path, "aeth", ifindex=10)
    interface(tmp_path, "lo", ifindex=1)
    assert list(found(tmp_path)) == ["lo", "zeth", "aeth"]


def test_interface_values_that_the_kernel_hides_are_null(tmp_path: Path) -> None:
    interface(tmp_path, "virtio", device=True, speed=-1, duplex="unknown")
    interface(tmp_path, "down", speed=None, duplex=None, operstate="down", flags="0x1002")
    (tmp_path / "sys/class/net/bare").mkdir()
    entries = found(tmp_path)
    assert (entries["virtio"]["speed"], entries["virtio"]["device"]) == (None, True)
    assert (entries["down"]["speed"], entries["down"]["duplex"]) == (None, None)
    assert entries["down"]["device"] is False
    assert entries["bare"]["mtu"] is None


def test_bonding_masters_is_no_interface(tmp_path: Path) -> None:
    put(tmp_path, "sys/class/net/bonding_masters", "bond0")
    assert found(tmp_path) == {}


def test_interface_with_carrier_is_running(tmp_path: Path) -> None:
    interface(tmp_path, "lo", operstate="unknown", flags="0x9")
    interface(tmp_path, "docker0", operstate="down", flags="0x1003")  # no container runs
    interface(tmp_path, "tun0", operstate="unknown", flags="0x10d1")
    interface(tmp_path, "off", operstate="unknown", flags="0x1002")
    interface(tmp_path, "odd", flags="garbage")
    assert {name: entry["running"] for name, entry in found(tmp_path).items()} == {
        "lo": True, "docker0": False, "tun0": True, "off": False, "odd": False,
    }  # fmt: skip


def test_interface_has_the_roce_devices_that_use_it(tmp_path: Path) -> None:
    for name in ("eth0", "eth0.100", "ib0"):
        interface(tmp_path, name)
    for device, layer, own in (("mlx5_0", "Ethernet", "eth0"), ("mlx5_1", "InfiniBand", "ib0")):
        folder = f"sys/class/infiniband/{device}"
        put(tmp_path, f"{folder}/ports/1/link_layer", layer)
        put(tmp_path, f"{folder}/ports/1/gids/0", "fe80:0000:0000:0000:0202:c9ff:fe00:0001")
        put(tmp_path, f"{folder}/ports/1/gid_attrs/ndevs/0", f"{own}.100")
        (tmp_path / folder / "device/net" / own).mkdir(parents=True)
    assert {name: entry["roce"] for name, entry in found(tmp_path).items()} == {
        "eth0": ["mlx5_0"], "eth0.100": ["mlx5_0"], "ib0": [],
    }  # fmt: skip


def test_arp_setting_is_the_stricter_of_all_and_its_own(tmp_path: Path) -> None:
    interface(tmp_path, "eth0")
    for name, ignore, announce in (("all", 0, 2), ("eth0", 1, 0)):
        put(tmp_path, f"proc/sys/net/ipv4/conf/{name}/arp_ignore", str(ignore))
        put(tmp_path, f"proc/sys/net/ipv4/conf/{name}/arp_announce", str(announce))
    entry = found(tmp_path)["eth0"]
    assert (entry["arp_ignore"], entry["arp_announce"]) == (1, 2)


def test_this_machine_has_a_loopback() -> None:
    lo = next(entry for entry in interfaces() if entry["name"] == "lo")
    assert "127.0.0.1/8" in lo["addresses"]
    assert (lo["running"], lo["device"], lo["speed"]) == (True, False, None)


@pytest.mark.parametrize(
    ("flags", "carrier", "expected"),
    [
        ("0x1003", "1", {"up": True, "carrier": True, "arp": True}),
        ("0x1083", "1", {"up": True, "carrier": True, "arp": False}),
        ("0x1003", "0", {"up": True, "carrier": False, "arp": True}),
        ("0x1002", None, {"up": False, "carrier": None, "arp": True}),  # EINVAL while it is off
    ],
)
def test_link_reads_flags_and_carrier(
    tmp_path: Path, flags: str, carrier: str | None, expected: dict[str, bool | None]
) -> None:
    folder = tmp_path / "sys/class/net/eth1"
    folder.mkdir(parents=True)
    (folder / "flags").write_text(flags + "\n")
    if carrier is not None:
        (folder / "carrier").write_text(carrier + "\n")
    assert link("eth1", str(tmp_path)) == expected


def test_link_of_missing_interface_is_none(tmp_path: Path) -> None:
    assert link(None) is None
    assert link("eth9", str(tmp_path)) is None


def test_link_of_loopback_is_up() -> None:
    found = link("lo")
    assert found is not None and found["up"]
