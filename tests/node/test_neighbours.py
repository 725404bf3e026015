"""The probe of the table of neighbours, on files as Linux 6.18 has them."""

from __future__ import annotations

from pathlib import Path

from orchestrator.node.probes.neighbours import neighbours

STAT = """\
entries  allocs   destroys hash_grows lookups  hits     res_failed rcv_probes_mcast rcv_probes_ucast \
periodic_gc_runs forced_gc_runs unresolved_discards table_fulls
00002453 000020b1 0000025e 00000009   00004060 00001d4e 00000063   00000000         00000000         \
00000000         00000611       00000000            00000607
00002453 000015f9 000013b8 00000002   00004f06 000036f3 00000087   00000000         00000000         \
00000099         00000003       00000000            00000002
"""


def write(root: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def test_neighbours_reads_limits_and_adds_the_counters_of_all_cpus(tmp_path: Path) -> None:
    limits = {f"proc/sys/net/ipv4/neigh/default/gc_thresh{n}": f"{2**n * 128}\n" for n in (1, 2, 3)}
    write(tmp_path, {**limits, "proc/net/stat/arp_cache": STAT})
    assert neighbours(4, str(tmp_path)) == {
        "soft": 512,
        "room": 1024,
        "entries": 0x2453,
        "fulls": 0x609,
    }


def test_neighbours_of_a_network_namespace_are_not_known(tmp_path: Path) -> None:
    write(tmp_path, {"proc/sys/net/ipv4/neigh/default/mcast_solicit": "3\n"})
    assert set(neighbours(4, str(tmp_path)).values()) == {None}


def test_neighbours_of_ipv6_have_their_own_table(tmp_path: Path) -> None:
    files = {
        "proc/sys/net/ipv6/neigh/default/gc_thresh3": "2048\n",
        "proc/net/stat/ndisc_cache": "entries  table_fulls\n00000010 00000001\n",
    }
    write(tmp_path, files)
    found = neighbours(6, str(tmp_path))
    assert found == {"soft": None, "room": 2048, "entries": 16, "fulls": 1}
