"""Ansible itself, to hold the reader against: in the folder ORCH_ANSIBLE, or on the PATH."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ORACLE = Path(__file__).parent / "oracle.py"


def ansible_inventory() -> str | None:
    """Return the path of `ansible-inventory`; None if there is none."""
    return shutil.which("ansible-inventory", path=os.environ.get("ORCH_ANSIBLE")) or shutil.which(
        "ansible-inventory"
    )


class Oracle:
    """A process of Ansible's Python that reads inventories."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def ask(self, path: Path) -> dict[str, Any] | None:
        """Return hosts and groups; None if Ansible cannot read the inventory."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{path}\n")
        self._process.stdin.flush()
        answer: dict[str, Any] | None = json.loads(self._process.stdout.readline())
        return answer


@contextmanager
def oracle(program: str, errors: Path) -> Iterator[Oracle]:
    """Yield an oracle, which writes what Ansible says to the file `errors`."""
    python = Path(program).read_text().split("\n", 1)[0].removeprefix("#!").strip()
    environment = {
        **os.environ,
        "ANSIBLE_INVENTORY_ENABLED": "yaml,ini",
        "ANSIBLE_INVENTORY_UNPARSED_FAILED": "true",
        "ANSIBLE_NOCOLOR": "1",
        "ANSIBLE_HOME": str(errors.parent / "ansible"),
    }
    with errors.open("w") as stderr:
        process = subprocess.Popen(
            [python, str(ORACLE)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=stderr,
            env=environment,
            text=True,
        )
        try:
            yield Oracle(process)
        finally:
            process.kill()
            process.communicate()
