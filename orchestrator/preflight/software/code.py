"""The code in the working folders: the same on every node."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from orchestrator.preflight.judge import for_all, have, judge_each, most_common
from orchestrator.preflight.model import Context, Finding, Group, NodeContext, Probe, Status, check
from orchestrator.preflight.verdict import Verdict, passed, skip, warn
from orchestrator.util.text import counted, first_few

_MAY_BE_WRITTEN = ".json"  # by jobs, each node its own


@dataclass(frozen=True)
class Sources:
    """The hash of each source file in a working folder; None where there is no such folder.

    `cut` says that there were more files than are read.
    """

    files: Mapping[str, str] | None
    cut: bool

    @classmethod
    def parse(cls, raw: Any) -> Sources:
        """Return what a node answered."""
        if raw is None:
            return cls(None, False)
        files = {str(path)[:1000]: str(hash_)[:64] for path, hash_ in raw["files"].items()}
        return cls(files, bool(raw["cut"]))


SOURCES = Probe("code", Sources.parse, lambda node: {"workdir": node.plan.workdir})


@check("sw.code", Group.SOFTWARE, probes=(SOURCES,))
def check_code(context: Context) -> list[Finding]:
    """The code in the working folders is the same.

    The hashes of source files (.py, .yaml, .yml, .toml, .json, .sh) in the working folder of each node: up
    to 5000 files or 64 MiB, without hidden folders, virtual environments, caches, and folders that jobs
    write to (outputs, wandb, lightning_logs, ...). A file that is another than on most nodes fails (a
    .json warns: jobs write those), and one that most nodes have and this one has not warns. A launch
    brings the files; before the first there is nothing to compare.
    """
    trees = {
        name: answer.files
        for name, answer in context.of(SOURCES).items()
        if isinstance(answer, Sources) and answer.files
    }
    if not trees and all(isinstance(answer, Sources) for answer in context.of(SOURCES).values()):
        return for_all(context, skip("there is no code on the nodes yet"))
    expected = _expected(trees)

    def verdict(node: NodeContext, found: Sources) -> Verdict:
        if not found.files:
            return skip("there is no code yet")
        files = found.files
        other = sorted(path for path in files if files[path] != expected.get(path, files[path]))
        lacking = sorted(path for path in expected if path not in files)
        data = {"files": len(files), "cut": found.cut}
        text = f"launch without --no-sync, or make {node.plan.workdir} there like the others'"
        if other:
            serious = any(not path.endswith(_MAY_BE_WRITTEN) for path in other)
            return Verdict(
                Status.FAIL if serious else Status.WARN,
                f"{first_few(other)} {'is' if len(other) == 1 else 'are'} not what most nodes have",
                text,
                data={**data, "differing": other},
            )
        if lacking:
            message = (
                f"{first_few(lacking)}, which {_havers(trees, lacking[0])}, {_is(lacking)} missing"
            )
            return warn(message, text, data={**data, "missing": lacking})
        count = counted(len(files), "source file")
        more = " (there are more, which were not read)" if found.cut else ""
        return passed(f"{count}, the same on every node{more}", data=data)

    return judge_each(context, SOURCES, verdict)


def _expected(trees: Mapping[str, Mapping[str, str]]) -> dict[str, str]:
    """Return the files that at least half of the nodes have, as most have them."""
    paths = dict.fromkeys(path for files in trees.values() for path in files)
    expected = {}
    for path in paths:
        hashes = {node: files[path] for node, files in trees.items() if path in files}
        common = most_common(hashes)
        if common is not None and 2 * len(hashes) >= len(trees) > 1:
            expected[path] = common
    return expected


def _havers(trees: Mapping[str, Mapping[str, str]], path: str) -> str:
    return have([node for node, files in trees.items() if path in files])


def _is(paths: list[str]) -> str:
    return "is" if len(paths) == 1 else "are"
