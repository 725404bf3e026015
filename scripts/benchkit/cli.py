"""The command line of the benchmarks: bring up a lab, run the cases, show the results."""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from shutil import which

from labkit import life
from labkit.lab import Lab, LabError

from benchkit import (
    fanout,
    files,
    firehose,
    first_line,
    helptext,
    preflight,
    quiet,
    report,
    thousand,
    transports,
)
from benchkit.measure import BenchError
from benchkit.numbers import Result

PAGE = Path(__file__).parents[2] / "docs/performance.md"


@dataclass(frozen=True)
class Case:
    """A benchmark; it repeats `runs` times by default."""

    run: Callable[[Lab, int], Result]
    runs: int
    about: str


CASES = {
    "fanout": Case(fanout.run, 5, "a launch on many hosts"),
    "exec": Case(fanout.run_exec, 5, "a command on many hosts"),
    "firehose": Case(firehose.run, 5, "a rank that prints 1 GB"),
    "first-line": Case(first_line.run, 5, "time to the first line of a torch job"),
    "preflight": Case(preflight.run, 5, "all pairs of many hosts, and its cost in a launch"),
    "quiet": Case(quiet.run, 2, "a live run that prints nothing"),
    "push": Case(files.push, 3, "2,000 files to 16 hosts"),
    "fetch": Case(files.fetch, 3, "2 GB back from one host"),
    "transports": Case(
        transports.run, 5, "a launch over OpenSSH's client, and over orch's connections"
    ),
    "thousand": Case(thousand.run, 1, "the client's share of a launch on 1,024 nodes"),
    "help": Case(helptext.run, 11, "orch --help"),
}

DESCRIPTION = """\
Measure what orch costs compared with other tools, in a lab of real OpenSSH hosts on this machine.
The tools take turns, so that other load on the machine affects all of them. Needs root.

cases:
""" + "".join(f"  {name:<12}{case.about}\n" for name, case in CASES.items())


def main(argv: Sequence[str]) -> int:
    """Run the cases; return 1 if a bound is missed with --check, 2 if a case cannot run."""
    options = _parser().parse_args(argv)
    # Also a `kill` takes the lab down.
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    names = options.cases or list(CASES)
    if options.page and set(names) != set(CASES):
        print("bench: --page writes one run of all cases: name none", file=sys.stderr)
        return 2
    if unknown := set(names) - set(CASES):
        print(f"bench: no such case: {', '.join(sorted(unknown))}", file=sys.stderr)
        return 2
    if reason := _missing():
        print(f"bench: {reason}", file=sys.stderr)
        return 2
    machine = report.machine()
    if machine["load"] > 0.25 * machine["cores"]:
        print(f"bench: this machine is busy (load {machine['load']:.1f})", file=sys.stderr)
    # The other cases need two hosts.
    wanted = {
        "fanout": options.hosts,
        "exec": options.hosts,
        "preflight": options.hosts,
        "push": files.HOSTS,
        "transports": transports.HOSTS,
    }
    hosts = max(2, *(wanted.get(name, 2) for name in names))
    try:
        results = _measure(names, hosts, options.runs)
    except (BenchError, LabError) as error:
        print(f"bench: {error}", file=sys.stderr)
        return 2
    if options.page:
        page = PAGE.read_text(encoding="utf-8")
        PAGE.write_text(report.on_page(page, results, machine), encoding="utf-8")
    if options.json:
        text = json.dumps(report.to_json(results, machine), indent=2)
        options.json.write_text(text + "\n")
    return 1 if options.check and not all(result.met for result in results) else 0


def _missing() -> str | None:
    """Return why nothing can be measured here, in one line; None if it can."""
    modules = [name for name in ("asyncssh", "torch") if find_spec(name) is None]
    if modules:
        return f"{' and '.join(modules)} missing here: use .venv/bin/python, which scripts/test creates"
    programs = {"pdsh": "pdsh", "clush": "clustershell"}
    packages = [package for name, package in programs.items() if which(name) is None]
    if packages:
        return f"other tools are missing: apt-get install --yes {' '.join(packages)}"
    return None


def _measure(names: Sequence[str], hosts: int, runs: int | None) -> list[Result]:
    name = f"bench-{os.getpid()}"
    lab = life.up(hosts, name)
    try:
        results = []
        for case in (CASES[name] for name in names):
            results.append(case.run(lab, runs or case.runs))
            print(report.table(results[-1]), flush=True)
        return results
    finally:
        life.down(name)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="scripts/bench",
        description=DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("cases", nargs="*", metavar="CASE", help="the cases to run (default: all)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write all numbers to FILE")
    parser.add_argument(
        "--page", action="store_true", help="also write the numbers into docs/performance.md"
    )
    parser.add_argument("--runs", type=_positive, metavar="N", help="repeat each case N times")
    parser.add_argument(
        "--hosts",
        type=_positive,
        default=64,
        metavar="N",
        help="hosts of fanout and preflight (default: 64)",
    )
    parser.add_argument("--check", action="store_true", help="exit with 1 if a bound is missed")
    return parser


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text} is not a positive number")
    return number
