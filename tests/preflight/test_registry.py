"""All checks: their ids, documentation and selection."""

from __future__ import annotations

from typing import Any

import pytest

from orchestrator.errors import UsageError
from orchestrator.node.check import find_probe
from orchestrator.preflight.model import Check, Group, Level, Probe
from orchestrator.preflight.registry import CHECKS, select

each_check = pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.id)


def ids(checks: tuple[Check, ...]) -> list[str]:
    return [check.id for check in checks]


def test_ids_are_unique() -> None:
    assert len(set(ids(CHECKS))) == len(CHECKS)


def test_checks_are_in_the_order_of_their_groups() -> None:
    groups = [list(Group).index(check.group) for check in CHECKS]
    assert groups == sorted(groups)


@each_check
def test_check_has_a_short_meaning_and_a_page(check: Check) -> None:
    assert check.meaning
    assert check.meaning.isprintable()
    assert len(check.meaning) <= 100
    assert not check.meaning.endswith(".")
    assert check.page.strip() == check.page
    assert len(check.page) > 80


@each_check
def test_probes_of_checks_exist_on_the_node_side(check: Check) -> None:
    for probe in check.probes:
        assert callable(find_probe(probe.name))


def test_probe_names_are_unique() -> None:
    probes: dict[str, Probe[Any]] = {}
    for check in CHECKS:
        for probe in check.probes:
            assert probes.setdefault(probe.name, probe) is probe


def test_quick_checks_are_part_of_full() -> None:
    quick, full = select(Level.QUICK), select(Level.FULL)
    assert full == CHECKS
    assert {"ssh.reach", "disk", "clock"} <= set(ids(quick)) < set(ids(full))
    assert all(check.level is Level.QUICK for check in quick)


def test_select_by_id_or_prefix_ignores_the_level() -> None:
    assert ids(select(Level.QUICK, ["shm"])) == ["shm"]
    host = ids(select(Level.QUICK, ["host"]))
    assert {"host.unique", "host.orphans", "host.linger"} <= set(host)
    assert all(name.startswith("host.") for name in host)


def test_select_of_an_unknown_check_suggests_the_nearest() -> None:
    with pytest.raises(UsageError) as error:
        select(Level.FULL, ["shm", "host.uniqe"])
    assert "--only host.uniqe" in error.value.message
    assert error.value.remedy == "did you mean host.unique?"
    with pytest.raises(UsageError) as error:
        select(Level.FULL, ["qqqqq"])
    assert error.value.remedy is not None
    assert "one of: ssh.reach, " in error.value.remedy


def test_select_by_part_of_an_id_is_refused() -> None:
    with pytest.raises(UsageError):
        select(Level.FULL, ["hos"])
