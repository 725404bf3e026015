"""Write an inventory of any format as orch's YAML."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from orchestrator.errors import InventoryError
from orchestrator.inventory.draft import PLAIN
from orchestrator.inventory.model import Host, Inventory, Settings
from orchestrator.inventory.readers.orch_yaml import parse
from orchestrator.util.text import quoted

_OF_TEXT = re.compile(r" on line \d+$")  # of the text that was written here, which no one sees


def as_yaml(inventory: Inventory) -> str:
    """Return a file of orch's with the same hosts, groups, main node and transport.

    What all hosts have in common becomes `defaults`. Raises InventoryError if a file cannot say it, such as
    two names of one address.
    """
    hosts = [_settings(host) for host in (*inventory.hosts, *inventory.spares)]
    common = _common(hosts)
    lines = ["# The machines that train together. inventory.example.yaml explains every key."]
    if common:
        lines += ["defaults:", *(f"  {key}: {_flow(value)}" for key, value in common.items())]
    if main := _given(inventory.main):
        lines.append(f"main: {_flow(main)}")
    if inventory.transport is not None:
        choice = inventory.transport
        options = dict(choice.options)
        lines.append(f"transport: {_flow({choice.name: options} if options else choice.name)}")
    lines.append("hosts:")
    for host in hosts:
        own = {key: value for key, value in host.items() if key not in common}
        lines.append(f"  - {_flow(own['name'] if set(own) == {'name'} else own)}")
    names = {host["name"] for host in hosts}
    groups = {
        group.name: [name for name in group.hosts if name in names] for group in inventory.groups
    }
    if any(groups.values()):
        lines.append("groups:")
        lines += (f"  {_flow(name)}: {_flow(own)}" for name, own in groups.items() if own)
    text = "\n".join(lines) + "\n"
    _require_same(text, inventory)
    return text


def _settings(host: Host) -> dict[str, Any]:
    """Return what a host has, other than the defaults; the name comes first."""
    given = _given(host)
    name, address = given.pop("name"), given.pop("address")
    return {"name": name, **({} if address == name else {"address": address}), **given}


def _given(model: BaseModel) -> dict[str, Any]:
    fields = type(model).model_fields
    values = {name: getattr(model, name) for name in fields}
    return {name: value for name, value in values.items() if value != fields[name].default}


def _common(hosts: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the settings that all of several hosts have, and `defaults` may have."""
    if len(hosts) < 2:
        return {}
    return {
        key: value
        for key, value in hosts[0].items()
        if key in Settings.model_fields and all(host.get(key) == value for host in hosts)
    }


def _flow(value: object) -> str:
    """Return a value as YAML on one line; numbers and the like in text are quoted."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{_flow(key)}: {_flow(each)}" for key, each in value.items()) + "}"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(map(_flow, value)) + "]"
    if isinstance(value, str) and PLAIN.fullmatch(value):
        return value
    return json.dumps(value, ensure_ascii=False)


def _require_same(text: str, inventory: Inventory) -> None:
    """Raise InventoryError if reading the text would give another inventory."""
    try:
        found = parse(text, Path("/") / "written")
    except InventoryError as error:
        faults = "\n".join(_OF_TEXT.sub("", problem.message) for problem in error.problems)
        raise InventoryError(f"orch's YAML cannot hold this inventory: {faults}") from None
    for name in ("hosts", "spares", "main"):
        if getattr(found, name) != getattr(inventory, name):
            raise InventoryError(f"orch's YAML cannot hold the {name} of this inventory")
    wanted, read = inventory.transport, found.transport
    same = (wanted and (wanted.name, dict(wanted.options))) == (
        read and (read.name, dict(read.options))
    )
    if not same:
        raise InventoryError(
            f"orch's YAML cannot hold the options of transport {quoted(wanted.name if wanted else '')}"
        )
