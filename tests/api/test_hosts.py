"""Which hosts a command acts on."""

from __future__ import annotations

import pytest

from orchestrator.api.hosts import open_hosts
from orchestrator.errors import UsageError
from orchestrator.inventory import Host, Inventory

INVENTORY = Inventory(
    hosts=(Host(name="node0", python="/opt/venv/bin/python"), Host(name="node1")),
    spares=(Host(name="spare", spare=True),),
    source="hosts.yaml",
)


async def test_python_is_that_of_all_hosts_and_spares() -> None:
    async with open_hosts({"hosts": INVENTORY, "python": "~/venv/bin/python"}) as (found, _):
        pythons = {host.python for host in (*found.hosts, *found.spares)}
        assert pythons == {"~/venv/bin/python"}
    async with open_hosts({"hosts": INVENTORY}) as (found, _):
        assert [host.python for host in found.hosts] == ["/opt/venv/bin/python", "python3"]


@pytest.mark.parametrize("python", ["-c", "two\nlines", ""])
async def test_python_that_is_no_path_is_refused(python: str) -> None:
    with pytest.raises(UsageError, match="--python"):
        async with open_hosts({"hosts": INVENTORY, "python": python}):
            pass
