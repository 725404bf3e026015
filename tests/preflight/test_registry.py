"""All checks together: each is documented, and can be chosen."""

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


def test_an_id_names_one_check() -> None:
    assert len(set(ids(CHECKS))) == len(CHECKS)


def test_the_report_goes_by_groups() -> None:
    groups = [list(Group).index(check.group) for check in CHECKS]
    assert groups == sorted(groups)


@each_check
def test_a_check_says_in_one_line_what_it_means_and_on_a_page_how(check: Check) -> None:
    assert check.meaning
    assert check.meaning.isprintable()
    assert len(check.meaning) <= 100
    assert not check.meaning.endswith(".")
    assert check.page.strip() == check.page
    assert len(check.page) > 80


@each_check
def test_what_a_check_asks_of_nodes_is_there(check: Check) -> None:
    for probe in check.probes:
        assert callable(find_probe(probe.name))


def test_a_probe_of_one_name_is_one_probe() -> None:
    probes: dict[str, Probe[Any]] = {}
    for check in CHECKS:
        for probe in check.probes:
            assert probes.setdefault(probe.name, probe) is probe


def test_quick_is_a_part_of_full() -> None:
    quick, full = select(Level.QUICK), select(Level.FULL)
    assert full == CHECKS
    assert {"ssh.reach", "disk", "clock"} <= set(ids(quick)) < set(ids(full))
    assert all(check.level is Level.QUICK for check in quick)


def test_checks_are_chosen_by_id_or_by_the_part_before_the_dot_at_any_level() -> None:
    assert ids(select(Level.QUICK, ["shm"])) == ["shm"]
    host = ids(select(Level.QUICK, ["host"]))
    assert {"host.unique", "host.orphans", "host.linger"} <= set(host)
    assert all(name.startswith("host.") for name in host)


def test_an_unknown_check_is_refused_with_the_nearest() -> None:
    with pytest.raises(UsageError) as error:
        select(Level.FULL, ["shm", "host.uniqe"])
    assert "--only host.uniqe" in error.value.message
    assert error.value.remedy == "did you mean host.unique?"
    with pytest.raises(UsageError) as error:
        select(Level.FULL, ["qqqqq"])
    assert error.value.remedy is not None
    assert "one of: ssh.reach, " in error.value.remedy


def test_a_part_of_a_name_is_no_name() -> None:
    with pytest.raises(UsageError):
        select(Level.FULL, ["hos"])
