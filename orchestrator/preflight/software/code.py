"""The code in the working folders: the same on every node."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Annotated

from orchestrator.preflight.answers import reader
from orchestrator.preflight.judge import for_all, have, judge_each, most_common
from orchestrator.preflight.model import Context, Finding, Group, NodeContext, Probe, Status, check
from orchestrator.preflight.verdict import Verdict, passed, skip, warn
from orchestrator.util.answers import optional
from orchestrator.util.text import counted, first_few

_MAY_DIFFER = ".json"  # jobs write these, each node its own


@dataclass(frozen=True)
class Sources:
    """The hash of each source file in a working folder; `cut` if there were too many to read all."""

    files: Mapping[Annotated[str, str], str]
    cut: bool


SOURCES: Probe[Sources | None] = Probe(
    "code", partial(optional, reader(Sources)), lambda node: {"workdir": node.plan.workdir}
)
"""None if there is no such folder."""


@check("sw.code", Group.SOFTWARE, probes=(SOURCES,))
def check_code(context: Context) -> list[Finding]:
    """The code in the working folders is the same.

    The hashes of source files (.py, .yaml, .yml, .toml, .json, .sh) in the working folder of each node: up
    to 5000 files or 64 MiB, without hidden folders, virtual environments, caches, and folders that jobs
    write to (outputs, wandb, lightning_logs, ...). A file that differs from that of most nodes fails (a
    .json warns, as jobs write those), and a missing one that most nodes have warns. A launch syncs the
    files; before the first there is nothing to compare.
    """
    if context.none_has(SOURCES, lambda found: found and found.files):
        return for_all(context, skip("there is no code on the nodes yet"))
    answers = context.answers_to(SOURCES).items()
    trees = {name: found.files for name, found in answers if found and found.files}
    expected = _expected(trees)

    def verdict(node: NodeContext, found: Sources | None) -> Verdict:
        files = found.files if found else {}
        if found is None or not files:
            return skip("there is no code yet")
        differing = sorted(path for path in files if files[path] != expected.get(path, files[path]))
        missing = sorted(path for path in expected if path not in files)
        data = {"files": len(files), "cut": found.cut}
        text = f"launch without --no-sync, or copy the code of the others to {node.plan.workdir}"
        if differing:
            serious = any(not path.endswith(_MAY_DIFFER) for path in differing)
            return Verdict(
                Status.FAIL if serious else Status.WARN,
                f"{first_few(differing)} {_differ(differing)} from most nodes",
                text,
                data={**data, "differing": differing},
            )
        if missing:
            having = have([name for name, tree in trees.items() if missing[0] in tree])
            is_ = "is" if len(missing) == 1 else "are"
            message = f"{first_few(missing)}, which {having}, {is_} missing"
            return warn(message, text, data={**data, "missing": missing})
        more = " (there are more, which were not read)" if found.cut else ""
        message = f"{counted(len(files), 'source file')}, the same on every node{more}"
        return passed(message, data=data)

    return judge_each(context, SOURCES, verdict)


def _differ(paths: list[str]) -> str:
    return "differs" if len(paths) == 1 else "differ"


def _expected(trees: Mapping[str, Mapping[str, str]]) -> dict[str, str]:
    """Return the files that at least half of the nodes have, with their most common hashes."""
    paths = dict.fromkeys(path for files in trees.values() for path in files)
    expected = {}
    for path in paths:
        hashes = {node: files[path] for node, files in trees.items() if path in files}
        common = most_common(hashes)
        if common is not None and 2 * len(hashes) >= len(trees) > 1:
            expected[path] = common
    return expected
