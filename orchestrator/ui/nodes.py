"""Show the nodes: a table or JSON."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, Literal

from orchestrator.api.nodes import NodeReport, faults, problems
from orchestrator.inventory.devices import as_json
from orchestrator.plan import Facts
from orchestrator.preflight.gpus.devices import Gpu, Gpus
from orchestrator.ui.stderr import Stderr
from orchestrator.ui.table import Cell, Column, stdout_size, table, write, write_json
from orchestrator.ui.terminal import wants_colour

_MAX_SKEW = 0.5  # seconds up to which timestamps of two nodes can be compared
_NONE: Cell = ("-", "")
_VENDOR = re.compile(r"^(?:NVIDIA|Tesla|GeForce) (?:GeForce )?")


def show(reports: Sequence[NodeReport], output: Literal["text", "json"]) -> None:
    """Write the reports to stdout; in text, also what is wrong with nodes to stderr."""
    if output == "json":
        write_json([describe(report) for report in reports])
        return
    write(lines(reports, stdout_size()[0], colour=wants_colour(1)))
    for problem in [*problems(reports), *faults(reports)]:
        Stderr().line(problem, "red")


def describe(report: NodeReport) -> dict[str, Any]:
    """Return a report as a JSON object; it always has the same keys."""
    facts, problem = report.facts, report.problem
    return {
        "name": report.host.name,
        "spare": report.host.spare,
        "address": report.host.address,
        "port": report.host.port,
        "internal_address": report.host.internal_address,
        "devices": as_json(report.host.devices),
        "reachable": facts is not None,
        "hostname": facts and facts.hostname,
        "python": report.host.python,
        "python_version": facts and facts.python_version,
        "cpus": facts and facts.cpus,
        "gpus": facts and facts.gpus,
        "gpu_models": facts and [gpu.name for gpu in _gpus(report)],
        "gpu_memory": facts and [gpu.memory and gpu.memory << 20 for gpu in _gpus(report)],
        "torch": report.torch and report.torch.version,
        "torch_platform": report.torch and report.torch.platform,
        "interface": report.interface,
        "interface_address": report.address,
        "subnet": report.subnet,
        "rsync": facts and facts.rsync is not None,
        "clock_skew": facts and round(facts.clock_skew, 3),
        "home": facts and facts.home,
        "faults": [vars(fault) for fault in report.faults],
        "problem": problem
        and {"cause": problem.cause, "message": problem.message, "remedy": problem.remedy},
    }


def lines(
    reports: Sequence[NodeReport], width: int | None = None, *, colour: bool = False
) -> list[str]:
    """Return a heading and a line for each report, for a terminal of `width` columns (None: a pipe).

    Columns in which a problem stands out are never hidden.
    """
    return table([_column(title, reports) for title in _COLUMNS], width, colour=colour)


def _column(title: str, reports: Sequence[NodeReport]) -> Column:
    cells = [_COLUMNS[title](report) for report in reports]
    has_problem = any(style for _, style in cells)
    hides = 0 if has_problem or title not in _HIDDEN_FIRST else _HIDDEN_FIRST.index(title) + 1
    return Column(title, cells, hides)


def _name(report: NodeReport) -> Cell:
    return (report.host.name + (" (spare)" if report.host.spare else ""), "")


def _address(report: NodeReport) -> Cell:
    host = report.host
    if host.port is None:
        return (host.address, "")
    address = f"[{host.address}]" if ":" in host.address else host.address
    return (f"{address}:{host.port}", "")


def _python(report: NodeReport) -> Cell:
    if report.facts is None:
        return (f"✗ {report.problem.cause if report.problem else 'unknown'}", "31")
    return (report.facts.python_version, "")


def _torch(report: NodeReport) -> Cell:
    if report.facts is None:
        return _NONE
    if report.interpreter is None:
        return ("?", "31")
    if report.torch is None:
        return ("no", "31" if report.faults else "")
    differs = any(fault.kind == "torch" for fault in report.faults)
    return (report.torch.version, "31" if differs else "")


def _gpus(report: NodeReport) -> tuple[Gpu, ...]:
    return report.gpus.gpus if isinstance(report.gpus, Gpus) else ()


def _gpu(report: NodeReport) -> Cell:
    """Return how many GPUs ranks would see, and their models: `8 × H100 80GB HBM3 80 GiB`."""
    if report.facts is None:
        return _NONE
    kinds = Counter(
        f"{_VENDOR.sub('', gpu.name)} {round(gpu.memory / 1024)} GiB" if gpu.memory else gpu.name
        for gpu in _gpus(report)
    )
    count = report.facts.gpus
    if count == 0 or not kinds:
        return (str(count), "")
    if len(kinds) == 1:
        return (f"{count} × {next(iter(kinds))}", "")
    return (", ".join(f"{number} × {kind}" for kind, number in kinds.items()), "")


def _network(report: NodeReport) -> Cell:
    return (f"{report.interface} {report.address}", "") if report.address else _NONE


def _fact(cell: Callable[[Facts], Cell]) -> Callable[[NodeReport], Cell]:
    return lambda report: _NONE if report.facts is None else cell(report.facts)


def _clock(facts: Facts) -> Cell:
    if abs(facts.clock_skew) > _MAX_SKEW:
        return (f"{facts.clock_skew:+.1f} s", "33")
    return ("ok", "")


_COLUMNS: dict[str, Callable[[NodeReport], Cell]] = {
    "NODE": _name,
    "ADDRESS": _address,
    "PYTHON": _python,
    "TORCH": _torch,
    "CPUS": _fact(lambda facts: (str(facts.cpus), "")),
    "GPUS": _gpu,
    "NETWORK": _network,
    "RSYNC": _fact(lambda facts: ("yes", "") if facts.rsync else ("no", "31")),
    "CLOCK": _fact(_clock),
    "HOME": _fact(lambda facts: (facts.home, "")),
}
_HIDDEN_FIRST = ("HOME", "ADDRESS", "CLOCK", "RSYNC", "CPUS", "NETWORK", "GPUS")
