"""Ask `ansible-inventory` for the hosts of an inventory, and read what it prints."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Mapping
from typing import Any

from orchestrator.errors import InventoryError
from orchestrator.inventory.ranges import MAX_HOSTS
from orchestrator.inventory.readers.ansible.tree import ALL, UNGROUPED, Listing
from orchestrator.inventory.readers.ansible.values import Value
from orchestrator.util.bounded_run import RunFailed, run_bounded
from orchestrator.util.text import escaped, printable

_PROGRAM = "ansible-inventory"
_TIMEOUT = 60.0  # seconds: a script may ask a cloud
_MAX_BYTES = 64 << 20
_META = re.compile(rb'"_meta"\s*:\s*\{')
_LABEL = re.compile(r"\[(?:ERROR|WARNING)\]: *")
_NEXT = re.compile(r"\n(?=\[(?:ERROR|WARNING)\]:)")
_CAUSE = "<<< caused by >>>"


def find_program() -> str | None:
    """Return the `ansible-inventory` on the PATH; None if there is none."""
    return shutil.which(_PROGRAM)


def looks_like_output(head: bytes) -> bool:
    """Tell whether this is what `ansible-inventory --list`, or a script of Ansible's, prints."""
    return head.lstrip().startswith(b"{") and _META.search(head) is not None


def ask_program(program: str, path: str, typed: str, *, static: bool) -> Listing:
    """Return what `ansible-inventory` lists for the file or folder `path`.

    If `static`, it reads files as INI and YAML, and runs none. Raises InventoryError with its words if it
    fails, and if it has not ended in 60 s.
    """
    environment = {
        **os.environ,
        # Else what cannot be parsed is left out, with exit code 0.
        "ANSIBLE_INVENTORY_UNPARSED_FAILED": "true",
        "ANSIBLE_INVENTORY_ANY_UNPARSED_IS_FAILED": "true",
        "ANSIBLE_NOCOLOR": "1",
        "ANSIBLE_DEPRECATION_WARNINGS": "false",
    }
    if static:
        environment["ANSIBLE_INVENTORY_ENABLED"] = "yaml,ini"
    argv = [program, "-i", os.path.abspath(path), "--list"]  # noqa: PTH100 - keeps links
    try:
        ended = run_bounded(argv, timeout=_TIMEOUT, max_bytes=_MAX_BYTES, env=environment)
    except RunFailed as error:
        raise InventoryError(f"{typed}: {printable(str(error), 400)}") from None
    if ended.code != 0:
        raise InventoryError(
            f"{typed}: {_PROGRAM} cannot read it: {_complaint(ended.errors)}",
            remedy=f"{_PROGRAM} -i {escaped(path)} --list",
        )
    return read_output(ended.output, typed)


def _complaint(errors: bytes) -> str:
    """Return its first reason. Later ones are of formats that the source is not in, and quote its lines."""
    first = _NEXT.split(errors.decode("utf-8", "replace").strip())[0]
    reason = _LABEL.sub("", first).rpartition(_CAUSE)[2]
    return printable(reason, 1000) or "it gives no reason"


def read_output(text: bytes, typed: str) -> Listing:
    """Return the hosts and groups in what `ansible-inventory --list` prints. Raises InventoryError."""
    try:
        found = json.loads(text)
        variables = found.pop("_meta")["hostvars"]
        groups = {str(name): _group(group) for name, group in found.items()}
        hosts = _hosts(groups, variables)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        reason = f"expected what `{_PROGRAM} --list` prints, JSON with hosts, groups and _meta"
        raise InventoryError(f"{typed}: {reason}") from None
    if len(hosts) > MAX_HOSTS:
        raise InventoryError(f"{typed}: expected at most {MAX_HOSTS:,} hosts")
    listed = {
        host: {key: Value(value, typed) for key, value in variables.get(host, {}).items()}
        for host in hosts
    }
    return Listing(listed, {name: _members(groups, name, hosts) for name in groups})


def _group(group: Any) -> dict[str, list[str]]:
    """Return the hosts and children of a group; a list is one of hosts, as in old scripts."""
    if isinstance(group, list):
        group = {"hosts": group}
    return {key: [str(name) for name in group.get(key) or ()] for key in ("hosts", "children")}


def _hosts(groups: Mapping[str, dict[str, list[str]]], variables: Mapping[str, Any]) -> list[str]:
    """Return all hosts once: those of `all`, of ungrouped ones, then group by group, then the rest."""
    order = dict.fromkeys((ALL, UNGROUPED, *_walk(groups, ALL), *groups))
    listed = [host for name in order for host in groups.get(name, {}).get("hosts", ())]
    return list(dict.fromkeys((*listed, *map(str, variables))))


def _walk(groups: Mapping[str, dict[str, list[str]]], top: str) -> list[str]:
    """Return a group and all groups in it, each before those in it."""
    found: dict[str, None] = {}
    queue = [top]
    while queue:
        name = queue.pop()
        if name not in found:
            found[name] = None
            queue += reversed(groups.get(name, {}).get("children", []))
    return list(found)


def _members(groups: Mapping[str, dict[str, list[str]]], name: str, hosts: list[str]) -> list[str]:
    if name == ALL:
        return hosts
    own = {host for each in _walk(groups, name) for host in groups.get(each, {}).get("hosts", ())}
    return [host for host in hosts if host in own]
