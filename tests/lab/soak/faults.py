"""Do harm to a lab, and undo it."""

from __future__ import annotations

import errno
import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from labkit import network
from labkit.lab import LISTENER, Lab
from labkit.processes import Process

from .draw import Fault
from .evidence import Strike

DISK = 24 << 20  # bytes of the disks that get full
_SIGNALS = {
    "kill": signal.SIGKILL,
    "freeze": signal.SIGSTOP,
    "halt": signal.SIGSTOP,
    "hangup": signal.SIGHUP,
    "interrupt": signal.SIGINT,
    "term": signal.SIGTERM,
}
_DROPS = {"cut": "drop", "lose": "numgen random mod 100 < 20 drop"}


@dataclass(frozen=True)
class Harm:
    """What a fault did, and how to undo it (None: it cannot be)."""

    strike: Strike
    undo: Callable[[], None] | None


def strike(lab: Lab, fault: Fault) -> Harm | None:
    """Carry out a fault on processes, links, disks or hosts; None where there is nothing to hit."""
    at = time.time()
    if fault.kind in _SIGNALS:
        return _signal(lab, fault, at)
    undo: Callable[[], None] | None = None
    if fault.kind in _DROPS:
        undo = _drop(lab, fault)
    elif fault.kind == "slow":
        undo = _slow_down(lab, fault)
    elif fault.kind == "fill":
        undo = _fill(lab, fault)
    elif fault.kind == "vanish":
        lab.vanish(fault.where)
    else:
        raise ValueError(f"no such fault: {fault}")
    return Harm(Strike(fault, at, at + fault.seconds, fault.where), undo)


# -- processes ---------------------------------------------------------------------------------


def find(lab: Lab, target: str, node: str) -> list[Process]:
    """Return the processes of a sort on a node, in the order of their ids."""
    return [process for process in lab.processes(node) if process.argv and _is(process, target)]


def _is(process: Process, target: str) -> bool:
    argv = process.argv
    is_node_program = any("/orch/node/node-" in word for word in argv)
    match target:
        case "controller":
            return "orchestrator" in argv and ("launch" in argv or "control" in argv)
        case "supervisor":
            return is_node_program and _name(process.pid) == "orch-supervisor"
        case "agent":
            return (
                is_node_program and "serve" in argv and not _name(process.pid).startswith("orch-")
            )
        case "session":
            return argv[0].startswith("sshd") and "@" in argv[0]
        case "listener":
            return argv[0].startswith(LISTENER)
        case "launcher":
            return "torch.distributed.run" in argv
        case "shim":
            return is_node_program and "shim" in argv and not _name(process.pid).startswith("orch-")
        case "rank":
            return is_rank(process)
    raise ValueError(f"no such target: {target}")


def is_rank(process: Process) -> bool:
    """Whether it is one of the job's own processes, not a launcher's."""
    is_job = any(Path(word).name == "job.py" for word in process.argv[1:3])
    return is_job and rank_of(process) is not None


def rank_of(process: Process) -> int | None:
    """Return which rank's a process is, if any."""
    for entry in process.environ.split(b"\0"):
        if entry.startswith(b"RANK="):
            return int(entry[5:])
    return None


def _name(pid: int) -> str:
    with suppress(OSError):
        return Path(f"/proc/{pid}/comm").read_text().strip()
    return ""


def _signal(lab: Lab, fault: Fault, at: float) -> Harm | None:
    found = find(lab, fault.target, fault.where)
    if not found:
        return None
    chosen = found[fault.pick % len(found)]
    try:
        handle = os.pidfd_open(chosen.pid)
    except ProcessLookupError:
        return None
    try:
        signal.pidfd_send_signal(handle, _SIGNALS[fault.kind])
    except ProcessLookupError:
        os.close(handle)
        return None

    def undo() -> None:
        if fault.kind in ("freeze", "halt"):
            with suppress(ProcessLookupError):
                signal.pidfd_send_signal(handle, signal.SIGCONT)
        elif fault.target == "listener":
            lab.restart_sshd(fault.where)
        os.close(handle)

    # A process may run until the signal has reached it, and it matters which came first.
    is_rank_hit = fault.target in ("rank", "shim")
    rank = rank_of(chosen) if is_rank_hit else None
    hit = Strike(fault, at, at + fault.seconds, fault.where, rank)
    return Harm(hit, undo)


# -- links -------------------------------------------------------------------------------------


def _nft(lab: Lab, node: str, ruleset: str) -> None:
    done = lab.run(["nft", "-f", "-"], node=node, input=ruleset)
    assert done.returncode == 0, done.stderr


def _drop(lab: Lab, fault: Fault) -> Callable[[], None]:
    """Lose packets in both directions, all or some of them."""
    table = f"soak{fault.pick}"
    chains = "".join(
        f"chain {hook} {{\n type filter hook {hook} priority 0;\n"
        f" {interface} != lo {_DROPS[fault.kind]}\n }}\n"
        for hook, interface in (("input", "iifname"), ("output", "oifname"))
    )
    _nft(lab, fault.where, f"add table inet {table}\ntable inet {table} {{\n{chains}}}\n")
    return lambda: _nft(lab, fault.where, f"delete table inet {table}\n")


def _slow_down(lab: Lab, fault: Fault) -> Callable[[], None] | None:
    """Let so little through that a queue builds up."""
    device = "br0" if fault.where == "ctl" else "eth0"
    pid = lab.pid(fault.where)
    bucket = ["rate", "256kbit", "burst", "8k", "latency", "800ms"]
    shape = ["tc", "qdisc", "replace", "dev", device, "root", "tbf", *bucket]
    done = lab.run(shape, node=fault.where)
    assert done.returncode == 0, done.stderr

    def undo() -> None:
        # The other fault may have shaped the same link, and undone that.
        with network.joined(pid):
            lab.run(["tc", "qdisc", "del", "dev", device, "root"], node=fault.where)

    return undo


# -- disks -------------------------------------------------------------------------------------


def runs_folder(lab: Lab, where: str) -> Path:
    """The folder of all runs on a node or the controller, as that sees it, mounts and all."""
    home = lab.home if where == "ctl" else Path("/root")
    return Path(f"/proc/{lab.pid(where)}/root{home}/.local/state/orch/runs")


def give_small_disk(lab: Lab, where: str) -> None:
    """Have the folder of all runs be on a disk of its own, small enough to fill."""
    home = lab.home if where == "ctl" else Path("/root")
    place = f"{home}/.local/state/orch/runs"
    runs_folder(lab, where).mkdir(parents=True, exist_ok=True)
    mount = ["mount", "-t", "tmpfs", "-o", f"size={DISK},mode=700", "none", place]
    done = lab.run(mount, node=where)
    assert done.returncode == 0, done.stderr


def _fill(lab: Lab, fault: Fault) -> Callable[[], None]:
    filler = runs_folder(lab, fault.where) / f".filler{fault.pick}"
    with filler.open("wb", buffering=0) as file:
        for chunk in _chunks():
            try:
                file.write(chunk)
            except OSError as error:
                assert error.errno == errno.ENOSPC, error
                break
    return lambda: filler.unlink(missing_ok=True)


def _chunks() -> Iterator[bytes]:
    """Zeros, the last of them in pieces as small as a page."""
    for _ in range(DISK >> 20):
        yield bytes(1 << 20)
    while True:
        yield bytes(4096)
