"""The nodes of a parallel job of Grid Engine: PE_HOSTFILE has `host slots queue processors`."""

from __future__ import annotations

from collections.abc import Sequence

from orchestrator.inventory.hostfiles.dialects import SGE
from orchestrator.inventory.model import Host
from orchestrator.inventory.readers.base import Source
from orchestrator.inventory.readers.hostfile import hosts_in
from orchestrator.inventory.readers.job import JobReader


class SgeReader(JobReader):
    name = "sge"
    help = "the nodes of a Grid Engine job"
    scheduler = "SGE"
    id_variable = "JOB_ID"
    host_variables = ("PE_HOSTFILE",)

    def hosts_in_file(self, source: Source) -> Sequence[Host]:
        return hosts_in(source, SGE)


READER = SgeReader()
