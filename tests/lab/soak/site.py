"""A lab in which one draw is carried out, and what there is to see of it: files, processes, commands."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from labkit.lab import Lab

from . import faults
from .draw import Draw
from .evidence import Command, Life, Stream, read_lives

ORCH = [sys.executable, "-m", "orchestrator"]


class Running:
    """An `orch` command that keeps running; its output goes to files, which never hold it up."""

    def __init__(self, lab: Lab, folder: Path, name: str, words: list[str]) -> None:
        self.name = name
        self.ended_at: float | None = None
        """Seconds since the epoch, when it was first seen to have ended."""
        self._files = [folder / f"{name}.out", folder / f"{name}.err"]
        with self._files[0].open("wb") as out, self._files[1].open("wb") as err:
            self._process = lab.popen(
                [*ORCH, *words], stdin=subprocess.DEVNULL, stdout=out, stderr=err
            )

    @property
    def is_over(self) -> bool:
        """Whether it has ended."""
        if self.ended_at is None and self._process.poll() is not None:
            self.ended_at = time.time()
        return self.ended_at is not None

    def end(self, seconds: float) -> Command:
        """Wait for its end, and end it when it does not come."""
        is_over = True
        try:
            self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            is_over = False
            self._process.kill()
            self._process.wait()
        self.ended_at = self.ended_at or time.time()
        out, err = (file.read_bytes() for file in self._files)
        code = self._process.returncode
        said = err.decode(errors="replace")
        return Command(self.name, code if code >= 0 else None, out, said, is_over)


class Site:
    """The hosts of a draw. The controller has no run but the draw's."""

    def __init__(self, lab: Lab, folder: Path, draw: Draw) -> None:
        self.lab = lab
        self.nodes = draw.job.names
        self.commands: list[Running] = []
        self._folder = folder
        self._bystanders: list[tuple[str, subprocess.Popen[bytes]]] = []

    def start_bystanders(self) -> None:
        """Start processes that look like those of another run: nobody may touch them."""
        for node in self.nodes:
            own = f"/root/.local/state/orch/runs/other-run/{node}"
            tags = {"ORCH_RUN": "other-run", "ORCH_DIR": own}
            process = self.lab.popen(["sleep", "1000"], node=node, env=tags)
            self._bystanders.append((node, process))

    def command(self, name: str, words: list[str]) -> Running:
        """Start an `orch` command."""
        number = sum(command.name.startswith(name) for command in self.commands)
        running = Running(self.lab, self._folder, f"{name}{number or ''}", words)
        self.commands.append(running)
        return running

    # -- files -----------------------------------------------------------------------------------

    @property
    def run(self) -> str | None:
        """The run's name, once there is one."""
        folder = faults.runs_folder(self.lab, "ctl")
        names = [path.name for path in folder.glob("*") if path.is_dir()]
        return names[0] if names else None

    def folder(self, node: str) -> Path | None:
        """The run's folder on a node, or on the controller (`ctl`)."""
        if self.run is None:
            return None
        own = faults.runs_folder(self.lab, node) / self.run
        return own if node == "ctl" else own / node

    def record(self) -> dict[str, Any] | None:
        """run.json."""
        folder = self.folder("ctl")
        if folder is None:
            return None
        try:
            found: dict[str, Any] = json.loads((folder / "run.json").read_text())
        except FileNotFoundError:
            return None
        return found

    def journals(self) -> Iterator[tuple[str, Path]]:
        """Every journal of a rank, and its node."""
        for node in self.nodes:
            for path in (self.lab.files(node) / "tmp/soak").glob("*.jsonl"):
                yield node, path

    def lives(self) -> list[Life]:
        """What the ranks' journals say so far."""
        return read_lives(self.journals())

    def streams(self, gone: set[str]) -> Iterator[Stream]:
        """Every stream of the run, on its node (not those that are `gone`) and here."""
        own = self.folder("ctl")
        if own is None:
            return
        for node in self.nodes:
            here, there = own / "logs" / node, None if node in gone else self.folder(node)
            found = {
                path.relative_to(folder)
                for folder in (here, there)
                if folder is not None
                for suffix in ("out", "err")
                for path in folder.glob(f"attempt-*/*.{suffix}")
            }
            for path in sorted(found):
                attempt = int(path.parent.name.removeprefix("attempt-"))
                original = None if there is None else read(there / path)
                yield Stream(node, attempt, path.name, original, read(here / path))

    def notes(self, gone: set[str]) -> dict[str, str]:
        """What orch has written about the run, by file."""
        files = [("ctl", "controller.log"), ("ctl", "events.jsonl")]
        files += [
            (n, f) for n in self.nodes if n not in gone for f in ("status.json", "supervisor.log")
        ]
        found = {}
        for node, name in files:
            folder = self.folder(node)
            if folder is not None:
                found[f"{node}/{name}"] = read(folder / name).decode(errors="replace")
        return found

    # -- processes -------------------------------------------------------------------------------

    def left(self) -> Iterator[str]:
        """Every process of orch, or of a run."""
        bystanders = {process.pid for _, process in self._bystanders}
        for node in ["ctl", *self.lab.nodes]:
            for pid, argv, environ in self.lab.processes(node):
                is_tagged = any(entry.startswith(b"ORCH_RUN=") for entry in environ.split(b"\0"))
                is_orch = "orchestrator" in argv or any("/orch/node/node-" in w for w in argv)
                if (is_tagged or is_orch) and pid not in bystanders:
                    yield f"{node}: {pid} {' '.join(argv)[:160]}"

    def end_bystanders(self, gone: set[str]) -> list[str]:
        """End them, and return those that had ended already, not with their node."""
        found = []
        for node, process in self._bystanders:
            if process.poll() is not None and node not in gone:
                found.append(f"the bystander on {node} has ended: {process.returncode}")
            process.kill()
            process.wait()
        return found


def read(path: Path) -> bytes:
    """Return the bytes of a file, none when it is not there."""
    with suppress(FileNotFoundError, NotADirectoryError):
        return path.read_bytes()
    return b""
