"""Hostfiles give the hosts and slots that the tools themselves read in them.

Needs the tools, which are no dependencies of orch: `ORCH_HOSTFILE_TOOLS` is a list of folders, separated by
colons, with `mpirun` of Open MPI 5, `mpiexec.hydra` of MPICH, and `deepspeed/launcher/runner.py` of
DeepSpeed.
"""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path
from types import SimpleNamespace

import pytest

from orchestrator.errors import InventoryError
from orchestrator.inventory import load

from .hostfiles import DEEPSPEED, HOSTFILES, MPICH, OPEN_MPI, RANKFILE, Hostfile

FOLDERS = [
    Path(folder) for folder in os.environ.get("ORCH_HOSTFILE_TOOLS", "").split(":") if folder
]
ALLOCATED = re.compile(r"^    (\S+): slots=(\d+) ", re.MULTILINE)
PROXY = re.compile(r"^ *\[\d+\] proxy: (\S+) \((\d+) cores\)", re.MULTILINE)
# What a tool refuses although its meaning is certain, mostly comments and ends of lines.
REFUSED_BY_DEEPSPEED = {"comments"}
REFUSED_BY_OPEN_MPI = {
    "from-windows", "pasted-from-a-page", "types-of-devices",
    "excluded",  # by 5.0.11; later versions know ^
    "localhost",  # it has the name of the machine there
}  # fmt: skip
REFUSED_BY_MPICH = {"colons-and-users", "colons-and-ipv6"}


def tool(name: str) -> Path:
    """Return a tool of the lane; the test is skipped without it."""
    found = next((folder / name for folder in FOLDERS if (folder / name).exists()), None)
    if found is None:
        pytest.skip(f"needs {name} in a folder of ORCH_HOSTFILE_TOOLS")
    return found


def printed(argv: list[str | Path], until: str, **environment: str) -> str:
    """Return what a program prints up to the line `until`, at most 20 s; then it is killed."""
    process = subprocess.Popen(
        argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        env={**os.environ, **environment}, text=True, errors="replace",
    )  # fmt: skip
    assert process.stdout is not None
    lines = []
    try:
        for line in process.stdout:
            lines.append(line)
            if until in line:
                break
    finally:
        process.kill()
        process.wait(20)
        process.stdout.close()
    return "".join(lines)


def counts(found: list[tuple[str, str]]) -> dict[str, int]:
    slots: dict[str, int] = {}
    for host, number in found:
        slots[host] = slots.get(host, 0) + int(number)
    return slots


def by_open_mpi(file: Path) -> dict[str, int]:
    """Return the allocation that PRRTE makes of a hostfile, without starting anything."""
    argv: list[str | Path] = [
        tool("mpirun"), "--prtemca", "ras", "simulator", "--hostfile", file, "--display", "alloc",
        "--do-not-launch", "true",
    ]  # fmt: skip
    root = {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}
    text = printed(argv, "=" * 65 + "\n", **root)
    return counts(ALLOCATED.findall(text))


def by_mpich(file: Path) -> dict[str, int]:
    argv: list[str | Path] = [
        tool("mpiexec.hydra"), "-f", file, "-verbose", "-launcher", "manual", "-n", "100", "true",
    ]  # fmt: skip
    return counts(PROXY.findall(printed(argv, "Proxy launch args")))


def by_deepspeed(file: Path) -> dict[str, int]:
    """Return what DeepSpeed's own function reads, without importing the rest of DeepSpeed."""
    source = tool("deepspeed/launcher/runner.py").read_text()
    start = source.index("def _parse_hostfile(")
    code = source[start : source.index("\ndef ", start + 1)]
    import collections

    scope: dict[str, object] = {
        "collections": collections, "re": re, "logger": SimpleNamespace(error=lambda text: None),
    }  # fmt: skip
    exec(compile(code, "runner.py", "exec"), scope)
    function: Callable[[list[str]], Mapping[str, int]] = scope["_parse_hostfile"]  # type: ignore[assignment]
    return dict(function(file.read_text(encoding="utf-8-sig").splitlines(keepends=True)))


def ours(file: Path) -> dict[str, int]:
    """Return the slots of each address; -1 if the node decides."""
    hosts = load(f"hostfile:{file}").hosts
    return {host.address: host.devices if isinstance(host.devices, int) else -1 for host in hosts}


def of_dialects(*dialects: str) -> list[object]:
    return [
        pytest.param(name, each, id=name)
        for name, each in HOSTFILES.items()
        if each.dialect in dialects
    ]


@pytest.mark.parametrize(("name", "hostfile"), of_dialects(DEEPSPEED))
def test_deepspeed_reads_the_same(tmp_path: Path, name: str, hostfile: Hostfile) -> None:
    file = tmp_path / "hostfile"
    file.write_bytes(hostfile.text.encode())
    if name in REFUSED_BY_DEEPSPEED:
        with pytest.raises(ValueError, match="bad entry"):
            by_deepspeed(file)
        return
    theirs = {host.rpartition("@")[2]: slots for host, slots in by_deepspeed(file).items()}
    assert ours(file) == theirs


@pytest.mark.parametrize(("name", "hostfile"), of_dialects(DEEPSPEED, OPEN_MPI, RANKFILE))
def test_open_mpi_reads_the_same(tmp_path: Path, name: str, hostfile: Hostfile) -> None:
    file = tmp_path / "hostfile"
    file.write_bytes(hostfile.text.encode())
    theirs = by_open_mpi(file)
    if name in REFUSED_BY_OPEN_MPI:
        assert ours(file) != theirs
        return
    is_address = re.compile(r"[0-9.]+|[0-9a-f:]+").fullmatch
    cut = {
        host if is_address(host) else host.partition(".")[0]: slots
        for host, slots in ours(file).items()
    }
    assert cut == theirs


@pytest.mark.parametrize(("name", "hostfile"), of_dialects(MPICH))
def test_mpich_reads_the_same(tmp_path: Path, name: str, hostfile: Hostfile) -> None:
    file = tmp_path / "hostfile"
    file.write_bytes(hostfile.text.encode())
    theirs = by_mpich(file)
    if name in REFUSED_BY_MPICH:
        assert ours(file) != theirs
    else:
        assert ours(file) == theirs


REFUSED = (
    "n1 slots=many\n", "n1 slots=-1\n", "n1 slots=2 slots=4\n", "n1 slots=8 max_slots=2\n", "n1 slots=\n",
    "n1 boards=2 slots=1\n", '"n1" slots=2\n', "n1 slots=4\nn1 slots=4\n", "+n0 slots=1\n",
)  # fmt: skip


@pytest.mark.parametrize("text", REFUSED)
def test_what_open_mpi_refuses_is_refused(tmp_path: Path, text: str) -> None:
    file = tmp_path / "hostfile"
    file.write_text(text)
    assert not by_open_mpi(file).keys() & {"n1"}
    with pytest.raises(InventoryError):
        ours(file)
