"""The nodes of a job of LSF.

LSB_DJOB_RANKFILE has a line for each slot. With the Job Step Manager, its first line is the node that runs
the batch script, which is not a compute node (as Lightning's LSFEnvironment has it).
LSB_MCPU_HOSTS is `h1 4 h2 8`, LSB_HOSTS is `h1 h1 h2`.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

from orchestrator.inventory.hostfiles.dialects import LSF, SLOT_A_LINE
from orchestrator.inventory.hostfiles.lines import Line, decode, read_lines
from orchestrator.inventory.model import Host
from orchestrator.inventory.readers.base import Source
from orchestrator.inventory.readers.hostfile import hosts_of
from orchestrator.inventory.readers.job import JobReader

_RANKFILE, _COUNTS, _HOSTS = "LSB_DJOB_RANKFILE", "LSB_MCPU_HOSTS", "LSB_HOSTS"


class LsfReader(JobReader):
    name = "lsf"
    help = "the nodes of an LSF job"
    scheduler = "LSF"
    id_variable = "LSB_JOBID"
    host_variables = (_RANKFILE, _COUNTS, _HOSTS)

    def hosts_in(self, variable: str) -> Sequence[Host]:
        if variable == _RANKFILE:
            return super().hosts_in(variable)
        words = os.environ[variable].split()
        if variable == _HOSTS:
            return hosts_of(_lines(words), f"${variable}", SLOT_A_LINE)
        pairs = [" ".join(words[index : index + 2]) for index in range(0, len(words), 2)]
        return hosts_of(_lines(pairs), f"${variable}", LSF)

    def hosts_in_file(self, source: Source) -> Sequence[Host]:
        lines = list(read_lines(decode(source.content)))
        if len(lines) > 1 and _is_launch_node(lines[0], lines[1:]):
            del lines[0]
        return hosts_of(lines, source.given, SLOT_A_LINE)


def _lines(lines: Sequence[str]) -> list[Line]:
    return list(read_lines("\n".join(lines)))


def _is_launch_node(first: Line, rest: Sequence[Line]) -> bool:
    """Tell whether the first host of a rank file has none of the job's slots.

    A host that has slots has as many lines. If each has one line, the counts of LSF decide: those of a job
    without the Job Step Manager name the same hosts as often.
    """
    hosts = [line.content for line in rest]
    if first.content in hosts:
        return False
    counts = os.environ.get(_COUNTS, "").split()
    return len(set(hosts)) < len(hosts) or counts != [
        word for host in (first.content, *hosts) for word in (host, "1")
    ]


READER = LsfReader()
