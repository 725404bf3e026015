"""Installed packages that add a format of host lists."""

from __future__ import annotations

from pathlib import Path

from orchestrator.inventory.readers.registry import GROUP

from ..util.packages import install

MACHINES = """
import json

from orchestrator.inventory import Host, Inventory
from orchestrator.inventory.problems import Problems
from orchestrator.inventory.readers.base import Reader, Source


class Machines(Reader):
    name = "machines"
    help = "a list of machines"

    def recognises(self, source: Source) -> bool:
        return source.head.startswith(b"#machines\\n")

    def read(self, source: Source) -> Inventory:
        hosts, problems = [], Problems(str(source))
        for number, line in enumerate(source.text.splitlines()[1:], 2):
            try:
                hosts.append(Host.model_validate(json.loads(line)))
            except ValueError:
                problems.add(number, 1, "", "expected a machine as JSON")
        if problems:
            raise problems.error()
        return Inventory(hosts=tuple(hosts), source=str(source))


READER = Machines()
"""


def install_reader(folder: Path, name: str, code: str) -> None:
    """Install the package `orch_NAME` into `folder`; its only module has the reader NAME as READER."""
    module = f"orch_{name}_reader"
    install(folder, f"orch_{name}", GROUP, {name: f"{module}:READER"}, **{module: code})
